"""Runs each attack of the modules in this folder against a fresh service, and prints the outcomes.

python tests/attacks/run.py --quick
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from attack import Attack, Outcome, Target

_HERE: Final = Path(__file__).resolve().parent
_MODEL: Final = _HERE.parent / "golden" / "orders-v2.onnx"
_SERVE: Final = (sys.executable, "-c", "import sys; from vaegis.service.cli import main; sys.exit(main())", "serve")
_MODULES: Final = ("bodies", "models", "callers")
_PATIENCE_S: Final = 60


def main() -> int:
    """Run the attacks; return 1 if the service did not withstand one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only attacks that take seconds")
    parser.add_argument("--only", default="", metavar="TEXT", help="only attacks with this text in their names")
    parsed = parser.parse_args()
    lost = 0
    for module, attack in _attacks():
        if (parsed.quick and not attack.quick) or parsed.only not in attack.name:
            continue
        outcome = _attacked(attack)
        lost += not outcome.held
        print(f"{'held' if outcome.held else 'LOST':4}  {module:8}  {attack.name:60}  {outcome.measured}", flush=True)
    return 1 if lost else 0


def _attacks() -> Iterator[tuple[str, Attack]]:
    """Yield each attack, with the name of its module."""
    for name in _MODULES:
        yield from ((name, attack) for attack in importlib.import_module(name).ATTACKS)


def _attacked(attack: Attack) -> Outcome:
    """Return what came of an attack on a fresh service, which must serve others afterwards."""
    with tempfile.TemporaryDirectory() as folder, _served(Path(folder)) as target:
        try:
            outcome = attack.run(target)
        except Exception as error:  # noqa: BLE001 - one attack must not hide the outcome of the others
            return Outcome(held=False, measured=f"{type(error).__name__}: {error}")
        try:
            urlopen(f"{target.url}/livez", timeout=_PATIENCE_S).close()
        except OSError as error:
            return Outcome(held=False, measured=f"{outcome.measured}; then nobody was served: {error}")
        return outcome


@contextmanager
def _served(folder: Path) -> Iterator[Target]:
    """Serve the golden model on a free port."""
    process = subprocess.Popen(
        [*_SERVE, str(_MODEL), "--port", "0", "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},
    )
    try:
        banner = process.stdout.readline() if process.stdout else ""
        found = re.search(r"http://127\.0\.0\.1:(\d+)$", banner.strip())
        if found is None:
            raise SystemExit(f"expected the service to name its address, got {banner!r}")
        yield Target(found[0], int(found[1]), process.pid, _MODEL, folder)
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


if __name__ == "__main__":
    sys.exit(main())
