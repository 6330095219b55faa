from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

from vaegis.service.files.record_files import open_records
from vaegis.training.config import ColumnSettings, TrainConfig
from vaegis.training.data.kinds import plan_columns
from vaegis.training.data.sampling import profile_and_sample

pytestmark = pytest.mark.training

BERLIN = ["2024-01-15T08:00:00+01:00", "2024-07-15T08:00:00+02:00"]


def plan_of(path, zone=None):
    config = TrainConfig(columns={} if zone is None else {"at": ColumnSettings(timezone=zone)})
    profile, sample = profile_and_sample(open_records(path), config, np.random.default_rng(0))
    return plan_columns(profile, config, sample.first)[0]


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2024-03-18T10:12:00+01:00[Europe/Berlin]", "Europe/Berlin"),
        ("2024-03-18T10:12:00+01:00[No/Where]", "+01:00"),
        ("2024-03-18 10:12:00 -0330", "-03:30"),
        ("20240318T101200+0530", "+05:30"),
        ("2024-03-18 10:12:00 PST", "-08:00"),
        ("18/Mar/2024:10:12:00 +0100", "+01:00"),
        ("18.03.2024 10:12 +0100", "+01:00"),
        ("2024-03-18T10:12:00Z", "UTC"),
        ("2024-03-18T10:12:00-00:00", "UTC"),
        ("2024-03-18 10:12", "UTC"),
        ("2024-03-18", "UTC"),
    ],
)
def test_hours_are_those_of_the_zone_that_all_texts_name(csv_of, text, zone):
    plan = plan_of(csv_of(at=[text] * 30))
    assert plan.kind == "timestamp"
    assert plan.zone == zone


@pytest.mark.parametrize(
    ("texts", "example"),
    [
        (BERLIN[:1], r'the offset \+01:00 alone, .* columns.at.timezone = "Europe/Berlin"'),
        (BERLIN, r'several time zones \(\+01:00, \+02:00\)\. .* columns.at.timezone = "Europe/Berlin"'),
        (["2024-01-15T08:00:00Z", "2024-07-15T08:00:00+01:00"], r'\(\+01:00, UTC\)\. .* = "Europe/London"'),
        (["2024-01-15T08:00:00Z", "2024-07-15 08:00:00"], "the time zone UTC, or none, which is read as UTC"),
        (["2024-01-15T08:00:00-05:00"], 'columns.at.timezone = "America/New_York"'),
    ],
)
def test_texts_that_name_offsets_get_the_line_that_sets_the_zone_of_a_place(csv_of, texts, example):
    (warning,) = plan_of(csv_of(at=texts * 30)).warnings
    assert re.search(example, warning)


@pytest.mark.parametrize("text", ["2024-03-18T10:12:00Z", "2024-03-18 10:12", "2024-03-18T10:12:00+05:30"])
def test_texts_in_utc_without_a_zone_or_where_no_clock_changes_get_no_warning(csv_of, text):
    assert not plan_of(csv_of(at=[text] * 30)).warnings


def test_a_zone_that_is_set_for_values_without_one_is_warned_of(csv_of, parquet_of):
    naive = csv_of(at=["2024-03-18 08:00:00"] * 30)
    (warning,) = plan_of(naive, "Europe/Berlin").warnings
    assert 'read as UTC, so columns.at.timezone = "Europe/Berlin" moves their hours' in warning
    assert not plan_of(naive, "UTC").warnings
    assert not plan_of(csv_of("b.csv", at=BERLIN * 30), "Europe/Berlin").warnings
    typed = pa.array([1_710_000_000] * 30, pa.timestamp("s"))
    assert "moves their hours" in plan_of(parquet_of(at=typed), "Europe/Berlin").warnings[0]
    assert not plan_of(parquet_of(at=typed.cast(pa.timestamp("s", "UTC"))), "Europe/Berlin").warnings


def test_a_name_of_a_zone_may_hold_digits(csv_of):
    assert plan_of(csv_of(at=["2024-03-18T10:12:00+01:00[Etc/GMT-1]"] * 30)).zone == "Etc/GMT-1"
