"""Checks of single values: their limits by the tail of what was seen, and how often normal records break them."""

import numpy as np
import pytest

from vaegis.service.columns import Columns
from vaegis.service.contract import CategoricalColumn, NumericColumn, Schema, ViolationCode
from vaegis.service.violations import ViolationChecks
from vaegis.training.checks import MOST_VIOLATING, with_checks
from vaegis.training.config import SplitSettings
from vaegis.training.data.schema import grid_step, known_values
from vaegis.training.data.splits import split_at_random
from vaegis.training.data.text_form import text_column

N = 2000
LOW, HIGH, GRID = ViolationCode.BELOW_RANGE, ViolationCode.ABOVE_RANGE, ViolationCode.OFF_GRID


def numeric(name: str, values: np.ndarray) -> NumericColumn:
    held = values[~np.isnan(values)]
    return NumericColumn(
        name=name,
        missing_share=float(np.isnan(values).mean()),
        minimum=float(held.min()),
        maximum=float(held.max()),
        quantiles=tuple(np.quantile(held, (0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995)).tolist()),
        step=grid_step(held),
        values=known_values(held),
        noise_scale=1.0,
        degrees_of_freedom=4.0,
    )


def checked(*values: np.ndarray, strings: np.ndarray | None = None, records: int = N):
    columns = [numeric(f"x{at}", each) for at, each in enumerate(values)]
    texts = np.empty((records, 0), dtype=object) if strings is None else strings[:, None]
    if strings is not None:
        kinds, counts = np.unique(strings.astype(str), return_counts=True)
        columns.append(
            CategoricalColumn(
                name="s", missing_share=0.0, categories=tuple(kinds.tolist()), shares=tuple((counts / records).tolist())
            )
        )
    splits = split_at_random(records, SplitSettings(), np.random.default_rng(0), most_calibrating=records)
    batch = Columns(
        np.column_stack(values) if values else np.empty((records, 0)), texts, np.ones(texts.shape, dtype=np.bool_)
    )
    return with_checks(Schema(columns=tuple(columns)), batch, splits)


def test_the_form_and_the_length_of_texts_are_checked():
    numbers = np.random.default_rng(1).permutation(90_000)[:N].tolist()
    texts = np.array([f"K-{number:05}" for number in numbers], dtype=object)
    splits = split_at_random(len(texts), SplitSettings(), np.random.default_rng(0), most_calibrating=N)
    batch = Columns(np.empty((len(texts), 0)), texts[:, None], np.ones((len(texts), 1), dtype=np.bool_))
    column = text_column("key", texts[splits.fitted_records].tolist(), 0.0, grows=False, most_patterns=256)
    schema, dropped = with_checks(Schema(columns=(column,)), batch, splits)
    assert (schema.violating_share, dropped) == (0.0, ())
    odd = Columns(np.empty((4, 0)), np.array([["K-12345"], ["K12345-"], ["K-1"], [""]], object), np.ones((4, 1), bool))
    found = [[each.code for each in of_record] for of_record in ViolationChecks(schema).violations(odd)]
    length = [ViolationCode.UNUSUAL_LENGTH]
    assert found == [[], [ViolationCode.UNUSUAL_FORM], length, length]


def limits(column) -> dict[ViolationCode, float | None]:
    return {check.code: check.limit for check in column.checks}


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.normal(100.0, 10.0, n),
        lambda rng, n: rng.normal(0.0, 1.0, n),
        lambda rng, n: rng.exponential(1.0, n),
        lambda rng, n: rng.lognormal(3.0, 1.0, n),
        lambda rng, n: rng.uniform(0.0, 1.0, n),
        lambda rng, n: rng.standard_t(4, n),
        lambda rng, n: rng.poisson(3.0, n).astype(float),
    ],
    ids=["normal far from 0", "normal", "exponential", "lognormal", "uniform", "Student-t", "counts"],
)
@pytest.mark.parametrize("records", [200, N])
def test_new_normal_values_seldom_break_a_range(draw, records):
    rng = np.random.default_rng(7)
    fresh = draw(rng, 200_000)
    broken = []
    for _ in range(10):
        schema, _ = checked(draw(rng, records), records=records)
        found = limits(schema.columns[0])
        broken.append(float(((fresh < found[LOW]) | (fresh > found[HIGH])).mean()))
    assert np.mean(broken) <= MOST_VIOLATING


def test_a_column_without_negative_numbers_has_no_limit_below_zero():
    rng = np.random.default_rng(1)
    prices, counts = rng.lognormal(3.0, 0.5, N), rng.poisson(1.0, N).astype(float)
    schema, _ = checked(prices, counts)
    assert limits(schema.columns[0])[LOW] > 0
    assert limits(schema.columns[1])[LOW] == 0


