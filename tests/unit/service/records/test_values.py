from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.records import values


@pytest.mark.parametrize(
    ("value", "expected"), [(3, 3.0), (-0.5, -0.5), (2**60 + 1, float(2**60)), ("3", 3.0), (" 1e3", 1000.0)]
)
def test_a_number_is_an_integer_a_float_or_text_that_writes_one(value, expected):
    assert values.number(value) == expected


@pytest.mark.parametrize(
    ("value", "code", "got"),
    [
        (True, "wrong_type", "a boolean"),
        ("three", "wrong_type", "text"),
        ("1e400", "too_large", "beyond its range"),
        ([3], "wrong_type", "a list"),
        ({"a": 3}, "wrong_type", "an object"),
        (math.nan, "not_finite", "NaN"),
        (math.inf, "too_large", "beyond its range"),
        (10**400, "too_large", "beyond its range"),
    ],
)
def test_what_is_no_finite_number_is_refused(value, code, got):
    with pytest.raises(values.RefusedValueError, match=got) as caught:
        values.number(value)
    assert caught.value.code == code


@pytest.mark.parametrize(("value", "expected"), [(True, 1.0), (False, 0.0), (1, 1.0), (0.0, 0.0), ("true", 1.0)])
def test_a_truth_value_is_a_boolean_or_zero_or_one_or_text_that_writes_one(value, expected):
    assert values.truth(value) == expected


@pytest.mark.parametrize("value", [2, -1, 0.5, math.nan, "maybe", [], 10**30])
def test_no_other_truth_value_is_taken(value):
    with pytest.raises(values.RefusedValueError, match="expected true, false, yes, no, 1 or 0") as caught:
        values.truth(value)
    assert caught.value.code == "wrong_type"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("DE", "DE"), ("", ""), ("a\0b", "a\0b"), (5, "5"), (-(2**70), str(-(2**70))), (True, "true"), (False, "false")],
)
def test_a_category_is_text_an_integer_or_a_boolean(value, expected):
    assert values.category(value) == expected


@pytest.mark.parametrize(("value", "code"), [(1.5, "wrong_type"), ([], "wrong_type"), ("\ud800", "invalid_text")])
def test_no_other_category_is_taken(value, code):
    with pytest.raises(values.RefusedValueError) as caught:
        values.category(value)
    assert caught.value.code == code


def test_an_integer_too_long_to_print_is_no_category():
    with pytest.raises(values.RefusedValueError, match="at most 4300 digits") as caught:
        values.category(10**5000)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-02T10:00:00Z",
        "2026-03-02T10:00:00",
        "2026-03-02 12:00:00+02:00",
        "20260302T100000Z",
        1772445600,
        1772445600.0,
        1772445600_000,
        1772445600_000_000,
        1772445600_000_000_000,
        "1772445600",
        " 2026-03-02T10:00:00Z ",
    ],
)
def test_an_instant_has_many_forms(value):
    assert values.instant(value) == datetime(2026, 3, 2, 10, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("yesterday", "invalid_timestamp"),
        ("2026-02-30", "invalid_timestamp"),
        ("10:00:00", "invalid_timestamp"),
        ("1e400", "too_large"),
        ("0001-01-01T00:00:00+05:00", "invalid_timestamp"),
        (1e300, "invalid_timestamp"),
        (math.inf, "too_large"),
        (True, "wrong_type"),
        ([], "wrong_type"),
    ],
)
def test_what_is_no_instant_is_refused(value, code):
    with pytest.raises(values.RefusedValueError) as caught:
        values.instant(value)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "expected"), [(" 1.5 ", 1.5), ("+5", 5.0), (".5", 0.5), ("1e3", 1e3), ("-inf", -math.inf)]
)
def test_text_can_hold_a_number(text, expected):
    assert values.number_of_text(text) == expected


@pytest.mark.parametrize("text", ["", "  ", "nan"])
def test_blank_text_is_a_null(text):
    assert all(math.isnan(rule(text)) for rule in (values.number, values.truth, values.indicator, values.instant))
    assert math.isnan(values.number_of_text(text))
    assert math.isnan(values.instant_of_text(text))


@pytest.mark.parametrize("text", ["1_000", "0x10", "1,5", "\u0663", "one"])
def test_other_text_is_no_number(text):
    with pytest.raises(values.RefusedValueError, match="got text"):
        values.number_of_text(text)


@pytest.mark.parametrize(("text", "expected"), [("TRUE", 1.0), ("false", 0.0), ("1", 1.0), ("0.0", 0.0)])
def test_text_can_hold_a_truth_value(text, expected):
    assert values.truth(text) == expected


@pytest.mark.parametrize("text", ["maybe", "2"])
def test_other_text_is_no_truth_value(text):
    with pytest.raises(values.RefusedValueError, match="expected true, false, yes, no, 1 or 0"):
        values.truth(text)


def test_text_can_hold_an_instant_as_a_number():
    assert values.instant_of_text("1772445600") == values.instant(1772445600)


@given(st.datetimes(min_value=datetime(1974, 1, 1), max_value=datetime(2500, 1, 1)))  # noqa: DTZ001 - naive means UTC
def test_every_unit_of_a_number_gives_the_same_instant(moment):
    seconds = moment.replace(microsecond=0, tzinfo=UTC).timestamp()
    numbers = np.array([seconds, seconds * 1e3, seconds * 1e6])
    assert values.instants_of_numbers(numbers) == pytest.approx(seconds)


def test_no_refusal_shows_the_value():
    for rule in (values.number, values.truth, values.instant):
        with pytest.raises(values.RefusedValueError) as caught:
            rule("secret")
        assert "secret" not in str(caught.value)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.integers(-(10**9), 10**9))
def test_an_indicator_takes_truths_and_any_finite_number(value):
    assert values.indicator(value) == float(value)
    assert values.indicator(str(value)) == float(value)


@pytest.mark.parametrize("value", ["maybe", "inf", None, [], math.inf, math.nan])
def test_an_indicator_takes_nothing_else(value):
    with pytest.raises(values.RefusedValueError):
        values.indicator(value)
