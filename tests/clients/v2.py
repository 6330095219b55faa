"""Calls a running service with clients of the Open Inference Protocol V2, each in an environment of its own."""

from __future__ import annotations

import sys
from typing import Final

from tools import HERE, environment_of, golden_service, run

_CLIENTS: Final = {
    "tritonclient": ("tritonclient[http]",),
    "kserve": ("kserve",),
    "mlserver": ("mlserver", "pandas<3"),
}
"""Packages from PyPI that each script `use_NAME.py` needs."""


def main() -> int:
    """Serve the golden model, run every client's script, and return 1 if one fails."""
    commands = {name: environment_of(name, packages) for name, packages in _CLIENTS.items()}
    with golden_service() as address:
        results = [run(name, commands[name] / "python", HERE / f"use_{name}.py", address) for name in _CLIENTS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
