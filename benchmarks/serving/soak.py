"""Have `vaegis serve` score 20 million records in every format it takes, and watch its memory.

Requests of all sizes, formats and faults in turn; the resident memory of each worker after every turn. After warm-up it
must be flat within 5% and stay under 200 MB, also while one request of 300,000 records passes. Writes
serving-soak.json and serving-soak.md.

    python -m benchmarks.serving.soak --records 20000000
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.conditions import RESULTS
from benchmarks.quality.report import table
from benchmarks.serving.asked import refusal
from benchmarks.serving.bodies import FORMATS, JSON, Bodies, written_bodies
from benchmarks.serving.closed_loop import Load
from benchmarks.serving.long_stream import LINES, Streamed, streamed
from benchmarks.serving.memory import settled
from benchmarks.serving.models import KEPT, SETTINGS, trained
from benchmarks.serving.results import conditions, write
from benchmarks.serving.servers import Server, service

NAME: Final = "serving-soak"
GROWTH_LIMIT: Final = 0.05
MEMORY_LIMIT_BYTES: Final = 200 * 10**6
READY_LIMIT_S: Final = 2.0

_STARTS: Final = 5
_WARM_UP_SHARE: Final = 0.1  # of the records
_TURN_S: Final = 4.0
_STREAM_RECORDS: Final = 10_000
_CONNECTIONS: Final = {1: 16, 100: 16, 1000: 8, _STREAM_RECORDS: 2}


@dataclass(frozen=True, slots=True)
class Turn:
    """One kind of request for a few seconds.

    Attributes:
        kind: What was sent.
        records: Scored in this run so far.
        statuses: Answers by status.
        resident: Bytes of each process that serves, in order of age.
    """

    kind: str
    records: int
    statuses: dict[int, int]
    resident: list[int]


@dataclass(frozen=True, slots=True)
class Request:
    """A kind of request.

    Attributes:
        kind: What it is called.
        path: With its query.
        bodies: What is sent.
        scored: Whether its records are scored; else they are at fault.
    """

    kind: str
    path: str
    bodies: Bodies
    scored: bool = True


def requests(server: Server) -> list[Request]:
    """Return a request of each kind that the server takes, whole and at fault."""
    json = [written_bodies(JSON, n) for n in (1, 100, 1000)]
    found = [Request(each.name, "/score", each) for each in json]
    found += [Request(f"{each.name}, explained", "/score?explain=all", each) for each in json[1:2]]
    for form in FORMATS:
        if form != JSON and refusal(server, form) is None:
            bodies = written_bodies(form, _STREAM_RECORDS)
            found.append(Request(bodies.name, "/score", bodies))
    return [*found, *(Request(f"{each.name}, at fault", "/score", spoiled(each), scored=False) for each in json[:2])]


def spoiled(bodies: Bodies, folder: Path = KEPT) -> Bodies:
    """Return bodies of JSON with a text for the first number of each record."""
    name = f"{bodies.name}-spoiled"
    (folder / name).mkdir(parents=True, exist_ok=True)
    files = tuple(folder / name / file.name for file in bodies.files)
    for file, source in zip(files, bodies.files, strict=True):
        file.write_bytes(source.read_bytes().replace(b'"sensor_00":', b'"sensor_00":"no number","unknown":'))
    return replace(bodies, name=name, files=files)


def turns(server: Server, *, records: int) -> Iterator[Turn]:
    """Load a server until it has scored so many records, and yield each turn."""
    kinds, scored, at = requests(server), 0, 0
    while scored < records:
        kind = kinds[at % len(kinds)]
        at += 1
        url, connections = server.url + kind.path, _CONNECTIONS[kind.bodies.records]
        driven = Load(url, kind.bodies, seconds=_TURN_S, connections=connections).result()
        if driven.failed or any(status >= 500 for status in driven.statuses):  # noqa: PLR2004 - faults of the server
            raise SystemExit(f"{kind.kind}: expected neither a 5xx nor a lost request, got {driven}")
        scored += kind.bodies.records * driven.statuses.get(200, 0) * kind.scored
        settled(server)
        yield Turn(kind.kind, scored, driven.statuses, list(server.resident_bytes().values()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the results; return 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000_000, help="scored in all (%(default)s)")
    parser.add_argument("--stream-records", type=int, default=300_000, help="in one request (%(default)s)")
    parser.add_argument("--model", choices=SETTINGS, default="default", help="which (%(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (%(default)s)")
    parsed = parser.parse_args(arguments)
    model = trained(parsed.model)
    ready = [_ready_s(model) for _ in range(_STARTS)]
    found: list[Turn] = []
    begin = time.perf_counter()
    with service(model) as server:
        for turn in turns(server, records=parsed.records):
            found.append(turn)
            print(f"{turn.records:,} records, {max(turn.resident) / 1e6:.1f} MB, {turn.kind}", flush=True)
        forms = [form for form in LINES if refusal(server, form) is None]
        streams = [streamed(server, form, parsed.stream_records) for form in forms]
    figures = summary(found, ready, parsed.records) + [figure for each in streams for figure in _of_stream(each)]
    notes = [f"Model `{parsed.model}`, {time.perf_counter() - begin:,.0f} s.", conditions()]
    document = {"model": parsed.model, "ready_s": ready, "summary": figures, "turns": found, "streams": streams}
    write(NAME, "python -m benchmarks.serving.soak", document, report(notes, figures, found), parsed.output)
    return int(not all(figure.reached for figure in figures))


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was to be shown."""

    what: str
    measured: str
    target: str
    reached: bool


