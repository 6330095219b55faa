"""Tables with a split of their own: kept as they are, dealt into halves by name, reported half by half."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.quality import command, oddbench
from benchmarks.quality.measure import Case
from benchmarks.quality.oddbench import CHOSEN_ON, CONFIRMED_ON, half_of, has_own_split, load_table, tables
from benchmarks.quality.protocol import MissingDataError
from benchmarks.quality.rows import RowFile
from benchmarks.quality.sources import row_key
from benchmarks.quality.summary import by_set, lead_over
from vaegis.training.config import TrainConfig

pytestmark = pytest.mark.training
NAMES = ("BirdTracking", "CellMorphology", "CreditTransaction", "GazeTracking")


@pytest.fixture
def folder(tmp_path):
    """Four tables of 30 training and 20 test records, the first five of which are anomalies."""
    for name in NAMES:
        arrays = {"train": np.arange(60.0).reshape(30, 2), "test": np.ones((20, 2)), "test_labels": np.arange(20) < 5}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    return tmp_path


def test_a_table_keeps_its_split(folder):
    halves = load_table(folder, NAMES[0], seed=0)
    np.testing.assert_array_equal(halves.training, np.arange(60.0).reshape(30, 2))
    assert halves.labels.tolist() == [True] * 5 + [False] * 15


def test_a_large_table_is_sampled_and_labels_stay_with_their_records(folder, monkeypatch):
    monkeypatch.setattr(oddbench, "MAX_TRAINING_RECORDS", 10)
    monkeypatch.setattr(oddbench, "MAX_TEST_RECORDS", 8)
    np.savez(
        folder / "Marked.npz", train=np.zeros((30, 1)), test=np.arange(20.0)[:, None], test_labels=np.arange(20) < 5
    )
    halves = load_table(folder, "Marked", seed=0)
    assert (len(halves.training), len(halves.test)) == (10, 8)
    np.testing.assert_array_equal(halves.labels, halves.test[:, 0] < 5)


def test_only_files_with_a_split_have_one_of_their_own(folder):
    np.savez(folder / "7_pumps.npz", X=np.zeros((4, 1)), y=np.zeros(4))
    assert has_own_split(folder, NAMES[0])
    assert not has_own_split(folder, "7_pumps")
    assert not has_own_split(folder, "8_valves")


def test_both_halves_hold_tables_and_a_limit_is_that_of_each(folder):
    assert {half_of(name) for name in NAMES} == {CHOSEN_ON, CONFIRMED_ON}
    assert [each.name for each in tables(folder)] == sorted(NAMES)
    assert sorted(half_of(each.name) for each in tables(folder, 1)) == [CHOSEN_ON, CONFIRMED_ON]


def test_a_folder_without_tables_says_how_to_make_them(tmp_path):
    with pytest.raises(MissingDataError, match=r"oddbench\.py says how to make them"):
        tables(tmp_path)


def test_the_page_shows_each_half_apart(folder, new_row, tmp_path):
    rows = RowFile(tmp_path / "rows.jsonl", row_key(TrainConfig(), folder))
    for at, name in enumerate(NAMES):
        row = new_row(Case(name, 0), vaegis=0.9 - 0.1 * at, kNN=0.8 - 0.1 * at, IsolationForest=0.5)
        rows.append(row.model_copy(update={"key": rows.key}))
    options = {"--sets": "none", "--oddbench": folder, "--rows": rows.path, "--output": tmp_path / "results"}
    assert command.main([str(part) for option in options.items() for part in option]) == 0
    document = json.loads((tmp_path / "results" / "oddbench.json").read_text())
    assert set(document["standings"]) == {"all", CHOSEN_ON, CONFIRMED_ON}
    assert document["leads"]["all"]["auroc"] == pytest.approx(0.1)
    page = (tmp_path / "results" / "oddbench.md").read_text()
    assert f"## Means over the tables, {CONFIRMED_ON}: " in page
    assert "Ahead of kNN by +0.1000 AUROC" in page


def test_a_lead_has_the_standard_error_of_paired_differences(new_row):
    pairs = ((0.9, 0.8), (0.7, 0.7), (0.6, 0.4))
    rows = [new_row(Case(f"set {at}", 0), vaegis=ours, kNN=theirs) for at, (ours, theirs) in enumerate(pairs)]
    lead = lead_over(by_set(rows))
    assert lead.auroc == pytest.approx(0.1)
    assert lead.auroc_error == pytest.approx(0.1 / np.sqrt(3))
