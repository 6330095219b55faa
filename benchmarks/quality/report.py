"""The results as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from benchmarks.quality.measure import BAND_ALPHA, BAND_CALIBRATION_RECORDS, MODEL, RECALL_ALPHA
from benchmarks.quality.summary import METRICS, Lead, SetSummary, Standing

_TITLES = {"auroc": "AUROC", "ap": "AP", "recall": "recall at 1%, by hindsight"}
_MEGABYTE = 1e6


def report(
    title: str,
    notes: Sequence[str],
    sets: Sequence[SetSummary],
    run: Sequence[Standing],
    others: Sequence[Standing],
    earlier: Sequence[Standing] = (),
) -> str:
    """Return the page.

    Args:
        title: Its heading.
        notes: What was measured and how, a line each.
        sets: Means over seeds.
        run: The detectors of the run.
        others: The model among published detectors; empty where there are none.
        earlier: The model beside earlier ones; empty where there are none.
    """
    parts = [f"# {title}", *notes]
    parts += ["## Means over sets", _standings(run)]
    if earlier:
        parts += [f"## Beside earlier models, {earlier[0].sets} sets", _standings(earlier)]
    if others:
        parts += [f"## Beside published figures, {others[0].sets} sets", _standings(others)]
    return "\n\n".join([*parts, *_by_set(sets)]) + "\n"


def group_report(
    title: str,
    notes: Sequence[str],
    sets: Sequence[SetSummary],
    standings: Mapping[str, Sequence[Standing]],
    leads: Mapping[str, Lead],
) -> str:
    """Return the page of sets that are looked at by parts, such as those that nothing was chosen on.

    Args:
        title: Its heading.
        notes: What was measured and how, a line each.
        sets: All of them.
        standings: By name of the part, how the model stands among the others.
        leads: By the same names, how far it is ahead of nearest neighbours.
    """
    parts = [f"# {title}", *notes]
    for name, found in standings.items():
        parts += [f"## Means over the tables, {name}: {found[0].sets}", _standings(found), str(leads[name])]
    return "\n\n".join([*parts, *_by_set(sets)]) + "\n"


def _by_set(sets: Sequence[SetSummary]) -> Iterator[str]:
    for metric in METRICS:
        yield from (f"## {_TITLES[metric]} by set", _ranking(sets, metric))
    yield from ("## Promise", _PROMISE, _promises(sets), "## Cost", _costs(sets))


_PROMISE = f"""False alarms: share of the normal test records flagged at alpha = {BAND_ALPHA:.0%}. In band: seeds
in which chance explains it (95%), of those with at least {BAND_CALIBRATION_RECORDS:,} calibration records. Recall:
share of the anomalies flagged at the promised alpha of {RECALL_ALPHA:.0%}, and what it took in false alarms there; none
where too few calibration records promise it."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, all columns but the first to the right."""
    rules = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rules, *rows))


def _standings(found: Sequence[Standing]) -> str:
    metrics = list(found[0].means)
    header = [
        "detector",
        *(_TITLES[metric] for metric in metrics),
        *(f"mean rank, {_TITLES[metric]}" for metric in metrics),
        *(f"{MODEL} better / worse, {_TITLES[metric]}" for metric in metrics),
    ]
    return table(header, (_standing(each, metrics) for each in found))


def _standing(each: Standing, metrics: list[str]) -> list[str]:
    versus = ["" if each.name == MODEL else f"{each.won[metric]} / {each.lost[metric]}" for metric in metrics]
    means = [_share(each.means[metric]) for metric in metrics]
    return [each.name, *means, *(f"{each.ranks[metric]:.2f}" for metric in metrics), *versus]


def _ranking(sets: Sequence[SetSummary], metric: str) -> str:
    detectors = list(sets[0].detectors)
    rows = (
        [each.name, f"{each.training_records:,}", *(_share(each.detectors[name][metric]) for name in detectors)]
        for each in sets
    )
    return table(["set", "training records", *detectors], rows)


def _promises(sets: Sequence[SetSummary]) -> str:
    header = [
        "set",
        "calibration records",
        "calibration",
        "false alarms",
        "in band",
        "recall by flags",
        "its false alarms",
    ]
    return table(header, _promise_rows(sets))


def _promise_rows(sets: Sequence[SetSummary]) -> Iterator[list[str]]:
    for each in sets:
        yield [
            each.name,
            f"{each.calibration_records:,}",
            each.calibration_method,
            f"{each.false_alarm_rate:.2%}",
            f"{each.in_band} of {each.judged}" if each.judged else "",
            "" if each.promised_recall is None else _share(each.promised_recall),
            "" if each.promised_false_alarm_rate is None else f"{each.promised_false_alarm_rate:.2%}",
        ]
    recalls = [each.promised_recall for each in sets if each.promised_recall is not None]
    rates = [each.promised_false_alarm_rate for each in sets if each.promised_false_alarm_rate is not None]
    in_band, judged = sum(each.in_band for each in sets), sum(each.judged for each in sets)
    yield [
        "mean or sum",
        "",
        "",
        f"{fmean(each.false_alarm_rate for each in sets):.2%}",
        f"{in_band} of {judged}" if judged else "",
        _share(fmean(recalls)) if recalls else "",
        f"{fmean(rates):.2%}" if rates else "",
    ]


def _costs(sets: Sequence[SetSummary]) -> str:
    header = ["set", "fit, s", "records scored a second, one thread", "file, MB"]
    rows = (
        [each.name, f"{each.fit_seconds:.1f}", f"{each.scored_per_second:,.0f}", f"{each.file_bytes / _MEGABYTE:.2f}"]
        for each in sets
    )
    return table(header, rows)


def _share(value: float) -> str:
    """Return a share to four decimals, without the zero in front of the point."""
    return f"{value:.4f}".removeprefix("0")
