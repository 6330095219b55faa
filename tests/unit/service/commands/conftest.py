"""The command line, run in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from vaegis.service.cli import main


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def vaegis(capfd) -> Callable[..., Ended]:
    """Run `vaegis` with these arguments."""

    def run(*arguments: object) -> Ended:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:  # argparse leaves in this way
            code = int(ended.code or 0)
        printed = capfd.readouterr()
        return Ended(code, printed.out, printed.err)

    return run