def test_a_bounded_column_gets_no_margin():
    months = np.random.default_rng(2).integers(1, 13, N).astype(float)
    (month,) = checked(months)[0].columns
    assert limits(month) == {LOW: 1.0, HIGH: 12.0, GRID: 1.0, ViolationCode.UNEXPECTED_MISSING: None}


def test_limits_of_short_tails_lie_near_what_was_seen():
    rng = np.random.default_rng(11)
    quantities = rng.choice([1.0, 2.0, 3.0, 4.0, 5.0], 300, p=[0.8, 0.12, 0.05, 0.02, 0.01])
    prices = np.minimum(rng.lognormal(3.0, 1.2, 300), 899.0)
    quantity, price = checked(quantities, prices, records=300)[0].columns
    assert limits(quantity)[HIGH] < 20
    assert limits(price)[HIGH] < 5_000


def test_zero_passes_where_it_is_the_next_number():
    adults = np.random.default_rng(12).choice([1.0, 2.0, 3.0], N, p=[0.2, 0.75, 0.05])
    assert limits(checked(adults)[0].columns[0])[LOW] == 0
    assert limits(checked(adults + 10.0)[0].columns[0])[LOW] > 0


def test_one_gross_value_in_the_history_does_not_stretch_the_range():
    values = np.random.default_rng(3).normal(50.0, 5.0, N)
    values[17] = 1e9
    (column,) = checked(values)[0].columns
    assert limits(column)[HIGH] < 1_000


def test_values_far_out_that_come_more_than_once_are_no_errors():
    values = np.random.default_rng(3).normal(150.0, 20.0, N)
    values[::300] = 650.0  # flights across an ocean among others
    (column,) = checked(values)[0].columns
    assert limits(column)[HIGH] >= 650.0


def test_a_list_to_which_values_are_still_added_is_not_checked():
    rng = np.random.default_rng(4)
    closed = rng.choice(["a", "b", "c"], N).astype(object)
    open_ended = np.array([f"city {at}" for at in rng.zipf(1.5, N)], dtype=object)
    assert ViolationCode.UNSEEN_CATEGORY in limits(checked(strings=closed)[0].columns[0])
    assert ViolationCode.UNSEEN_CATEGORY not in limits(checked(strings=open_ended)[0].columns[0])


def test_the_lists_that_count_as_complete_seldom_get_a_new_value_all_together():
    rng = np.random.default_rng(10)
    texts = rng.choice(["a", "b", "c"], (N, 30)).astype(object)
    texts[rng.integers(0, N, 30), np.arange(30)] = "once"
    columns = []
    for at in range(30):
        kinds, counts = np.unique(texts[:, at].astype(str), return_counts=True)
        shares = tuple((counts / N).tolist())
        columns.append(
            CategoricalColumn(name=f"s{at}", missing_share=0.0, categories=tuple(kinds.tolist()), shares=shares)
        )
    splits = split_at_random(N, SplitSettings(), np.random.default_rng(0), most_calibrating=N)
    batch = Columns(np.empty((N, 0)), texts, np.ones(texts.shape, dtype=np.bool_))
    schema, _ = with_checks(Schema(columns=tuple(columns)), batch, splits)
    complete = [column for column in schema.columns if ViolationCode.UNSEEN_CATEGORY in limits(column)]
    fitted = texts[splits.fitted_records]
    once = sum(np.count_nonzero(fitted[:, int(column.name[1:])] == "once") for column in complete)
    assert 0 < once < 30
    assert once / 3 <= max(1.0, MOST_VIOLATING / 2 * len(fitted))


def test_a_check_that_many_normal_records_break_is_widened_or_dropped_and_said():
    values = np.random.default_rng(5).normal(0.0, 1.0, N)
    splits = split_at_random(N, SplitSettings(), np.random.default_rng(0), most_calibrating=N)
    # The held-out records alone lie elsewhere.
    values[splits.calibration[0]] += 1_000.0
    schema, dropped = checked(values)
    assert [(check.column, check.code) for check in dropped] == [("x0", HIGH)]
    assert dropped[0].share > 0.9
    assert HIGH not in limits(schema.columns[0])
    assert schema.violating_share <= MOST_VIOLATING


def test_the_sign_is_checked_where_normal_records_break_the_limit_above_zero():
    values = np.random.default_rng(13).uniform(1_000.0, 2_000.0, N)
    splits = split_at_random(N, SplitSettings(), np.random.default_rng(0), most_calibrating=N)
    values[splits.calibration[0]] = 0.5
    schema, dropped = checked(values)
    assert limits(schema.columns[0])[LOW] == 0
    assert (dropped, schema.violating_share) == ((), 0.0)


