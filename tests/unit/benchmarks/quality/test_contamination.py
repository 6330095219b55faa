"""Levels of contamination: how many anomalies are left, and what AUROC fell by."""

import dataclasses

import pytest

from benchmarks.quality.contamination import LIMITS, case_of, levels_of
from benchmarks.quality.measure import Case
from benchmarks.quality.protocol import SetSize

pytestmark = pytest.mark.training

PUMPS = SetSize("7_pumps", records=1100, columns=3, anomalies=60)
VALVES = SetSize("8_valves", records=106, columns=3, anomalies=6)


def test_at_least_one_anomaly_is_left_and_all_levels_test_the_same():
    assert [case_of(PUMPS, 0, share) for share in LIMITS] == [
        Case("7_pumps", 0, left=left, untested=6) for left in (0, 1, 3, 6)
    ]
    assert [case_of(VALVES, 0, share).left for share in LIMITS] == [0, 1, 1, 1]


def test_a_fall_is_from_the_level_without_any(new_row):
    aurocs = {0: (0.9, 0.8), 1: (0.89, 0.8), 3: (0.85, 0.9), 6: (0.8, 0.7)}
    rows = {}
    for left, (vaegis, knn) in aurocs.items():
        case = Case("7_pumps", 0, left=left, untested=6)
        rows[case] = new_row(case, vaegis=vaegis, kNN=knn)
    for left, vaegis in {0: 0.7, 1: 0.6}.items():
        case = Case("8_valves", 0, left=left, untested=1)
        rows[case] = new_row(case, vaegis=vaegis, kNN=0.5)
    levels = levels_of(rows, [PUMPS, VALVES], [0])
    assert [level.share for level in levels] == [*LIMITS]
    assert [level.fall["vaegis"] for level in levels] == pytest.approx([0.0, 0.055, 0.075, 0.1])
    assert [level.fall["kNN"] for level in levels] == pytest.approx([0.0, 0.0, -0.05, 0.05])
    assert [level.left for level in levels] == [0.0, 1.0, 2.0, 3.5]
    assert levels[0].limit is None
    assert levels[3].training_share == pytest.approx(0.035)


def test_recall_is_of_the_sets_that_can_promise_it_at_each_level(new_row):
    rows = {}
    for size, recalls in ((PUMPS, {0: 0.9, 1: 0.6, 3: 0.3, 6: 0.1}), (VALVES, {0: 0.5, 1: None})):
        for left, recall in recalls.items():
            case = Case(size.name, 0, left=left, untested=max(recalls))
            row = new_row(case, vaegis=0.9)
            promise = dataclasses.replace(row.measured.promise, recall=recall)
            rows[case] = row.model_copy(update={"measured": dataclasses.replace(row.measured, promise=promise)})
    levels = levels_of(rows, [PUMPS, VALVES], [0])
    assert [level.recall for level in levels] == pytest.approx([0.9, 0.6, 0.3, 0.1])
    assert [level.known_share_recall for level in levels] == [None, *[pytest.approx(0.6)] * 3]


def test_a_set_without_a_level_is_left_out(new_row):
    case = Case("7_pumps", 0, left=0, untested=6)
    assert levels_of({case: new_row(case, vaegis=0.9)}, [PUMPS], [0]) == []
