"""Measure what anomalies in the training history cost: 0, 1%, 5% and 10% of each set's anomalies left in it.

Each level trains on the same normal records and is tested on the same records, those that no level trains on, so that
the AUROC falls for one reason alone. At least one anomaly is left at each level above 0, and training is told of none.
Rows are kept as in `benchmarks.quality`. Writes contamination.json and contamination.md, and returns 1 if a mean fall
reaches its limit.

    python -m benchmarks.quality.contamination --sets small
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.quality.measure import MODEL, RECALL_ALPHA, Case
from benchmarks.quality.options import Options, read_options
from benchmarks.quality.protocol import SetSize
from benchmarks.quality.report import table
from benchmarks.quality.results import conditions_in_words, incomplete, result_stem, write_results
from benchmarks.quality.rows import Row
from benchmarks.quality.run import exit_code, rows_of

NAME = "contamination"
SEEDS = (0,)  # four trainings each

LIMITS: Mapping[float, float] = {0.0: math.inf, 0.01: 0.01, 0.05: 0.02, 0.1: 0.04}
"""By the share of a set's anomalies left in the training half: below what the mean AUROC of the model may fall."""


@dataclass(frozen=True, slots=True)
class Level:
    """What one level of contamination did, means over sets and seeds.

    Attributes:
        share: Of a set's anomalies, left in its training half.
        left: Mean number of them.
        training_share: Mean share of the training records that they are.
        auroc: By detector.
        fall: By detector, from the level without any.
        limit: Which the fall of the model is to stay below.
        recall: Share of the anomalies that the model flags at `RECALL_ALPHA`, over the sets that can promise it at each
            level; None where none can.
        false_alarm_rate: Share of the normal test records flagged there.
        known_share_recall: The recall with `calibration.history_anomalies` at the share that is left; None without any.
        known_share_false_alarm_rate: Share of the normal test records flagged there.
    """

    share: float
    left: float
    training_share: float
    auroc: dict[str, float]
    fall: dict[str, float]
    limit: float | None
    recall: float | None
    false_alarm_rate: float | None
    known_share_recall: float | None
    known_share_false_alarm_rate: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the results, and return 1 if a case failed, the data are missing or a limit is not kept."""
    return exit_code(lambda: _run(read_options(__doc__, SEEDS, arguments)))


def _run(options: Options) -> int:
    cases = [case_of(each, seed, share) for each in options.sets for seed in options.seeds for share in LIMITS]
    rows, failed = rows_of(cases, options)
    levels = levels_of(rows, options.sets, options.seeds)
    if levels:
        _write(levels, rows, options, [*failed])
    kept = all(level.limit is None or level.fall[MODEL] < level.limit for level in levels)
    return int(bool(failed) or not kept)


def case_of(size: SetSize, seed: int, share: float) -> Case:
    """Return the case of one level; small sets can have the same one at two levels."""
    left, untested = (_left(size.anomalies, each) for each in (share, max(LIMITS)))
    return Case(size.name, seed, left=left, untested=untested)


def levels_of(rows: Mapping[Case, Row], sets: Sequence[SetSize], seeds: Sequence[int]) -> list[Level]:
    """Return all levels, over the sets and seeds that have a row at each; nothing where there are none."""
    whole = [
        [rows[case_of(size, seed, share)] for share in LIMITS]
        for size in sets
        for seed in seeds
        if all(case_of(size, seed, share) in rows for share in LIMITS)
    ]
    if not whole:
        return []
    clean, *_ = by_level = list(zip(*whole, strict=True))
    promising = [all(_promises(row) for row in of_set) for of_set in whole]
    return [_level(share, list(at), list(clean), promising) for share, at in zip(LIMITS, by_level, strict=True)]


def _level(share: float, rows: list[Row], clean: list[Row], promising: list[bool]) -> Level:
    promises = [row.measured.promise for row, can in zip(rows, promising, strict=True) if can]
    auroc, auroc_clean = _mean_auroc(rows), _mean_auroc(clean)
    return Level(
        share=share,
        left=fmean(row.case.left for row in rows),
        training_share=fmean(row.case.left / row.measured.training_records for row in rows),
        auroc=auroc,
        fall={name: auroc_clean[name] - auroc[name] for name in auroc},
        limit=LIMITS[share] if share else None,
        recall=_mean(promise.recall for promise in promises),
        false_alarm_rate=_mean(promise.recall_false_alarm_rate for promise in promises),
        known_share_recall=_mean(promise.known_share_recall for promise in promises),
        known_share_false_alarm_rate=_mean(promise.known_share_false_alarm_rate for promise in promises),
    )


def _promises(row: Row) -> bool:
    """Return whether a model can promise `RECALL_ALPHA`, without the calibration records that may be left out too."""
    promise = row.measured.promise
    return promise.recall is not None and (promise.known_share_recall is not None or not row.case.left)


def _mean(rates: Iterable[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return fmean(known) if known else None


def _mean_auroc(rows: list[Row]) -> dict[str, float]:
    return {name: fmean(row.measured.detectors[name].auroc for row in rows) for name in rows[0].measured.detectors}


def _left(anomalies: int, share: float) -> int:
    return math.ceil(share * anomalies - 1e-9)  # 0.05 * 60 may come out above 3


def _write(levels: list[Level], rows: Mapping[Case, Row], options: Options, failed: list[Case]) -> None:
    stem = result_stem(NAME, options.wanted)
    figures = {"seeds": options.seeds, "failed": failed, "levels": levels}
    write_results(stem, f"python -m benchmarks.quality.{NAME}", figures, [*rows.values()], options)
    page = options.output / f"{stem}.md"
    page.write_text(_page(levels, rows, options, failed), encoding="utf-8")
    print(f"\n{page.read_text(encoding='utf-8')}\nwritten to {page} and {page.with_suffix('.json')}")


def _page(levels: list[Level], rows: Mapping[Case, Row], options: Options, failed: list[Case]) -> str:
    seeds = ", ".join(map(str, options.seeds))
    parts = [
        "# Anomalies in the history",
        *([incomplete(failed)] if failed else []),
        f"Mean AUROC, {len(options.sets)} sets, seeds {seeds}, with part of each set's anomalies in the training half.",
        conditions_in_words([*rows.values()]),
        _level_table(levels),
        f"## Flagged at an alpha of {RECALL_ALPHA:.0%}",
        (
            "Means over the sets that can promise it at each level. The share is set by "
            "`calibration.history_anomalies`, to that of the anomalies in the training half."
        ),
        _flag_table(levels),
        f"## AUROC of {MODEL} by set, and anomalies left",
        table(
            ["set", *(f"{share:.0%}" for share in LIMITS)],
            (_set_line(size, options.seeds, rows) for size in options.sets),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _level_table(levels: list[Level]) -> str:
    detectors = list(levels[0].auroc)
    header = ["anomalies left", "mean number", "of the training records", *detectors]
    header += [*(f"fall, {name}" for name in detectors), f"limit, {MODEL}"]
    return table(
        header,
        (
            [
                f"{level.share:.0%}",
                f"{level.left:.1f}",
                f"{level.training_share:.2%}",
                *(f"{level.auroc[name]:.4f}" for name in detectors),
                *(f"{level.fall[name]:.4f}" for name in detectors),
                "" if level.limit is None else f"{level.limit:.2f}",
            ]
            for level in levels
        ),
    )


def _flag_table(levels: list[Level]) -> str:
    return table(
        [
            "anomalies left",
            "anomalies flagged",
            "normal records",
            "with the share set, anomalies flagged",
            "normal records",
        ],
        (
            [
                f"{level.share:.0%}",
                *map(
                    _percent,
                    (
                        level.recall,
                        level.false_alarm_rate,
                        level.known_share_recall,
                        level.known_share_false_alarm_rate,
                    ),
                ),
            ]
            for level in levels
        ),
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _set_line(size: SetSize, seeds: Sequence[int], rows: Mapping[Case, Row]) -> list[str]:
    """Return a set's mean AUROC at each level, with the anomalies left; nothing where a row is missing."""
    cells = [size.name]
    for share in LIMITS:
        cases = [case_of(size, seed, share) for seed in seeds]
        if all(case in rows for case in cases):
            mean = fmean(rows[case].measured.detectors[MODEL].auroc for case in cases)
            cells.append(f"{mean:.4f} ({cases[0].left})")
        else:
            cells.append("")
    return cells


if __name__ == "__main__":
    sys.exit(main())
