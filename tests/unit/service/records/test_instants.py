from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.records import values
from vaegis.service.records.instants import instants_of_iso

ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.none() | st.just(UTC) | ZONES)  # noqa: DTZ001 - naive means UTC
SPECS = st.sampled_from(["auto", "minutes", "seconds", "milliseconds", "microseconds"])


@given(st.lists(MOMENTS, min_size=1, max_size=5), SPECS, st.sampled_from(["T", " "]))
def test_text_of_one_pattern_gives_what_each_gives_alone(moments, spec, separator):
    texts = [moment.isoformat(separator, spec) for moment in moments]
    together = instants_of_iso(texts)
    if together is not None:
        assert together.tolist() == [values.instant(text) for text in texts]


@given(MOMENTS, SPECS, st.integers(0, 31), st.sampled_from("0123456789:-+TtZ /.\0e"))
def test_text_with_a_letter_changed_gives_what_it_gives_alone(moment, spec, at, letter):
    text = moment.isoformat("T", spec)
    changed = text[:at] + letter + text[at + 1 :]
    for texts in ([changed], [text, changed]):
        together = instants_of_iso(texts)
        if together is not None:
            assert together.tolist() == [values.instant(each) for each in texts]


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-29",
        "2024-02-29T10:00",
        "2024-02-29 10:00:59Z",
        "2024-02-29T10:00:00.123Z",
        "2024-02-29T10:00:00.123456+05:30",
        "2024-02-29T10:00:00-11:00",
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59",
    ],
)
def test_the_usual_patterns_are_read_at_once(text):
    assert instants_of_iso([text, text]).tolist() == [values.instant(text)] * 2


@pytest.mark.parametrize(
    "texts",
    [
        ["yesterday"],
        ["2024-02-29", "2024-02-29T10:00"],
        ["2024-02-29", "2024-02-30"],
        ["2024-02-29", "2023-02-29"],
        ["2024-02-29", "2024x02-29"],
        ["2024-02-29", "2024-00-29"],
        ["2024-02-29", "2024-13-29"],
        ["2024-02-29", "2024-01-0\u0661"],
        ["2024-02-29", "0000-01-01"],
        ["2024-02-29T23:59:59", "2024-02-29T24:00:00"],
        ["2024-02-29T23:59:59", "2024-02-29T23:60:00"],
        ["2024-02-29T23:59:59", "2024-02-29T23:59:60"],
        ["2024-02-29T23:59:59+01:00", "2024-02-29T23:59:59-01:00"],
        ["0001-01-01T00:00:00+05:00"],
        ["9999-12-31T23:59:59.000001"],
    ],
)
def test_what_is_not_one_pattern_or_no_instant_is_left_to_the_rule(texts):
    assert instants_of_iso(texts) is None


@pytest.mark.parametrize("wrong", ["0000-00-00T00:00:00", "2024-02-30T00:00:00", "2024-02-29T24:00:00"])
def test_one_wrong_date_among_many_leaves_all_to_the_rule(wrong):
    texts = ["2024-02-29T10:00:00"] * 5000
    assert instants_of_iso(texts).tolist() == [values.instant(texts[0])] * 5000
    assert instants_of_iso([*texts, wrong]) is None
