"""Misspellings: which values are taken for a listed one with one character wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.records.misspellings import Misspellings

LISTED = ["delivered", "cancelled", "in transit", "DE", "deliveries"]
KNOWN = Misspellings(LISTED)


@given(
    st.sampled_from(LISTED[:3]), st.integers(0, 8), st.sampled_from(["replaced", "left out", "added"]), st.characters()
)
def test_one_wrong_character_is_found(value, at, how, character):
    end = value[at + (how != "added") :]
    wrong = value[:at] + ("" if how == "left out" else character) + end
    assert wrong == value or KNOWN.meant(wrong) in LISTED


def test_case_and_neighbours_in_the_wrong_order_are_found():
    assert [KNOWN.meant(value) for value in ("DELIVERED", "de", "delievred")] == ["delivered", "DE", "delivered"]


def test_short_codes_and_values_with_two_faults_are_not():
    assert [KNOWN.meant(value) for value in ("DF", "D", "DEE", "shipped", "dellvared", "x" * 200, "")] == [None] * 7


def test_common_codes_of_three_characters_may_have_one_replaced():
    known = Misspellings(["PRT", "GBR", "IRL"], common=["PRT", "GBR"])
    assert [known.meant(value) for value in ("PRx", "pry", "GxR")] == ["PRT", "PRT", "GBR"]
    assert [known.meant(value) for value in ("ISL", "RPT", "PR", "PER")] == [None] * 4


def test_of_several_the_commoner_one_is_meant():
    assert KNOWN.meant("deliverie") == "deliveries"
    assert Misspellings(["care", "core"]).meant("cre") == "care"
    assert Misspellings(["core", "care"]).meant("cre") == "core"
