from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from vaegis.service.contract import TimestampColumn
from vaegis.service.files.record_files import open_records
from vaegis.service.records.kinds import number_kind_of
from vaegis.training.config import ColumnSettings, TrainConfig
from vaegis.training.data.growth import settle_growing, time_column_hint
from vaegis.training.data.kinds import plan_columns
from vaegis.training.data.sampling import profile_and_sample
from vaegis.training.data.schema import build_schema
from vaegis.training.errors import ConfigError

pytestmark = pytest.mark.training

N = 400
RANDOM = np.random.default_rng(0)
STEPS = RANDOM.integers(1, 9, N)
AMOUNT = RANDOM.normal(50.0, 9.0, N).round(2)
DAYS = np.sort(RANDOM.integers(0, 40, N))
SECONDS = 1_709_536_000 + DAYS * 86_400 + RANDOM.integers(0, 43_200, N)
CALENDAR = np.array([int((datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=int(d))).strftime("%Y%m%d")) for d in DAYS])
WHEN = pa.array(np.sort(SECONDS) * 1_000_000).cast(pa.timestamp("us", "UTC"))


@pytest.fixture
def settled(tmp_path):
    """Plan the columns of a Parquet file, in the order given; an amount beside them keeps it learnable."""

    def settle(config=None, **columns):
        config = config or TrainConfig()
        path = tmp_path / "a.parquet"
        pyarrow.parquet.write_table(pa.table({**columns, "amount": AMOUNT}), path)
        profile, sample = profile_and_sample(open_records(path), config, np.random.default_rng(0))
        plans = settle_growing(plan_columns(profile, config), profile, sample, config)
        return {plan.name: plan for plan in plans}, sample

    return settle


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("parcel", np.cumsum(STEPS), "a counter"),
        ("parcel", np.cumsum(STEPS)[::-1], "a counter"),
        ("event_id", RANDOM.permutation(SECONDS << 22), "an identifier"),
        ("place", RANDOM.permutation(N), "a row number"),
        ("year", np.full(N, 2024), "a part of the date with one value"),
        ("year", np.repeat([2021, 2022, 2023, 2024], N // 4), "a year that follows"),
    ],
)
def test_numbers_that_only_count_are_set_aside_with_the_line_to_keep_them(settled, name, values, reason):
    plan = settled(**{name: values})[0][name]
    assert plan.kind is None
    assert plan.reason.startswith(reason)
    assert f'columns.{name}.kind = "numeric"' in plan.warnings[0]
    kept = settled(TrainConfig(columns={name: ColumnSettings(kind="numeric")}), **{name: values})[0][name]
    assert kept.kind == "numeric"


@pytest.mark.parametrize(
    "values",
    [
        AMOUNT * 100,
        RANDOM.integers(0, 9, N),
        RANDOM.integers(0, 10**9, N),
        np.sort(AMOUNT),
        np.repeat([3, 1, 2, 4], 100),
    ],
    ids=["whole", "few", "all-differ", "sorted-quantity", "blocks"],
)
def test_quantities_stay_numeric(settled, values):
    assert settled(quantity=values)[0]["quantity"].kind == "numeric"


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
def test_epochs_of_every_unit_are_times_by_their_name(settled, unit):
    plans, sample = settled(when=SECONDS * unit)
    assert plans["when"].kind == "timestamp"
    assert sample.numbers("when", "timestamp") == pytest.approx(SECONDS)


def test_epochs_are_times_by_their_order_and_size_but_not_without_order(settled):
    assert settled(x=np.sort(SECONDS))[0]["x"].kind == "timestamp"
    assert settled(x=RANDOM.permutation(SECONDS))[0]["x"].kind == "numeric"


def test_calendar_dates_are_read_alike_in_training_and_serving(settled):
    plans, sample = settled(x=CALENDAR)
    schema = build_schema(tuple(plans.values()), sample, np.arange(N), max_categories=9)
    column = schema.columns[0]
    assert isinstance(column, TimestampColumn)
    assert column.number_form == "yyyymmdd"
    kind = number_kind_of(column)
    expected = datetime(2024, 3, 18, tzinfo=UTC).timestamp()
    assert kind.parse(20240318) == kind.parse_text("20240318") == kind.parse("2024-03-18") == expected
    assert sample.numbers("x", "timestamp", number_form="yyyymmdd")[CALENDAR == 20240318].tolist().count(expected) > 0


def test_a_kind_that_is_set_to_timestamp_reads_calendar_dates(settled):
    config = TrainConfig(columns={"x": ColumnSettings(kind="timestamp")})
    assert settled(config, x=CALENDAR)[0]["x"].number_form == "yyyymmdd"
    assert settled(config, x=SECONDS)[0]["x"].number_form == "epoch"


def test_the_zone_is_that_of_the_arrow_type_unless_it_is_set(settled):
    berlin = WHEN.cast(pa.timestamp("us", "Europe/Berlin"))
    assert settled(when=WHEN)[0]["when"].zone == "UTC"
    assert settled(when=berlin)[0]["when"].zone == "Europe/Berlin"
    config = TrainConfig(columns={"when": ColumnSettings(timezone="Asia/Tokyo")})
    assert settled(config, when=berlin)[0]["when"].zone == "Asia/Tokyo"
    with pytest.raises(ConfigError, match="expected a timestamp"):
        settled(TrainConfig(columns={"amount": ColumnSettings(timezone="Asia/Tokyo")}))


def test_a_time_that_spans_less_than_a_week_is_warned_of(settled):
    assert not settled(when=WHEN)[0]["when"].warnings
    three_days = pa.array(np.linspace(0, 3 * 86_400_000_000, N).astype(np.int64)).cast(pa.timestamp("us", "UTC"))
    assert "span 3.0 days, so some weekdays were never seen" in settled(when=three_days)[0]["when"].warnings[0]


def test_what_moves_with_the_time_of_another_column_is_set_aside(settled):
    shuffled = RANDOM.permutation(N)
    month = np.repeat(np.arange(1, 9), N // 8)
    plans, _ = settled(when=WHEN.take(pa.array(shuffled)), month=month[shuffled])
    assert plans["month"].kind is None
    assert plans["month"].reason == "it only goes one way with the time in when"


def test_a_quantity_whose_newest_fifth_lies_outside_is_warned_of_with_its_share_and_the_time_column_is_named(settled):
    drifting = AMOUNT.copy()
    drifting[-N // 5 :] += np.where(np.arange(N // 5) % 2, 1000.0, 0.0)
    plans, _ = settled(when=WHEN, level=drifting)
    assert plans["level"].kind == "numeric"
    assert "50% of the newest fifth, by the time in when, lie outside" in plans["level"].warnings[0]
    assert 'columns.level.kind = "ignore"' in plans["level"].warnings[0]
    assert not plans["amount"].warnings
    assert time_column_hint(tuple(plans.values()), TrainConfig()) is not None
    assert time_column_hint(tuple(p for p in plans.values() if p.name != "level"), TrainConfig()) is None
