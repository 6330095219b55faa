"""The report of scored files counts what the verdicts say, and shows values only where they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vaegis.service.model import Model
from vaegis.service.records.python_records import blocks_of_records
from vaegis.service.verdicts import Explain

pytest.importorskip("jinja2")
from tests.unit.service.report.test_page import LOADING, Page
from vaegis.service.report import scored
from vaegis.service.report.scored import MOST_OF_SIGNATURE, ScoredReport, gauge
from vaegis.service.report.timeline import Timeline

GOOD = {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}
HOSTILE = "<script>alert(1)</script>"
BAD = GOOD | {"amount": 98765.0}


@pytest.fixture(scope="module")
def model(artifact) -> Model:
    return Model(artifact)


def report_of(model: Model, records: list[dict[str, object]], *, with_values: bool = False) -> ScoredReport:
    report = ScoredReport(model, 0.01, with_values=with_values)
    for start in range(0, len(records), 50):
        for block in blocks_of_records(records[start : start + 50], model.artifact.contract.columns, "reject"):
            result = model.judge_blocks([block], alpha=0.01, explain=Explain.ANOMALIES, reports=True)
            report.add(Path(f"{HOSTILE}.csv"), start + 1, block, result)
    return report


def test_the_page_counts_what_the_verdicts_say(model):
    records = [GOOD] * 60 + [BAD] * 3 + [GOOD | {"country": "Atlantis"}] + [{"amount": "many"}]
    html = report_of(model, records).page()
    page = Page(html)
    assert {name: page.texts[name] for name in ("records", "flagged", "violating", "refused")} == {
        "records": "64",
        "flagged": "4",
        "violating": "4",
        "refused": "1",
    }
    assert "amount:above_range" in page.texts["causes"]
    assert "country:unseen_category" in page.texts["causes"]
    assert "row 61" in page.texts["worst"]
    assert "unseen_category 1" in page.texts["columns"]


def test_the_page_loads_nothing_and_takes_no_name_for_markup(model):
    html = report_of(model, [GOOD] * 10 + [BAD]).page()
    page = Page(html)
    assert page.misplaced == []
    assert not any(tag in {"script", "iframe", "link"} for tag, _ in page.elements)
    assert not any(name in LOADING for _, attributes in page.elements for name in attributes)
    assert HOSTILE not in html
    assert len(html.encode()) < 1_000_000


def test_values_are_shown_only_if_asked_for(model):
    records = [GOOD] * 10 + [BAD]
    assert "98765" not in report_of(model, records).page()
    assert "98765" in report_of(model, records, with_values=True).page()


def test_one_cause_does_not_hide_the_others_among_the_worst(model):
    records = [BAD | {"amount": 90_000.0 + at} for at in range(40)] + [GOOD | {"country": "Atlantis"}]
    worst = Page(report_of(model, records).page()).texts["worst"]
    assert worst.count("amount:above_range") == MOST_OF_SIGNATURE
    assert "country:unseen_category" in worst
    assert "row 40" in worst


def test_records_without_any_time_are_shown_without_a_chart(model):
    page = Page(report_of(model, [{"amount": 98765.0}] * 3).page())
    assert "have no time" in page.texts["time"]
    assert page.texts["flagged"] == "3"


@pytest.mark.parametrize("records", [[], [GOOD], [{"amount": "many"}]])
def test_a_page_is_written_without_anomalies_and_without_records(model, records):
    page = Page(report_of(model, records).page())
    assert page.texts["no-anomalies"] == "No record was flagged."


def test_signatures_beyond_the_most_are_counted_together(model, monkeypatch):
    monkeypatch.setattr(scored, "MOST_SIGNATURES", 1)
    page = Page(report_of(model, [BAD, BAD, GOOD | {"country": "Atlantis"}]).page())
    assert "1 further anomalies have other signatures." in page.texts["causes"]


def test_the_band_of_the_flagged_share_is_wider_than_a_binomial_one():
    found = gauge(0.05, 0.01, 100_000, 1000)
    assert found.is_beyond
    assert found.high == pytest.approx(0.01 + 2.576 * np.sqrt(0.0099 * (1 + 99_999 / 1002) / 100_000))


def test_intervals_grow_so_that_memory_does_not():
    timeline = Timeline("at")
    for day in range(4000):
        times = day * 86400.0 + np.arange(0, 86400, 3600.0)
        timeline.add(times, np.arange(24) == 0, ["a:rare_value"] + [None] * 23)
    chart = timeline.chart(0.01)
    assert chart is not None
    assert len(timeline._records) <= 2048
    assert len(chart.records) <= 120
    assert chart.interval == "56 days"
    assert chart.ticks[0][1].startswith("1970-01-")


def test_a_file_without_times_is_shown_by_its_rows():
    timeline = Timeline(None)
    timeline.add(
        np.arange(1000.0), np.arange(1000) >= 900, ["a:rare_value" if row >= 900 else None for row in range(1000)]
    )
    chart = timeline.chart(0.01)
    assert chart is not None
    assert (chart.column, chart.interval, chart.highest) == (None, "50 records", 1.0)
    assert timeline.signature_chart("a:rare_value").when == "901"


def test_records_without_a_time_are_counted_apart():
    timeline = Timeline("at")
    timeline.add(np.array([np.nan, 0.0, 3600.0]), np.zeros(3, dtype=bool), [None] * 3)
    chart = timeline.chart(0.01)
    assert chart is not None
    assert (chart.timeless, chart.most_records) == (1, 1)
