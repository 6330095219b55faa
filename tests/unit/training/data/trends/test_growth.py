from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema, TimestampColumn
from vaegis.service.files.record_files import open_records
from vaegis.service.records.kinds import number_kind_of
from vaegis.service.violations import ViolationChecks
from vaegis.training.checks import with_checks
from vaegis.training.config import ColumnSettings, DataSettings, SplitSettings, TrainConfig
from vaegis.training.data.kinds import plan_columns
from vaegis.training.data.placeholders import with_placeholders
from vaegis.training.data.sampling import profile_and_sample
from vaegis.training.data.schema import build_schema, columns_of
from vaegis.training.data.splits import split_at_random
from vaegis.training.data.trends.growth import settle_growing, time_column_hint
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
        ("customer_no", RANDOM.permutation(AMOUNT.size * 7)[:N] + 10_000, "an identifier"),
        ("phone", RANDOM.choice(10**9, N, replace=False), "an identifier"),
        ("billed", np.repeat([*range(202_301, 202_313), *range(202_401, 202_409)], N // 20), "months as in 202301"),
        ("month", np.full(N, 202_401), "months as in 202401"),
        ("week", np.repeat([202_252, 202_253, 202_301, 202_302], N // 4), "weeks as in 202252"),
        ("KW", np.repeat([202_252, 202_253, 202_301, 202_302], N // 4), "weeks as in 202252"),
        ("year", np.full(N, 2024), "a part of the date with one value"),
        ("year", np.repeat([2021, 2022, 2023, 2024], N // 4), "a year that follows"),
    ],
)
def test_numbers_that_only_count_are_not_scored_unless_their_kind_is_set(settled, name, values, reason):
    plan = settled(**{name: values})[0][name]
    assert (plan.kind, plan.watched) == (None, "numeric")
    assert plan.reason.startswith(reason)
    assert not plan.warnings
    kept = settled(TrainConfig(columns={name: ColumnSettings(kind="numeric")}), **{name: values})[0][name]
    assert kept.kind == "numeric"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Unnamed: 0", RANDOM.permutation(3 * N)[:N]),
        ("__index_level_0__", RANDOM.integers(0, 90, N)),
        ("", np.arange(N)),
        ("index", np.arange(N) % 100),
        ("rownames", RANDOM.permutation(3 * N)[:N] + 1),
    ],
)
def test_the_index_of_a_data_frame_is_neither_scored_nor_checked(settled, name, values):
    plan = settled(**{name: values})[0][name]
    assert (plan.kind, plan.watched) == (None, None)
    kept = TrainConfig(columns={name: ColumnSettings(kind="numeric")})
    assert settled(kept, **{name: values})[0][name].kind == "numeric"


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


def test_kilowatts_that_never_change_are_no_week(settled):
    assert settled(rated_kw=np.full(N, 11))[0]["rated_kw"].kind == "numeric"


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
def test_epochs_of_every_unit_are_times_by_their_name(settled, unit):
    plans, sample = settled(when=SECONDS * unit)
    assert plans["when"].kind == "timestamp"
    assert sample.numbers("when", "timestamp") == pytest.approx(SECONDS)


def test_a_lone_negative_number_that_repeats_is_named_with_the_setting(settled):
    counts = np.where(np.arange(N) % 10, RANDOM.integers(100, 900, N), -1)
    plans, sample = settled(pieces=counts)
    (plan,) = with_placeholders((plans["pieces"],), sample)
    assert (
        'no other number is negative: if it stands for no value, set columns.pieces.null_values = ["-1"]'
        in (plan.warnings[-1])
    )


def test_a_placeholder_among_times_is_named_with_its_time_so_that_the_setting_finds_it(settled):
    last = "9999-12-31T23:59:59+00:00"
    texts = [last if at % 9 == 0 else f"2024-03-0{at % 8 + 1} {at % 24:02}:00" for at in range(N)]
    plans, sample = settled(until=texts)
    (plan,) = with_placeholders((plans["until"],), sample)
    assert f'columns.until.null_values = ["{last}"]' in plan.warnings[-1]
    config = TrainConfig(columns={"until": ColumnSettings(null_values=[last])})
    plans, sample = settled(config, until=texts)
    assert np.isnan(sample.numbers("until", "timestamp", plans["until"].reading)).sum() == N // 9 + 1


def test_bytes_of_the_size_of_epochs_are_no_times(settled):
    assert settled(bytes_received=RANDOM.permutation(SECONDS))[0]["bytes_received"].kind == "numeric"


def test_epochs_of_mixed_units_are_times_by_their_name(settled):
    plans, sample = settled(last_seen=np.where(np.arange(N) % 2, SECONDS, SECONDS * 1_000))
    assert plans["last_seen"].kind == "timestamp"
    assert sample.numbers("last_seen", "timestamp").tolist() == SECONDS.tolist()


def test_few_calendar_dates_are_times_by_their_name(settled):
    few = 20240304 + np.arange(N) % 3
    assert settled(valuta=few)[0]["valuta"].kind == "timestamp"
    assert settled(x=few)[0]["x"].kind == "numeric"


@pytest.mark.parametrize("none", [0, 99_999_999])
def test_a_calendar_date_that_stands_for_none_is_read_as_null_and_reported(settled, none):
    plans, sample = settled(due=np.where(np.arange(N) % 4, CALENDAR, none))
    plan = plans["due"]
    assert (plan.kind, plan.number_form, plan.reading.null_values) == ("timestamp", "yyyymmdd", (str(none),))
    assert plan.warnings[0] == f"{none}, in 25.0%, are read as no date"
    assert np.isnan(sample.numbers("due", plan.kind, plan.reading, plan.number_form)).mean() == 0.25


def test_epochs_are_times_by_their_order_and_size_but_not_without_order(settled):
    assert settled(x=np.sort(SECONDS))[0]["x"].kind == "timestamp"
    assert settled(x=RANDOM.permutation(SECONDS))[0]["x"].kind == "numeric"


@pytest.mark.parametrize("none", [0, -1])
def test_an_epoch_that_stands_for_no_time_is_read_as_null_and_reported(settled, none):
    plans, sample = settled(created_at=np.where(np.arange(N) % 10, SECONDS, none))
    plan = plans["created_at"]
    assert (plan.kind, plan.reading.null_values) == ("timestamp", (str(none),))
    assert plan.warnings[0] == f"{none}, in 10.0%, are read as no time"
    assert np.isnan(sample.numbers("created_at", plan.kind, plan.reading)).mean() == 0.1


def test_epochs_with_fractions_are_times_by_their_order_and_those_without_order_get_advice(settled):
    assert settled(x=np.sort(SECONDS) + 0.25)[0]["x"].kind == "timestamp"
    warning = settled(x=RANDOM.permutation(SECONDS))[0]["x"].warnings[0]
    assert warning.startswith("looks like seconds since 1970, from 2024-03-04 on, but is learned as a quantity")
    assert warning.endswith('columns.x.kind = "timestamp" in train.toml')
    assert not settled(bytes_received=RANDOM.permutation(SECONDS))[0]["bytes_received"].warnings


def test_a_counter_in_the_size_of_nanoseconds_may_be_set_as_a_time(settled):
    plan = settled(step=np.sort(SECONDS) * 10**9 + np.arange(N))[0]["step"]
    assert (plan.kind, plan.watched) == (None, "numeric")
    assert 'nanoseconds since 1970, set columns.step.kind = "timestamp"' in plan.warnings[0]


def test_an_identifier_that_repeats_and_follows_the_order_is_not_scored(settled):
    plans, _ = settled(order_id=5_000 - np.arange(N) // 3, boxes=np.arange(N) // 3)
    assert (plans["order_id"].kind, plans["boxes"].kind) == (None, "numeric")
    assert "it follows the order of the records" in plans["order_id"].reason
    assert plans["boxes"].warnings[0].startswith("its values follow the order of the records")


def test_calendar_dates_are_read_alike_in_training_and_serving(settled):
    plans, sample = settled(x=CALENDAR)
    schema = build_schema(tuple(plans.values()), sample, np.arange(N), max_categories=9)
    column = schema.columns[0]
    assert isinstance(column, TimestampColumn)
    assert column.number_form == "yyyymmdd"
    kind = number_kind_of(column)
    expected = datetime(2024, 3, 18, tzinfo=UTC).timestamp()
    assert kind.parse(20240318) == kind.parse("20240318") == kind.parse("2024-03-18") == expected
    assert sample.numbers("x", "timestamp", number_form="yyyymmdd")[CALENDAR == 20240318].tolist().count(expected) > 0


@pytest.mark.parametrize(
    ("form", "reason"), [("%Y%m%d%H%M", "times as in 202403181012"), ("%Y%m%d%H%M%S", "20240318101200")]
)
def test_digits_of_a_date_and_time_are_times(settled, form, reason):
    digits = np.array([int(datetime.fromtimestamp(second, UTC).strftime(form)) for second in SECONDS.tolist()])
    plans, sample = settled(digits=RANDOM.permutation(digits))
    plan = plans["digits"]
    assert (plan.kind, reason in plan.reason) == ("timestamp", True)
    assert abs(sample.numbers("digits", "timestamp", plan.reading).max() - SECONDS.max()) < 60


def test_whole_numbers_beyond_the_exact_ones_are_warned_of(settled):
    plans, _ = settled(customer=2**60 + 512 * RANDOM.integers(0, 40, N))
    assert 'columns.customer.kind = "ignore"' in plans["customer"].warnings[0]
    assert plans["customer"].kind == "numeric"


def test_days_as_excel_counts_them_are_warned_of(settled):
    for when in (45_352.0 + DAYS, [f"{45_352 + day},25" for day in DAYS]):
        plan = settled(when=when)[0]["when"]
        warning = next(warning for warning in plan.warnings if "Excel" in warning)
        assert "2024-03-0" in warning


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
    warning = settled(when=three_days)[0]["when"].warnings[0]
    assert "span 3.0 days, so some weekdays were never seen" in warning
    assert warning.endswith('columns.when.kind = "ignore" in train.toml')


def test_what_moves_with_the_time_of_another_column_is_not_scored(settled):
    shuffled = RANDOM.permutation(N)
    month = np.repeat(np.arange(1, 9), N // 8)
    plans, _ = settled(when=WHEN.take(pa.array(shuffled)), month=month[shuffled])
    assert plans["month"].kind is None
    assert plans["month"].reason == "it only goes one way with the time in when"


def test_a_few_extremes_among_the_newest_are_no_change(settled):
    newest = np.where(np.arange(N) < N - 6, AMOUNT, AMOUNT.max() + np.arange(N))
    assert not settled(when=WHEN, x=newest)[0]["x"].warnings
    newest[N - 7] = -1e6
    assert "9% of the newest fifth" in settled(when=WHEN, x=newest)[0]["x"].warnings[0]


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
    otherwise_warned = replace(plans["amount"], warnings=("looks like numbers with the unit kg",))
    assert time_column_hint((plans["when"], otherwise_warned), TrainConfig()) is None


def test_what_grows_is_checked_and_may_go_on(settled):
    """The history is the first of two years; the other is the next period."""
    years = [(1_672_531_200, 1_704_067_200), (1_704_067_200, 1_735_689_600)]
    seconds = np.concatenate([np.sort(RANDOM.integers(*year, N)) for year in years])
    times = [datetime.fromtimestamp(each, UTC) for each in seconds.tolist()]
    columns = {
        "order_no": 1_000_000.0 + np.cumsum(RANDOM.integers(1, 9, 2 * N)),
        "year": np.array([time.year for time in times], dtype=np.float64),
        "month": np.array([time.month for time in times], dtype=np.float64),
        "meter": 1e4 + np.cumsum(RANDOM.uniform(0.1, 2.0, 2 * N)),
    }
    at = pa.array(seconds[:N] * 1_000_000).cast(pa.timestamp("us", "UTC"))
    plans, sample = settled(at=at, **{name: values[:N] for name, values in columns.items()})
    splits = split_at_random(N, SplitSettings(), RANDOM, most_calibrating=N)
    schema = build_schema(tuple(plans.values()), sample, splits.fitted_records, max_categories=256)
    schema, dropped = with_checks(schema, columns_of(sample, schema.of_records), splits)
    assert {column.name for column in schema.watched} == columns.keys()
    assert not dropped
    checks = ViolationChecks(Schema.model_construct(columns=schema.watched))
    names = [column.name for column in schema.watched]

    def violated(numbers):
        text = np.empty((len(numbers), 0), dtype=object)
        found = checks.violations(Columns(np.array(numbers), text, np.empty(text.shape, dtype=np.bool_)))
        return [[(violation.column, violation.code.value) for violation in of_record] for of_record in found]

    following = np.column_stack([columns[name][N:] for name in names])
    assert not any(violated(following))
    for name, value, code in [
        ("order_no", -5.0, "below_range"),
        ("order_no", 1_000_000.5, "off_grid"),
        ("order_no", 9e9, "above_range"),
        ("year", 1970.0, "below_range"),
        ("month", 13.0, "above_range"),
        ("meter", -1.0, "below_range"),
        ("meter", np.nan, "unexpected_missing"),
    ]:
        record = following[:1].copy()
        record[0, names.index(name)] = value
        assert violated(record) == [[(name, code)]], name


def test_a_marker_of_nulls_is_one_in_columns_that_are_checked_alone(settled):
    config = TrainConfig(data=DataSettings(null_values=["none"]), splits=SplitSettings(group_column="shop"))
    marked = [None if at % 9 else "none" for at in range(N)]
    columns = {
        "parcel": [marked[at] if at % 3 == 0 else str(value) for at, value in enumerate(np.cumsum(STEPS).tolist())],
        "shop": [f"S-{at % 20:02}" for at in range(N)],
    }
    plans, sample = settled(config, **columns)
    schema = build_schema(tuple(plans.values()), sample, np.arange(N), max_categories=256)
    assert {column.name: column.kind for column in schema.watched} == {"parcel": "numeric", "shop": "text"}
    assert all(column.reading.null_values == ("none",) for column in schema.watched)


EANS = np.sort(RANDOM.choice(9 * 10**9, N, replace=False))[RANDOM.permutation(N)] + 4 * 10**12


@pytest.mark.parametrize(
    ("name", "values", "limits"),
    [
        ("ean", EANS, (1e12, 1e13 - 1.0)),
        ("ean", np.sort(EANS), (0.0, None)),
        ("ean", np.where(np.arange(N) < 9, EANS // 100_000, EANS), (0.0, None)),
        ("customer_no", RANDOM.permutation(N * 7)[:N] + 90_000_000, (0.0, None)),
    ],
    ids=["of 13 digits", "in order", "of 8 and 13 digits", "not far apart"],
)
def test_codes_that_are_far_apart_keep_their_number_of_digits(settled, name, values, limits):
    plan = settled(**{name: values})[0][name]
    assert (plan.watched, plan.limits) == ("numeric", limits)