def test_the_stored_share_is_that_of_records_held_out():
    rng = np.random.default_rng(6)
    values = rng.normal(0.0, 1.0, N)
    splits = split_at_random(N, SplitSettings(), np.random.default_rng(0), most_calibrating=N)
    values[splits.calibration[0][0]] = 1e6  # one record that is held out
    schema, _ = checked(values)
    assert schema.violating_share == pytest.approx(1 / splits.calibration_records)
    assert schema.columns[0].violating_share == schema.violating_share
    batch = Columns(np.array([[1e6]]), np.empty((1, 0), dtype=object), np.empty((1, 0), dtype=np.bool_))
    assert [each.code for each in ViolationChecks(schema).violations(batch)[0]] == [HIGH]


def test_new_values_of_an_open_list_are_checked_by_their_form_and_for_misspellings():
    rng = np.random.default_rng(8)
    names = ["".join(rng.choice(list("abcdefghijklmnop"), 9)) for _ in range(4000)]
    common = [f"agent_{name}" for name in names[:40]]
    rare = [f"agent_{name}" for name in names[40:]]
    texts = np.array([common[at % 40] if at % 20 else rare[at] for at in range(N)], dtype=object)
    schema, _ = checked(strings=rng.permutation(texts))
    (column,) = schema.columns
    assert {check.code for check in column.checks} == {
        ViolationCode.MISSPELLED_CATEGORY,
        ViolationCode.UNUSUAL_FORM,
        ViolationCode.UNUSUAL_LENGTH,
        ViolationCode.UNEXPECTED_MISSING,
    }
    typo = common[3][:-1] + "#"
    values = [common[0], rare[-1], typo, common[3].upper(), "zzz-new", "agent_"]
    odd = Columns(np.empty((6, 0)), np.array([values], object).T, np.ones((6, 1), bool))
    found = [[(each.code.value, each.limit) for each in of_one] for of_one in ViolationChecks(schema).violations(odd)]
    meant = [("misspelled_category", common[3])]
    assert found == [[], [], meant, meant, [("unusual_length", None)], [("unusual_length", None)]]


def test_lists_of_codes_that_differ_in_one_character_are_not_checked_for_misspellings():
    rng = np.random.default_rng(9)
    codes = np.array([f"{at:04}" for at in rng.zipf(1.3, N) % 10_000], dtype=object)
    codes_of = {check.code for check in checked(strings=codes)[0].columns[0].checks}
    assert codes_of.isdisjoint({ViolationCode.UNSEEN_CATEGORY, ViolationCode.MISSPELLED_CATEGORY})
    assert ViolationCode.UNUSUAL_FORM in codes_of


def test_numbers_off_a_coarse_grid_are_violations_and_new_numbers_on_it_are_not():
    rng = np.random.default_rng(3)
    fives, quarters = 5.0 * rng.poisson(20.0, N), 0.25 * rng.poisson(40.0, N)
    two_values = rng.choice([0.0, 50.0], N)
    schema, dropped = checked(fives, quarters, two_values)
    assert [limits(column)[GRID] for column in schema.columns] == [5.0, 0.25, 1.0]
    assert (schema.violating_share, dropped) == (0.0, ())
    few, _ = checked(fives[:200], records=200)
    assert limits(few.columns[0])[GRID] == 1.0


def test_the_step_of_amounts_that_people_round_may_become_finer():
    rng = np.random.default_rng(14)
    rounded = rng.choice([1_000.0, 100.0], N, p=[0.9, 0.1]) * rng.integers(1, 30, N)
    # Four significant digits: the smallest values have more decimal places than all others.
    digits = np.array([float(f"{each:.3e}") for each in rng.lognormal(-2.9, 0.9, 300)])
    assert limits(checked(rounded)[0].columns[0])[GRID] == 1.0
    (column,) = checked(digits, records=300)[0].columns
    assert limits(column)[GRID] == column.step / 10.0


def test_a_number_between_the_few_that_come_often_is_a_violation():
    rng = np.random.default_rng(4)
    packs, counts = rng.choice([10.0, 20.0, 50.0], N), rng.poisson(2.0, N).astype(float)
    prices, rare = rng.choice([0.1, 0.25, 4.99], N), np.where(np.arange(N) % 500, packs, 30.0)
    schema, dropped = checked(packs, counts, prices, rare)
    assert (schema.violating_share, dropped) == (0.0, ())
    known = (20.0, 2.0, 0.25, 30.0)
    rows = [known, (15.0, *known[1:]), (20.0, 2.0, float(np.float32(0.1)), 30.0), (20.0, 2.0, 1.0, 40.0)]
    batch = Columns(np.array(rows), np.empty((4, 0), dtype=object), np.empty((4, 0), dtype=np.bool_))
    for found in (
        ViolationChecks(schema).violations(batch),
        [ViolationChecks(schema).violations(batch.rows(slice(at, at + 1)))[0] for at in range(4)],
    ):
        broken = [[(each.column, each.code.value, each.observed) for each in of_row] for of_row in found]
        unseen = ViolationCode.UNSEEN_CATEGORY.value
        assert broken == [[], [("x0", unseen, 15)], [], [("x2", unseen, 1.0)]]
