"""Looks for bodies and model files that break the service, guided by the code that they reach (libFuzzer, by atheris).

What it finds goes to build/fuzz, and with --merge what reaches new code into tests/fuzz/corpus, whose bodies an
ordinary test posts again. What breaks the service is written to build/fuzz and ends the run.

    python tests/fuzz/run.py json --seconds 60
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))

import atheris

with atheris.instrument_imports(include=["vaegis.service"]):
    import decoders
    import model_files

MODEL: Final = "model"
NAMES: Final = (*decoders.TARGETS, MODEL)
TOKENS: Final = Path(__file__).parent / "tokens.dict"
FOUND: Final = Path(__file__).parents[2] / "build" / "fuzz"
_LONGEST_BYTES: Final = 4096
_MOST_SECONDS: Final = 20  # for one body
_MOST_MEGABYTES: Final = 1500


def main() -> int:
    """Fuzz one target, or every one in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=[*NAMES, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="of each target (%(default)s)")
    parser.add_argument("--merge", action="store_true", help="keep in the corpus only what reaches more code")
    parsed = parser.parse_args()
    if parsed.target == "all":
        command = [sys.executable, __file__, "--seconds", str(parsed.seconds), *(["--merge"] * parsed.merge)]
        return max(subprocess.run([*command, target], check=False).returncode for target in NAMES)
    return _fuzz(parsed.target, parsed.seconds, merge=parsed.merge)


def _check_of(name: str) -> Callable[[bytes], object]:
    """Return what checks a body of a target."""
    if name == MODEL:
        return model_files.ModelFiles().check
    service, target = decoders.Service(), decoders.TARGETS[name]
    return lambda body: service.check(target, body)


def _fuzz(name: str, seconds: int, *, merge: bool) -> int:
    corpus, working = decoders.CORPUS / name, FOUND / name
    for folder in (corpus, working):
        folder.mkdir(parents=True, exist_ok=True)
    check = _check_of(name)
    flags = [f"-max_len={_LONGEST_BYTES}", f"-timeout={_MOST_SECONDS}", f"-rss_limit_mb={_MOST_MEGABYTES}"]
    flags += [f"-artifact_prefix={FOUND}/{name}-", f"-dict={TOKENS}"]
    if merge:
        flags += ["-merge=1", str(corpus), str(working)]
    else:
        flags += [f"-max_total_time={seconds}", "-print_final_stats=1", str(working), str(corpus)]
    print(f"fuzzing {name}", flush=True)
    atheris.Setup([sys.argv[0], *flags], check)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
