"""Measure `vaegis serve` on one core under an open load: at half its capacity, and at three times for a minute.

Capacity is what a closed loop of 16 connections gets. At half of it nothing may be refused and p99 stays near the
median: by k6, and by a load generator that takes less of its core; both are held against a server that does nothing,
for what they add themselves. At three times what is accepted stays near capacity, the rest is refused fast, memory is
bounded, /livez answers, and 5 s after the load's end latency is what it was before. Writes serving-overload.json and
.md.

    python -m benchmarks.serving.overload
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.conditions import RESULTS
from benchmarks.quality.report import table
from benchmarks.serving.arrivals import Arrived, arrived
from benchmarks.serving.bodies import JSON, Bodies, written_bodies
from benchmarks.serving.closed_loop import Load, loaded
from benchmarks.serving.memory import sampled, settled
from benchmarks.serving.models import SETTINGS, trained
from benchmarks.serving.open_model import OK, TOO_MANY, OpenLoad, Outcome, Phase
from benchmarks.serving.results import conditions, write
from benchmarks.serving.servers import Server, constant, service

NAME: Final = "serving-overload"

_STEADY: Final = 5.0  # p99 in medians
_KEPT: Final = 0.9  # of capacity
_FAST_S: Final = 0.05
_MOST_MEGABYTES: Final = 200
_AS_BEFORE: Final = 1.5  # p99 in that of before
_HALF: Final = 0.5
_OVER: Final = 3.0
_SETTLE_S: Final = 5.0
_PROBES: Final = 10.0  # of /livez, a second
_CAPACITY_S: Final = 5.0
_ROOM: Final = ("--max-connections", "4000")
"""Each phase of k6 keeps the connections of up to 400 users. Beyond the service's usual 1,000, idle ones are closed."""
_CROWD: Final = 512  # connections, most of which are refused


@dataclass(frozen=True, slots=True)
class Overload:
    """What was measured with one size of request.

    Attributes:
        records: Of a request.
        capacity: Requests a second that a closed loop gets, before and after.
        outcomes: By phase: half; before, over, settling, after; live, beside the last four.
        idle: As half, of a server that does nothing.
        steady: At half, by the lighter load generator.
        idle_steady: The same of a server that does nothing.
        largest_bytes: Resident memory of the largest process, at most.
        accepted_cpu_s: Processor time of a request that is answered.
        refused_cpu_s: Processor time of a request that is refused.
    """

    records: int
    capacity: tuple[float, float]
    outcomes: dict[str, Outcome]
    idle: Outcome
    steady: Arrived
    idle_steady: Arrived
    largest_bytes: int
    accepted_cpu_s: float
    refused_cpu_s: float

    @property
    def possible(self) -> float:
        """Share of capacity that refusing the rest of three times as much leaves processor time for."""
        cost = self.refused_cpu_s / self.accepted_cpu_s
        return max(0.0, (1 - _OVER * cost) / (1 - cost))


def measured(server: Server, records: int, *, seconds: float) -> Overload:
    """Measure one size of request, at three times capacity for ``seconds``."""
    bodies = written_bodies(JSON, records)
    loaded(server, bodies, seconds=1.0)
    before = loaded(server, bodies, seconds=_CAPACITY_S)
    capacity, accepted_cpu_s = before.rate, 1 / before.cpu_rate
    half = Phase("half", _HALF * capacity, 0, seconds / 2)
    with constant("constant answer") as nothing:
        idle = OpenLoad(nothing, bodies, [half]).results()["half"]
        idle_steady = arrived(nothing, bodies, rate=half.rate, seconds=half.seconds)
    settled(server)
    with sampled(server) as samples:
        steady = arrived(server, bodies, rate=half.rate, seconds=half.seconds)
        outcomes = OpenLoad(server, bodies, [half]).results()
        outcomes |= OpenLoad(server, bodies, _phases(capacity, seconds)).results()
    settled(server)
    again = loaded(server, bodies, seconds=_CAPACITY_S).rate
    refused_cpu_s = _refused_cpu_s(server, bodies, accepted_cpu_s)
    return Overload(
        records=records,
        capacity=(capacity, again),
        outcomes=outcomes,
        idle=idle,
        steady=steady,
        idle_steady=idle_steady,
        largest_bytes=max(samples.largest),
        accepted_cpu_s=accepted_cpu_s,
        refused_cpu_s=refused_cpu_s,
    )


def _refused_cpu_s(server: Server, bodies: Bodies, accepted_cpu_s: float) -> float:
    """Return the processor time of refusing a request: what a crowd takes beyond those of it that are answered."""
    used = server.cpu_seconds()
    driven = Load(server.target(bodies.records), bodies, seconds=_CAPACITY_S, connections=_CROWD).result()
    used = server.cpu_seconds() - used
    refused = driven.statuses.get(TOO_MANY, 0)
    if not refused:
        raise SystemExit(f"expected some of {_CROWD} connections to be refused, got {driven}")
    return max(0.0, used - accepted_cpu_s * driven.statuses.get(OK, 0)) / refused


def _phases(capacity: float, seconds: float) -> list[Phase]:
    usual, calm = _HALF * capacity, seconds / 4
    over = calm + seconds
    return [
        Phase("before", usual, 0, calm),
        Phase("over", _OVER * capacity, calm, seconds),
        Phase("settling", usual, over, _SETTLE_S),
        Phase("after", usual, over + _SETTLE_S, calm),
        Phase("live", _PROBES, 0, over + _SETTLE_S + calm, call="live"),
    ]


