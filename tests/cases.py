"""Run each case of a folder and print what it gave beside what its README says is right.

A case is a folder with a number in front, a `README.md` and a `cmd.sh`, which runs in a copy of it with P set to the
folder of the commands. Whether a case holds is for a person to judge: the two stand one below the other.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_RIGHT = re.compile(r"^\*\*Right:\*\*(.*?)(?=^\*\*|\Z)", re.MULTILINE | re.DOTALL)
_TIMEOUT_S = 3600  # generous: other work may run beside it


def main() -> int:
    """Run the cases whose names begin with one of the arguments, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parsed = parser.parse_args()
    if not parsed.folder.is_dir():
        print(f"skipped: there is no folder {parsed.folder}")
        return 0
    cases = sorted(path.parent for path in parsed.folder.glob("[0-9]*/cmd.sh"))
    chosen = [case for case in cases if not parsed.names or case.name.startswith(tuple(parsed.names))]
    if not chosen:
        print("skipped: there is no such case")
        return 0
    return max(_run(case) for case in chosen)


def _run(case: Path) -> int:
    """Print what a case gave; return 1 if it ended in a crash or took too long."""
    print(f"\n=== {case.name}", flush=True)
    environment = os.environ | {"P": str(Path(sys.executable).parent), "ORT_DISABLE_TELEMETRY": "1"}
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(case, Path(folder, case.name), copy_function=shutil.copyfile)
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o755)
        try:
            ended = subprocess.run(
                ["/bin/bash", "cmd.sh"],
                cwd=copy,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"took more than {_TIMEOUT_S} s")
            return 1
    got = ended.stdout.decode(errors="replace")
    right = _RIGHT.search((case / "README.md").read_text(encoding="utf-8"))
    print(got.rstrip())
    print(f"--- right: {' '.join(right[1].split()) if right else 'not said'}")
    return int("Traceback" in got or "exit 134" in got)


if __name__ == "__main__":
    sys.exit(main())
