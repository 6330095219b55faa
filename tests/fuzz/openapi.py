"""Holds the service to its own OpenAPI document: schemathesis makes requests from it, sound and unsound ones.

python tests/fuzz/openapi.py --examples 200
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parent
_MODEL: Final = _HERE.parent / "golden" / "orders-v2.onnx"
_COMMANDS: Final = Path(sys.executable).parent
_FLAGS: Final = ("--port", "0", "--max-records", "100", "--max-generate-count", "100")
_LONGEST_S: Final = "10"  # that an answer may take


def main() -> int:
    """Serve the golden model, run schemathesis over it, and return 1 if it finds something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100, help="requests made for each operation (%(default)s)")
    parsed = parser.parse_args()
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            [_COMMANDS / "vaegis", "serve", _MODEL, *_FLAGS], stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            address = _address(server)
            code = max(_tested(address, parsed.examples, invalid) for invalid in ("reject", "report"))
            if server.poll() is not None:
                print(f"expected the service to go on, it ended with {server.returncode}")
                code = 1
        finally:
            server.terminate()
            server.wait()
        log.seek(0)
        faults = [line for line in log if "unexpected error" in line or "Traceback" in line]
    print("".join(faults), end="")
    return 1 if faults else code


def _address(server: subprocess.Popen[str]) -> str:
    line = server.stdout.readline() if server.stdout else ""
    address = re.search(r"http://\S+$", line.strip())
    if address is None:
        raise SystemExit(f"expected the service to name its address, got {line!r}")
    return address[0]


def _tested(address: str, examples: int, invalid: str) -> int:
    """Return schemathesis's exit code, with ``invalid`` for every on_invalid; with report, little is refused."""
    command = [_COMMANDS / "st", "--config-file", _HERE / "schemathesis.toml", "--no-color", "run"]
    command += [f"{address}/openapi.json", "--max-examples", str(examples), "--continue-on-failure"]
    command += ["--max-response-time", _LONGEST_S, "--generation-deterministic"]
    if invalid == "report":
        command += ["--include-path", "/score", "--exclude-checks", "negative_data_rejection"]
    print(f"on_invalid={invalid}", flush=True)
    with tempfile.TemporaryDirectory() as folder:  # schemathesis leaves files where it runs
        variables = {"ON_INVALID": invalid}
        return subprocess.run(command, check=False, cwd=folder, env=os.environ | variables).returncode


if __name__ == "__main__":
    sys.exit(main())
