"""Measure `vaegis serve` on one core beside what bounds it, under a closed loop of 16 connections.

JSON of 1, 100 and 1,000 records a request: the service, the bare floor (`benchmarks.serving.floor`) and the pydantic
way (`benchmarks.serving.pydantic_way`) over the same exported model, in turn, round after round. Streams of 10,000
records: the service beside onnxruntime alone. Servers run on one core, the load on the other. Writes serving.json,
with conditions and every slice, and the same as tables in serving.md.

    python -m benchmarks.serving --rounds 9 --seconds 2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.conditions import RESULTS
from benchmarks.serving.closed_loop import CONNECTIONS
from benchmarks.serving.experiment import JSON_SIZES, STREAM_CONNECTIONS, Compared, Plan, compared
from benchmarks.serving.models import SETTINGS, TRAINING_RECORDS, trained
from benchmarks.serving.report import report
from benchmarks.serving.results import conditions, write

NAME: Final = "serving"

_METHOD: Final = (
    f"Closed loop of {CONNECTIONS} connections ({STREAM_CONNECTIONS} for streams) on a core of its own; every "
    "server on one other core, in turn. Median over the rounds, least and greatest in brackets. By processor time: "
    "requests for each second that the server computes, which other work on the machine hardly changes, while it slows "
    "the clock's figures down. At most: the ratio of a server that does nothing but run the graph. Times are of "
    "whole requests, medians over the rounds."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="slices of each server (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a slice (%(default)s)")
    parser.add_argument("--models", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="which (%(default)s)")
    parser.add_argument("--sizes", nargs="*", type=int, default=JSON_SIZES, help="records of JSON (%(default)s)")
    parser.add_argument("--no-streams", action="store_true", help="leave the other formats out")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="more flags of vaegis serve, at the end")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (%(default)s)")
    parsed = parser.parse_args(arguments)
    plan = Plan(parsed.rounds, parsed.seconds, parsed.sizes, not parsed.no_streams, parsed.flags)
    found: list[Compared] = []
    for name in parsed.models:
        for each in compared(name, trained(name), plan):
            print(f"{name}: {each.bodies} measured", flush=True)
            found.append(each)
    notes = [f"{parsed.rounds} rounds of {parsed.seconds:g} s. {_METHOD}", _models(), conditions()]
    figures = {"rounds": parsed.rounds, "seconds": parsed.seconds, "models": SETTINGS, "compared": found}
    write(NAME, "python -m benchmarks.serving", figures, report(notes, found), parsed.output)
    return 0


def _models() -> str:
    light = SETTINGS["light"].replace("\n", " ").strip()
    return (
        f"Both models are trained on {TRAINING_RECORDS:,} records of 30 numbers: `default` with the default settings, "
        f"`light` with `{' '.join(light.split())}`."
    )
