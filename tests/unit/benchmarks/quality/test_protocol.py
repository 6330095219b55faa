"""The random halves: who trains, who tests, and which sets there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import protocol
from benchmarks.quality.protocol import (
    MissingDataError,
    chosen_sets,
    contaminated_half,
    inventory,
    load_set,
    random_half,
    table_of,
)

pytestmark = pytest.mark.training

NORMAL, ANOMALIES = 101, 20
LABELS = np.arange(NORMAL + ANOMALIES) % 6 == 5  # 20 of 121
RECORDS = np.arange(LABELS.size, dtype=np.float64)[:, np.newaxis]  # a record is its own position


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of two sets, one of them small; only the small one has its records."""
    lines = ["name,n,d,n_anom,rate", "7_pumps,121,1,20,16.5", "8_valves,50000,4,900,1.8"]
    (tmp_path / "inventory.csv").write_text("\n".join(lines) + "\n")
    np.savez(tmp_path / "7_pumps.npz", X=RECORDS.astype(np.int16), y=LABELS.astype(np.int32))
    return tmp_path


def positions(values: np.ndarray) -> list[int]:
    return values.ravel().astype(int).tolist()


@pytest.mark.parametrize("seed", [0, 2])
def test_the_halves_are_those_of_the_stated_rule(seed):
    normal = np.flatnonzero(~LABELS)[np.random.RandomState(1000 + seed).permutation(NORMAL)]
    halves = random_half(RECORDS, LABELS, seed)
    assert positions(halves.training) == normal[:51].tolist()
    assert positions(halves.test[~halves.labels]) == normal[51:].tolist()
    assert sorted(positions(halves.test[halves.labels])) == np.flatnonzero(LABELS).tolist()


def test_large_sets_are_capped_with_their_share_of_anomalies(monkeypatch):
    monkeypatch.setattr(protocol, "MAX_TRAINING_RECORDS", 30)
    monkeypatch.setattr(protocol, "MAX_TEST_RECORDS", 35)
    halves, whole = random_half(RECORDS, LABELS, 1), np.random.RandomState(1001)
    normal = np.flatnonzero(~LABELS)[whole.permutation(NORMAL)]
    anomalies = np.flatnonzero(LABELS)[whole.permutation(ANOMALIES)]
    assert positions(halves.training) == normal[:30].tolist()
    assert positions(halves.test) == [*normal[51:76], *anomalies[:10]]  # 20 of 70 are anomalies, so 10 of 35


def test_contamination_changes_the_training_half_alone():
    clean, little, more = (contaminated_half(RECORDS, LABELS, 0, left=left, untested=4) for left in (0, 1, 4))
    for other in (little, more):
        assert positions(other.test) == positions(clean.test)
        assert positions(other.training[:51]) == positions(clean.training)
    added = positions(more.training[51:])
    assert len(added) == 4
    assert LABELS[added].all()
    assert added[:1] == positions(little.training[51:])
    assert not set(added) & set(positions(more.test))
    assert clean.labels.sum() == ANOMALIES - 4


def test_a_full_training_half_gives_up_normal_records_for_the_anomalies(monkeypatch):
    monkeypatch.setattr(protocol, "MAX_TRAINING_RECORDS", 30)
    training = contaminated_half(RECORDS, LABELS, 0, left=3, untested=3).training
    assert LABELS[positions(training)].tolist() == [False] * 27 + [True] * 3


def test_without_contamination_it_is_the_random_half():
    one, other = random_half(RECORDS, LABELS, 0), contaminated_half(RECORDS, LABELS, 0, left=0, untested=0)
    assert positions(one.training) == positions(other.training)
    assert positions(one.test) == positions(other.test)


def test_the_inventory_shows_the_sizes_of_the_halves(data):
    pumps, valves = inventory(data)
    assert (pumps.name, pumps.training_records, pumps.test_records) == ("7_pumps", 51, 70)
    assert (valves.training_records, valves.test_records) == (20_000, 25_450)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("all", ["7_pumps", "8_valves"]),
        ("small", ["7_pumps"]),
        ("8_valves", ["8_valves"]),
        ("8_valves, 7_pumps", ["7_pumps", "8_valves"]),
    ],
)
def test_sets_are_chosen_by_group_or_name_in_the_order_of_the_inventory(data, wanted, names):
    assert [each.name for each in chosen_sets(data, wanted)] == names


def test_an_unknown_set_is_refused_with_the_known_ones(data):
    with pytest.raises(MissingDataError, match="7_pumps, 8_valves; got '9_fans'"):
        chosen_sets(data, "7_pumps,9_fans")


def test_records_are_float64_whatever_the_file_holds(data):
    records, labels = load_set(data, "7_pumps")
    assert records.dtype == np.float64
    assert (records == RECORDS).all()
    assert (labels == LABELS).all()


def test_what_is_missing_is_named(data, tmp_path):
    with pytest.raises(MissingDataError, match=r"8_valves\.npz: expected a set"):
        load_set(data, "8_valves")
    with pytest.raises(MissingDataError, match=r"inventory\.csv: expected the inventory"):
        inventory(tmp_path / "elsewhere")


def test_a_table_has_a_column_for_each_of_the_records():
    table = table_of(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert table.to_pydict() == {"x0": [1.0, 3.0, 5.0], "x1": [2.0, 4.0, 6.0]}
