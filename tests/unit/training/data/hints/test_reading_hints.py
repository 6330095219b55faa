from __future__ import annotations

import numpy as np
import pytest

from vaegis.service.files.record_files import open_records
from vaegis.training.config import TrainConfig
from vaegis.training.data.hints.reading_hints import reading_hints
from vaegis.training.data.sampling import profile_and_sample

pytestmark = pytest.mark.training


def hints_of(path):
    return list(reading_hints(profile_and_sample(open_records(path), TrainConfig(), np.random.default_rng(0))[0]))


def named(name, folder):
    path = folder / "x.csv"
    path.write_text(f'"{name}"\n1\n', encoding="utf-8")
    return path


def test_names_with_blanks_around_them_are_reported(csv_of):
    (hint,) = hints_of(csv_of(**{" x": ["1"]}))
    assert 'begin or end with a blank (" x")' in hint
    (hint,) = hints_of(csv_of("b.csv", **{"x\u200b": ["1"]}))
    assert r'("x\u200b")' in hint


def test_values_between_single_quotes_are_reported(csv_of):
    (hint,) = hints_of(csv_of(x=["'1.5'", "'2'", "'2'"]))
    assert 'data.quote = "\'" in train.toml' in hint
    assert not hints_of(csv_of(x=["'n/a'", "'n/a'", "2"]))


def test_a_first_line_of_values_is_reported_and_blank_lines_are(csv_of, tmp_path):
    path = tmp_path / "b.csv"
    path.write_text("1.5,a\n2,b\n,\n", encoding="utf-8")
    assert [hint[:20] for hint in hints_of(path)] == ["1 lines without any ", "Warning: the first l"]
    assert not hints_of(csv_of(x=["1"]))


@pytest.mark.parametrize("name", ["1.5", "11,632", "$10,517.55", "41.3%", "9,50 \u20ac", "2024-03-01 10:00"])
def test_a_name_that_is_a_value_is_reported(tmp_path, name):
    (hint,) = hints_of(named(name, tmp_path))
    assert "looks like a value" in hint


@pytest.mark.parametrize("name", ["2024", "25%", "2024-03-01", "p99.9", "1,2-diol", "amount (EUR)"])
def test_a_name_that_may_be_one_is_not_reported(tmp_path, name):
    assert not hints_of(named(name, tmp_path))
