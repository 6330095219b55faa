"""The results as a page of Markdown: means over the seeds, set by set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from benchmarks.mixed.experiment import ALPHA, MODEL, Row
from benchmarks.mixed.faults import NULL
from benchmarks.mixed.figures import ALL, BUT_NULL
from benchmarks.quality.report import table

_INTRODUCTION = (
    "Records of two real sets count as normal; copies of test records with one injected fault each are to be found."
    " Recall is at the threshold that 1% of the normal test records exceed; for the promise it is the share flagged by"
    " the model's own p-values. The baselines get the columns that the model scores: numbers imputed by the median and"
    " standardised, categories one-hot, instants as time of day and day of week; so a null number is a median to them."
    " Where values are removed, a missing value is ordinary, and no fault."
)
_FIGURES = ("auroc", "recall")
_TITLES = {"auroc": "AUROC", "recall": "recall at 1%, by hindsight"}


def report(rows: Sequence[Row], conditions: str) -> str:
    """Return the page.

    Args:
        rows: All runs, at least one.
        conditions: Under which they were measured, in words.
    """
    parts = ["# Faults found in mixed records", _INTRODUCTION, conditions]
    for name in dict.fromkeys(row.set_name for row in rows):
        parts += _of_set([row for row in rows if row.set_name == name])
    return "\n\n".join(parts) + "\n"


def _of_set(rows: Sequence[Row]) -> Iterator[str]:
    first = rows[0]
    seeds = ", ".join(map(str, sorted({row.seed for row in rows})))
    yield f"## {first.set_name}"
    yield (
        f"{first.training_records:,} training records; tested on {first.normal_records:,} normal ones and "
        f"{first.faults_of_each_kind:,} of each kind of fault; seeds {seeds}."
    )
    yield "All kinds of fault but null, mean (least to greatest) over the seeds:"
    yield table(["values removed", "detector", *_TITLES.values()], _by_share(rows))
    for share, of_share in _shares(rows):
        yield f"Kinds of fault, {share:.0%} of the values removed, means:"
        detectors = [f"{title}, {name}" for title in _TITLES.values() for name in first.detectors]
        yield table(["fault", *detectors], _by_kind(of_share))
    kinds = [of for of in first.promise.recall if of not in (ALL, BUT_NULL)]
    yield f"{MODEL} at its promise of {ALPHA:.0%} false alarms, means:"
    header = ["values removed", "false alarms", "seeds in the band of chance", "recall, all but null", *kinds]
    yield table(header, _promises(rows, kinds))


def _by_share(rows: Sequence[Row]) -> Iterator[list[str]]:
    for share, of_share in _shares(rows):
        for name in rows[0].detectors:
            rankings = [row.detectors[name][BUT_NULL] for row in of_share]
            spreads = (_spread([getattr(each, figure) for each in rankings]) for figure in _FIGURES)
            yield [f"{share:.0%}", name, *spreads]


def _by_kind(rows: Sequence[Row]) -> Iterator[list[str]]:
    detectors = rows[0].detectors
    for of in detectors[MODEL]:
        if of == ALL and NULL not in detectors[MODEL]:
            continue  # it is the same as the next
        means = (
            fmean(getattr(row.detectors[name][of], figure) for row in rows) for figure in _FIGURES for name in detectors
        )
        yield [of, *map(_share, means)]


def _promises(rows: Sequence[Row], kinds: Sequence[str]) -> Iterator[list[str]]:
    for share, of_share in _shares(rows):
        promises = [row.promise for row in of_share]
        in_band = sum(each.in_band for each in promises)
        yield [
            f"{share:.0%}",
            f"{fmean(each.false_alarm_rate for each in promises):.2%}",
            f"{in_band} of {len(promises)}",
            *(
                _share(fmean(each.recall[of] for each in promises)) if of in promises[0].recall else ""
                for of in (BUT_NULL, *kinds)
            ),
        ]


def _shares(rows: Sequence[Row]) -> Iterable[tuple[float, list[Row]]]:
    """Return the runs by the share of values removed, the least first."""
    return [(share, [row for row in rows if row.removed == share]) for share in sorted({row.removed for row in rows})]


def _spread(values: Sequence[float]) -> str:
    return f"{_share(fmean(values))} ({_share(min(values))} to {_share(max(values))})"


def _share(value: float) -> str:
    """Return a share to three decimals, without the zero in front of the point."""
    return f"{value:.3f}".removeprefix("0")
