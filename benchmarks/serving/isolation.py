"""Measure how long single records wait while a request of 100,000 records runs in a loop, beside alone.

One worker on one core; singles arrive at a constant rate. Writes serving-isolation.json and serving-isolation.md.

    python -m benchmarks.serving.isolation
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.conditions import RESULTS
from benchmarks.quality.report import table
from benchmarks.serving.asked import refusal
from benchmarks.serving.bodies import FORMATS, JSON, Bodies, written_bodies
from benchmarks.serving.closed_loop import Load
from benchmarks.serving.memory import sampled, settled
from benchmarks.serving.models import SETTINGS, trained
from benchmarks.serving.open_model import OK, OpenLoad, Outcome, Phase
from benchmarks.serving.results import conditions, write
from benchmarks.serving.servers import Server, service

NAME: Final = "serving-isolation"
BULK_RECORDS: Final = 100_000
LIMIT_S: Final = 0.05

_ALONE: Final = "alone"
_LEAD_S: Final = 1.0  # until the bulk request is on its way
# What a bulk request needs that is no stream; a stream is bounded by none of them.
_FLAGS: Final = ("--max-records", "100000", "--max-body-bytes", str(2**27), "--max-values", "10000000")


@dataclass(slots=True)
class Beside:
    """Singles, round by round, while something else ran.

    Attributes:
        outcomes: Of the singles.
        bulk: Of the bulk requests, those answered by status.
        largest_bytes: Resident memory of the largest process, at most.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    bulk: dict[int, int] = field(default_factory=dict)
    largest_bytes: int = 0


def measured(server: Server, *, rounds: int, seconds: float, rate: float) -> dict[str, Beside]:
    """Return what singles met alone and beside bulk requests of each format that is served."""
    singles = written_bodies(JSON, 1)
    forms = [form for form in FORMATS if refusal(server, form) is None]
    bulks = {form: written_bodies(form, BULK_RECORDS) for form in forms}
    found = {name: Beside() for name in (_ALONE, *bulks)}
    for _ in range(rounds):
        for name, beside in found.items():
            with sampled(server) as samples:
                _measure(server, singles, bulks.get(name), beside, Phase(name, rate, _LEAD_S, seconds))
            beside.largest_bytes = max(beside.largest_bytes, *samples.largest)
            settled(server)
    return found


def _measure(server: Server, singles: Bodies, bulk: Bodies | None, beside: Beside, phase: Phase) -> None:
    together = phase.start_s + phase.seconds
    load = None if bulk is None else Load(server.target(bulk.records), bulk, seconds=together, connections=1)
    beside.outcomes.append(OpenLoad(server, singles, [phase]).results()[phase.name])
    if load is not None:
        driven = load.result()
        for status, count in (driven.statuses | ({0: driven.failed} if driven.failed else {})).items():
            beside.bulk[status] = beside.bulk.get(status, 0) + count


def report(notes: Sequence[str], found: dict[str, Beside]) -> str:
    """Return the page."""
    header = [
        "bulk requests of",
        "answered",
        "singles",
        "not 200",
        "median, ms",
        "p99, ms",
        "longest, ms",
        "p99 beyond alone, ms",
        "target",
        "reached",
        "largest process, MB",
    ]
    return "\n\n".join(["# Single records beside bulk requests", *notes, table(header, _rows(found))]) + "\n"


def _rows(found: dict[str, Beside]) -> Iterator[list[str]]:
    alone = _median_p99(found[_ALONE])
    for name, each in found.items():
        singles = [outcome.answers[OK] for outcome in each.outcomes if OK in outcome.answers]
        beyond = _median_p99(each) - alone
        judged = ["", "", ""] if name == _ALONE else [f"{1000 * beyond:.1f}", "50", "yes" if beyond < LIMIT_S else "no"]
        yield [
            name,
            ", ".join(f"{count} with {status or 'nothing'}" for status, count in each.bulk.items()),
            f"{sum(outcome.requests for outcome in each.outcomes):,}",
            str(sum(outcome.requests - outcome.count(OK) for outcome in each.outcomes)),
            f"{1000 * median(one.p50_s or 0 for one in singles):.2f}",
            f"{1000 * _median_p99(each):.2f}",
            f"{1000 * max(one.greatest_s or 0 for one in singles):.1f}",
            *judged,
            f"{each.largest_bytes / 1e6:.0f}",
        ]


def _median_p99(beside: Beside) -> float:
    return median(outcome.answers[OK].p99_s or 0 for outcome in beside.outcomes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each kind (%(default)s)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of a round (%(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="single records a second (%(default)s)")
    parser.add_argument("--model", choices=SETTINGS, default="default", help="which (%(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (%(default)s)")
    parsed = parser.parse_args(arguments)
    with service(trained(parsed.model), *_FLAGS) as server:
        found = measured(server, rounds=parsed.rounds, seconds=parsed.seconds, rate=parsed.rate)
    method = (
        f"Model `{parsed.model}`, one worker on one core; {parsed.rate:g} singles a second by k6 at a constant rate of "
        f"arrival, {parsed.rounds} rounds of {parsed.seconds:g} s in turn; a request of {BULK_RECORDS:,} records after "
        "the other beside them. Median and p99 are medians over the rounds."
    )
    figures = {"model": parsed.model, "rate": parsed.rate, "flags": _FLAGS, "found": found}
    write(NAME, "python -m benchmarks.serving.isolation", figures, report([method, conditions()], found), parsed.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
