"""The results as a page of Markdown, with the targets beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Final

from benchmarks.quality.report import table
from benchmarks.serving import graph
from benchmarks.serving.closed_loop import Slice
from benchmarks.serving.experiment import CONSTANT, FLOOR, PYDANTIC, SERVICE, STREAM_RECORDS, Compared
from benchmarks.serving.rounds import Spread, ratios, spread

JSON_TARGETS: Final = {
    1: {FLOOR: 0.75, PYDANTIC: 2.5},
    100: {FLOOR: 1.15, PYDANTIC: 3.0},
    1000: {FLOOR: 1.15, PYDANTIC: 3.0},
}
"""Least ratio of the service's rate, by records of a request and by who it is compared with."""
STREAM_TARGETS: Final = {"arrow": 0.7, "csv": 0.35, "ndjson": 0.35}
"""Least ratio of the service's rate to that of onnxruntime alone."""

_WALL: Final[Callable[[Slice], float]] = lambda each: each.rate  # noqa: E731 - a name for one of two rates
_CPU: Final[Callable[[Slice], float]] = lambda each: each.cpu_rate  # noqa: E731 - the other


def report(notes: Sequence[str], found: Sequence[Compared]) -> str:
    """Return the page: notes first, a line each, then ratios, then rates."""
    json = [each for each in found if each.records != STREAM_RECORDS]
    streams = [each for each in found if each.records == STREAM_RECORDS]
    parts = ["# Serving", *notes]
    if json:
        parts += ["## JSON: how many times the others' rate", _json_ratios(json), "## JSON: rates", _rates(json)]
    if streams:
        parts += [f"## Streams of {STREAM_RECORDS:,} records", _stream_ratios(streams), _rates(streams)]
    parts += [
        f"Left out with the model {each.model} and {each.records:,} records: {name}, {reason}."
        for each in found
        for name, reason in each.missing.items()
    ]
    return "\n\n".join(parts) + "\n"


def _json_ratios(found: Iterable[Compared]) -> str:
    header = ["model", "records", "beside", "by the clock", "by processor time", "target", "reached", "at most"]
    return table(header, (row for each in found for row in _json_ratio_rows(each)))


def _json_ratio_rows(each: Compared) -> Iterator[list[str]]:
    alone = each.slices[graph.NAME]
    for other, target in JSON_TARGETS[each.records].items():
        by_clock, by_cpu = (ratios(each.slices[SERVICE], each.slices[other], rate) for rate in (_WALL, _CPU))
        most = ratios(alone, each.slices[other], _CPU).median
        reached = _reached(by_clock, by_cpu, target)
        yield [
            each.model,
            f"{each.records:,}",
            other,
            _shown(by_clock),
            _shown(by_cpu),
            f"{target:g}",
            reached,
            f"{most:.2f}",
        ]


def _stream_ratios(found: Iterable[Compared]) -> str:
    header = ["model", "format", f"share of {graph.NAME}, by the clock", "by processor time", "target", "reached"]
    return table(header, (row for each in found for row in _stream_ratio_rows(each)))


def _stream_ratio_rows(each: Compared) -> Iterator[list[str]]:
    alone = each.slices[graph.NAME]
    for name, slices in each.slices.items():
        if name != graph.NAME:
            by_clock, by_cpu = ratios(slices, alone, _WALL), ratios(slices, alone, _CPU)
            target = STREAM_TARGETS.get(name)
            verdict = ["", ""] if target is None else [f"{target:g}", _reached(by_clock, by_cpu, target)]
            yield [each.model, name, _shown(by_clock), _shown(by_cpu), *verdict]


def _rates(found: Iterable[Compared]) -> str:
    header = [
        "model",
        "records",
        "",
        "requests a second",
        "a second of processor time",
        "records a second of it",
        "median, ms",
        "p99, ms",
        "the graph's share",
        "core in use",
        "load's core",
    ]
    return table(header, (row for each in found for row in _rate_rows(each)))


def _rate_rows(each: Compared) -> Iterator[list[str]]:
    graph_rate = median(map(_CPU, each.slices[graph.NAME]))
    for name, slices in each.slices.items():
        cpu = spread(list(map(_CPU, slices)))
        yield [
            each.model,
            f"{each.records:,}",
            name,
            _shown_rate(spread(list(map(_WALL, slices)))),
            _shown_rate(cpu),
            f"{cpu.median * each.records:,.0f}",
            _milliseconds([piece.p50_s for piece in slices]),
            _milliseconds([piece.p99_s for piece in slices]),
            "" if name == CONSTANT else f"{min(1.0, cpu.median / graph_rate):.0%}",
            f"{median(piece.server_cpu_s / piece.seconds for piece in slices):.0%}",
            _share([piece.load_cpu_s for piece in slices], [piece.seconds for piece in slices]),
        ]


def _reached(by_clock: Spread, by_cpu: Spread, target: float) -> str:
    answers = [value.median >= target for value in (by_clock, by_cpu)]
    return "yes" if all(answers) else "no" if not any(answers) else "by one of the two"


def _shown(value: Spread) -> str:
    return f"{value.median:.2f} ({value.least:.2f} to {value.greatest:.2f})"


def _shown_rate(value: Spread) -> str:
    digits = 0 if value.median >= 100 else 1  # noqa: PLR2004 - three figures
    return f"{value.median:,.{digits}f} ({value.least:,.{digits}f} to {value.greatest:,.{digits}f})"


def _milliseconds(seconds: Sequence[float | None]) -> str:
    known = [value for value in seconds if value is not None]
    return f"{1000 * median(known):.2f}" if known else ""


def _share(used: Sequence[float | None], seconds: Sequence[float]) -> str:
    known = [part / whole for part, whole in zip(used, seconds, strict=True) if part is not None]
    return f"{median(known):.0%}" if known else ""
