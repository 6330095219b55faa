from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.records import values
from vaegis.service.records.cells import categories_of_values, checked_numbers, numbers_of_values
from vaegis.service.records.kinds import BOOLEAN, INDICATOR, NUMERIC, TIMESTAMP

KINDS = st.sampled_from((NUMERIC, BOOLEAN, INDICATOR, TIMESTAMP))
WORDS = "1 0 -0.5 1e3 +5 .5 007 1. nan inf 1e400 true False yes null NA [1 1] 1,2 {} 1770000000 2026-03-02"
LIKELY = st.sampled_from([*WORDS.split(), " 7 ", "", " ", "9" * 400, '"1"', "2026-03-02T10:00:00Z", "\ud800"])
TEXTS = st.lists(st.none() | LIKELY | st.text(max_size=4) | st.floats().map(repr), max_size=6)


def refuse(*fault):
    raise AssertionError(fault)


def one_by_one(texts, kind):
    """Apply the rule of JSON to each text."""
    faults, numbers = [], []
    for row, text in enumerate(texts):
        try:
            numbers.append(math.nan if text is None else kind.parse(text))
        except values.RefusedValueError as refusal:
            numbers.append(math.nan)
            faults.append((row, refusal.code, str(refusal)))
    return numbers, faults


@given(TEXTS, KINDS)
def test_text_gives_what_each_gives_alone(texts, kind):
    faults = []
    numbers = numbers_of_values(texts, kind, lambda *fault: faults.append(fault))
    expected, expected_faults = one_by_one(texts, kind)
    np.testing.assert_array_equal(numbers, expected)
    assert faults == expected_faults


@given(st.lists(st.floats(), max_size=6), KINDS)
def test_numbers_give_what_each_gives_alone(numbers, kind):
    faults, expected_faults, expected = [], [], []
    for row, number in enumerate(numbers):
        try:
            expected.append(math.nan if math.isnan(number) else kind.parse(number))
        except values.RefusedValueError as refusal:
            expected.append(math.nan)
            expected_faults.append((row, refusal.code, str(refusal)))
    found = checked_numbers(np.array(numbers, dtype=np.float64), kind, lambda *fault: faults.append(fault))
    np.testing.assert_array_equal(found, expected)
    assert faults == expected_faults


@pytest.mark.parametrize("texts", [[], ["a"], ["a", None, ""], [None]])
def test_categories_are_text_as_it_is(texts):
    observed = True if None not in texts else [text is not None for text in texts]
    assert categories_of_values(texts, refuse) == ([text or "" for text in texts], observed)