def summary(found: Sequence[Turn], ready: Sequence[float], records: int) -> list[Figure]:
    """Return what the turns come to.

    Args:
        found: All turns.
        ready: Seconds of each start.
        records: That were asked for.
    """
    kinds = len({turn.kind for turn in found})
    at = max(kinds, next(i for i, turn in enumerate(found) if turn.records >= _WARM_UP_SHARE * records))
    early, late = (max(max(turn.resident) for turn in part) for part in (found[:at], found[at:] or found))
    growth, start_s = late / early - 1, median(ready)
    return [
        Figure("seconds until ready", f"{start_s:.2f}", f"under {READY_LIMIT_S:g}", start_s < READY_LIMIT_S),
        Figure("memory of the largest process, MB", f"{late / 1e6:.1f}", "under 200", late < MEMORY_LIMIT_BYTES),
        Figure("its growth after the first tenth", f"{growth:.1%}", "under 5%", growth < GROWTH_LIMIT),
    ]


def _of_stream(each: Streamed) -> list[Figure]:
    growth, megabytes = max(each.resident) / each.resident[0] - 1, max(each.resident) / 1e6
    what = f"one request of {each.body_bytes / 1e9:.1f} GB of {each.form}"
    return [
        Figure(f"{what}: records answered", f"{each.answered:,}", f"{each.records:,}", each.answered == each.records),
        Figure(f"{what}: memory, MB", f"{megabytes:.1f}", "under 200", megabytes * 1e6 < MEMORY_LIMIT_BYTES),
        Figure(f"{what}: growth", f"{growth:.1%}", "under 5%", growth < GROWTH_LIMIT),
    ]


def report(notes: Sequence[str], figures: Sequence[Figure], found: Sequence[Turn]) -> str:
    """Return the page."""
    rows = ([each.what, each.measured, each.target, "yes" if each.reached else "no"] for each in figures)
    parts = ["# Soak", *notes, table(["", "measured", "target", "reached"], rows)]
    kinds = list(dict.fromkeys(turn.kind for turn in found))
    statuses = ([kind, ", ".join(f"{n:,} with {code}" for code, n in _statuses(found, kind).items())] for kind in kinds)
    shown = found[:: max(1, len(found) // 20)]
    memory = ([f"{turn.records:,}", ", ".join(f"{size / 1e6:.1f}" for size in turn.resident)] for turn in shown)
    parts += ["## Requests", table(["kind", "answers"], statuses)]
    parts += ["## Memory", table(["records scored", "resident, MB, by process"], memory)]
    return "\n\n".join(parts) + "\n"


def _statuses(found: Sequence[Turn], kind: str) -> dict[int, int]:
    counts: dict[int, int] = {}
    for turn in found:
        if turn.kind == kind:
            for status, count in turn.statuses.items():
                counts[status] = counts.get(status, 0) + count
    return counts


def _ready_s(model: Path) -> float:
    with service(model) as server:
        return server.ready_s


if __name__ == "__main__":
    sys.exit(main())