def report(notes: Sequence[str], found: Sequence[Overload]) -> str:
    """Return the page: targets first, then every phase."""
    targets = table(["records", "", "measured", "target", "reached"], (row for each in found for row in _targets(each)))
    header = [
        "records",
        "phase",
        "sent a second",
        "not sent",
        "status",
        "a second",
        "median, ms",
        "p99, ms",
        "longest, ms",
    ]
    phases = table(header, (row for each in found for row in _phase_rows(each)))
    return "\n\n".join(["# Serving under an open load", *notes, targets, "## Phases", phases]) + "\n"


def _targets(each: Overload) -> Iterator[list[str]]:
    half, over, before, after, live = (each.outcomes[name] for name in ("half", "over", "before", "after", "live"))
    lost = half.requests - half.count(OK)
    by_k6 = _ratio(half.answers[OK].p99_s, half.answers[OK].p50_s)
    steady = each.steady.p99_s / each.steady.p50_s
    share = over.accepted_rate / (sum(each.capacity) / 2)
    refused = over.answers[TOO_MANY].p50_s if TOO_MANY in over.answers else None
    megabytes, most = each.largest_bytes / 1e6, _MOST_MEGABYTES
    silent = live.requests - live.count(OK) + live.not_sent
    slower = _ratio(after.answers[OK].p99_s, before.answers[OK].p99_s)
    rows = [
        ("half: not answered with 200", f"{lost} of {half.requests:,}", "none", lost == 0),
        ("half: p99 beside the median", f"{steady:.1f}", f"under {_STEADY:g}", steady < _STEADY),
        ("half: p99 beside the median, by k6", f"{by_k6:.1f}", f"under {_STEADY:g}", by_k6 < _STEADY),
        ("half: p99 of a server that does nothing, ms", _milliseconds(each.idle_steady.p99_s), "", None),
        ("half: p99 of a server that does nothing, by k6, ms", _milliseconds(each.idle.answers[OK].p99_s), "", None),
        ("three times: accepted, as a share of capacity", f"{share:.2f}", f"{_KEPT}", share >= _KEPT),
        (
            "three times: median time of a 429, ms",
            _milliseconds(refused),
            f"under {1000 * _FAST_S:g}",
            refused is not None and refused < _FAST_S,
        ),
        ("three times: neither 200 nor 429", f"{over.others} of {over.requests:,}", "none", over.others == 0),
        ("three times: as much as refusing the rest leaves time for", f"{each.possible:.2f}", "", None),
        ("processor time of a 200, ms", _milliseconds(each.accepted_cpu_s), "", None),
        ("processor time of a 429, ms", f"{1000 * each.refused_cpu_s:.3f}", "", None),
        ("memory of the largest process, MB", f"{megabytes:.0f}", f"under {most}", megabytes < most),
        ("/livez not answered with 200", f"{silent} of {live.requests:,}", "none", silent == 0),
        ("/livez: the longest, ms", _milliseconds(live.answers[OK].greatest_s), "", None),
        ("5 s after: p99 beside that before", f"{slower:.2f}", f"under {_AS_BEFORE}", slower < _AS_BEFORE),
    ]
    for what, measured, target, reached in rows:
        yield [f"{each.records:,}", what, measured, target, {None: "", True: "yes", False: "no"}[reached]]


def _ratio(some: float | None, other: float | None) -> float:
    return float("nan") if some is None or other is None else some / other


def _phase_rows(each: Overload) -> Iterator[list[str]]:
    first, last = each.capacity
    yield [f"{each.records:,}", "capacity, before and after", "", "", "200", f"{first:,.1f}, {last:,.1f}", "", "", ""]
    for name, light in (("half, does nothing", each.idle_steady), ("half", each.steady)):
        times = map(_milliseconds, (light.p50_s, light.p99_s))
        yield [f"{each.records:,}", f"{name}, lighter generator", f"{light.rate:,.1f}", "", "200", "", *times, ""]
    for name, outcome in (("half, does nothing", each.idle), *each.outcomes.items()):
        seconds = outcome.phase.seconds
        for status, answers in outcome.answers.items():
            yield [
                f"{each.records:,}",
                name,
                f"{outcome.phase.rate:,.1f}",
                f"{outcome.not_sent:,}",
                str(status or "none"),
                f"{answers.count / seconds:,.1f}",
                *map(_milliseconds, (answers.p50_s, answers.p99_s, answers.greatest_s)),
            ]


def _milliseconds(seconds: float | None) -> str:
    return "none" if seconds is None else f"{1000 * seconds:,.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="at three times capacity (%(default)s)")
    parser.add_argument("--model", choices=SETTINGS, default="default", help="which (%(default)s)")
    parser.add_argument("--sizes", nargs="+", type=int, default=(1, 100), help="records of a request (%(default)s)")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="more flags of vaegis serve, at the end")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (%(default)s)")
    parsed = parser.parse_args(arguments)
    model = trained(parsed.model)
    found = []
    for size in parsed.sizes:
        with service(model, *_ROOM, *parsed.flags) as server:
            found.append(measured(server, size, seconds=parsed.seconds))
    method = (
        f"Model `{parsed.model}`, the service on one core, k6 on the other at a constant rate of arrival, "
        f"{parsed.seconds:g} s at three times capacity. Not sent: arrivals for which the load generator had neither "
        "time nor a connection."
    )
    figures = {"model": parsed.model, "seconds": parsed.seconds, "measured": found}
    write(NAME, "python -m benchmarks.serving.overload", figures, report([method, conditions()], found), parsed.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
