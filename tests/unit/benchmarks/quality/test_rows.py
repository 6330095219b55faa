"""Rows on disk: what an interrupted run finds again, and what it must not."""

import pytest

from benchmarks.quality.measure import Case
from benchmarks.quality.rows import RowFile

pytestmark = pytest.mark.training


@pytest.fixture
def row(new_row):
    return new_row(Case("7_pumps", 1, left=2, untested=3), vaegis=0.9, kNN=0.8)


def test_a_row_is_read_as_it_was_written(tmp_path, row):
    rows = RowFile(tmp_path / "kept" / "rows.jsonl", "now")
    assert rows.read() == {}
    rows.append(row)
    assert rows.read() == {row.case: row}


def test_rows_of_other_code_are_left_alone(tmp_path, row):
    path = tmp_path / "rows.jsonl"
    RowFile(path, "before").append(row.model_copy(update={"key": "before"}))
    assert RowFile(path, "now").read() == {}
    RowFile(path, "now").append(row)
    assert list(RowFile(path, "before").read()) == [row.case]


def test_a_line_cut_short_costs_no_other_row(tmp_path, row):
    path = tmp_path / "rows.jsonl"
    other = row.model_copy(update={"case": Case("8_valves", 0)})
    rows = RowFile(path, "now")
    rows.append(row)
    path.write_text(path.read_text().rstrip()[:-20])
    rows.append(other)
    assert rows.read() == {other.case: other}
