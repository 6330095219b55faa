"""Means, ranks, wins and losses, and the page that shows them."""

import pytest

from benchmarks.quality.measure import Case
from benchmarks.quality.report import report
from benchmarks.quality.summary import among_published, by_set, standings, this_run

pytestmark = pytest.mark.training


@pytest.fixture
def rows(new_row):
    """Two sets, the second too small to promise an alpha of 1%."""
    return [
        new_row(Case("7_pumps", 0), vaegis=0.9, kNN=0.8, IsolationForest=0.7),
        new_row(Case("7_pumps", 1), vaegis=0.8, kNN=0.8, IsolationForest=0.7, false_alarm_rate=0.08),
        new_row(Case("8_valves", 0), vaegis=0.6, kNN=0.9, IsolationForest=0.6, calibration_records=15),
    ]


def test_a_set_is_the_mean_of_its_seeds(rows):
    pumps, valves = by_set(rows)
    assert pumps.seeds == (0, 1)
    assert pumps.detectors["vaegis"] == pytest.approx({"auroc": 0.85, "ap": 0.425, "recall": 0.2125})
    assert (pumps.judged, pumps.in_band) == (2, 1)
    assert pumps.false_alarm_rate == pytest.approx(0.065)
    assert pumps.fit_seconds == 2.5
    assert pumps.promised_recall == 0.5
    assert (valves.judged, valves.in_band, valves.promised_recall) == (0, 0, None)


def test_sets_count_the_same_whatever_their_seeds(rows):
    vaegis, knn, forest = this_run(by_set(rows))
    assert vaegis.means["auroc"] == pytest.approx((0.85 + 0.6) / 2)
    assert (vaegis.ranks["auroc"], knn.ranks["auroc"], forest.ranks["auroc"]) == (1.75, 1.5, 2.75)
    assert (knn.won["auroc"], knn.lost["auroc"]) == (1, 1)
    assert (forest.won["auroc"], forest.lost["auroc"]) == (1, 0)  # equal on the second


def test_published_detectors_are_compared_on_the_sets_that_all_have(rows):
    published = {"HBOS": {"7_pumps": {"auroc": 0.95, "ap": 0.1}, "9_fans": {"auroc": 0.5, "ap": 0.1}}}
    best, vaegis = among_published(by_set(rows), published)
    assert (best.name, best.sets, best.lost["auroc"], best.won["ap"]) == ("HBOS", 1, 1, 1)
    assert vaegis.means["auroc"] == pytest.approx(0.85)


def test_without_published_figures_or_shared_sets_there_is_nothing_to_compare(rows):
    assert among_published(by_set(rows), {}) == []
    assert standings({"vaegis": {"7_pumps": {"auroc": 1.0}}, "HBOS": {}}, ["auroc"]) == []


def test_the_page_shows_each_set_and_each_detector(rows):
    sets = by_set(rows)
    page = report("Quality", ["A note."], sets, this_run(sets), among_published(sets, {}))
    assert page.startswith("# Quality\n\nA note.\n")
    assert "| vaegis | .7250 | .3625 |" in page
    assert "| 7_pumps | 100 | .8500 | .8000 | .7000 |" in page
    assert "| 7_pumps | 2,000 | split-conformal | 6.50% | 1 of 2 | .5000 | 1.00% |" in page
    assert "| 8_valves | 15 | split-conformal | 5.00% |  |  |  |" in page
    assert "published" not in page
