from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.contract import MOST_FORM_CHARACTERS, TextColumn
from vaegis.service.reasons import Reason
from vaegis.service.records.forms import OTHER, UNUSUAL, Forms, patterns_of
from vaegis.service.records.kinds import kind_of

COLUMN = TextColumn(
    name="mail",
    missing_share=0.0,
    categories=("a@a.a", OTHER),
    shares=(0.9, 0.1),
    classes="case",
    longest_run=1,
    lengths=(8,) * 7,
    usual_lengths=(4, 20),
    usual_counts={"a": (1, 30), "@": (1, 1), ".": (1, 3), "9": (0, 2)},
    pairs={"ab": 50, "ba": 50, "@a": 20},
    rare_pair=400,
    usual_surprise=350,
)


@pytest.mark.parametrize(
    ("text", "classes", "longest_run", "pattern"),
    [
        ("Ann.Lee@mail.example", "case", 3, "Aaa.Aaa@aaa.aaa"),
        ("90210-1234", "case", 64, "99999-9999"),
        ("b7a0-FF", "alphanumeric", 64, "xxxx-xx"),
        ("McDonald", "letters", 1, "a"),
        ("Zoë Müller", "case", 1, "Aa Aa"),
        ("a@@b..c", "case", 1, "a@@a..a"),
        ("two\nlines\tand a bell\x07", "case", 1, "a a a a a\ufffd"),
        ("Well, 2 of them!", "set", 1, " !,9Aa"),
        ("anything", "any", 1, "*"),
        ("", "case", 3, ""),
    ],
)
def test_a_pattern_holds_the_classes_of_characters_and_cuts_runs(text, classes, longest_run, pattern):
    assert patterns_of([text], classes, longest_run) == [pattern]


def test_a_pattern_is_bounded_and_what_lies_behind_is_not_seen():
    long = "-a" * MOST_FORM_CHARACTERS
    (pattern,) = patterns_of([long], "case", 3)
    assert len(pattern) == 128
    assert patterns_of(["a" * MOST_FORM_CHARACTERS + "@"], "case", 3) == ["aaa"]


@pytest.mark.parametrize(
    ("text", "form", "reason"),
    [
        ("ab@ab.a", "a@a.a", Reason.RARE_COMBINATION),
        ("ab.a@ab.a", OTHER, Reason.UNUSUAL_FORM),
        ("ab@@ab.a", UNUSUAL, Reason.UNUSUAL_FORM),
        ("ab ab@a.a", UNUSUAL, Reason.UNUSUAL_FORM),
        ("AB@ab.a", UNUSUAL, Reason.UNUSUAL_FORM),
        ("qz@xk.vj", UNUSUAL, Reason.UNUSUAL_FORM),
        ("a@a", UNUSUAL, Reason.UNUSUAL_LENGTH),
        ("ab@" + "ab" * 10 + ".ab", UNUSUAL, Reason.UNUSUAL_LENGTH),
        ("", UNUSUAL, Reason.UNUSUAL_LENGTH),
    ],
)
def test_a_text_is_judged_by_its_length_its_characters_and_its_spelling(text, form, reason):
    assert Forms(COLUMN).of([text]) == [form]
    assert kind_of(COLUMN).reason(COLUMN, text) is reason


@given(st.lists(st.text(alphabet="ab@.9 \nÄ-", max_size=30), min_size=1, max_size=30))
def test_a_text_has_the_same_form_alone_and_in_any_batch(texts):
    forms = Forms(COLUMN)
    assert forms.of(texts) == [form for text in texts for form in forms.of([text])]
    sums, pairs = forms.surprises(texts * 9)
    assert list(zip(sums, pairs, strict=True)) == [
        (total, count) for text in texts * 9 for (total,), (count,) in (forms.surprises([text]),)
    ]
