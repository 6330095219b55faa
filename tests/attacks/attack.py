"""An attack on a service, and its outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Target:
    """The service that an attack is run against, started for it alone.

    Attributes:
        url: Where it listens.
        port: Its port on 127.0.0.1.
        pid: Its process; it has one worker.
        model: The golden model, which it serves.
        folder: An empty folder for the attack's files.
    """

    url: str
    port: int
    pid: int
    model: Path
    folder: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attack.

    Attributes:
        held: Whether the service withstood it.
        measured: What was measured: bytes of memory, seconds of processor time, statuses, files read.
    """

    held: bool
    measured: str


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack.

    Attributes:
        name: What it tries, in a few words.
        run: Runs it.
        quick: Whether it takes seconds, so that every check of a change includes it.
    """

    name: str
    run: Callable[[Target], Outcome]
    quick: bool = True
