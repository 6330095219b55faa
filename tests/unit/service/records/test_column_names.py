from __future__ import annotations

import unicodedata

import pytest

from vaegis.service.contract import BooleanColumn, Schema
from vaegis.service.records.column_names import almost_known_columns, no_known_column, unknown_column

KNOWN = ["Placed at", "Gr\u00f6\u00dfe", "weight"]

ALIKE = [
    ("WEIGHT", "weight", "case"),
    ("weight ", "weight", "blanks"),
    ("weight\u00a0", "weight", "blanks"),
    ("\ufeffweight", "weight", "blanks"),
    ("placed_at", "Placed at", "case, blanks, signs or accents"),
    ("PlacedAt", "Placed at", "case, blanks, signs or accents"),
    ('"weight"', "weight", "case, blanks, signs or accents"),
    (unicodedata.normalize("NFD", "Gr\u00f6\u00dfe"), "Gr\u00f6\u00dfe", "how Unicode writes its letters"),
    ("Grosse", "Gr\u00f6\u00dfe", "case, blanks, signs or accents"),
    ("Gr\u00f6\u00dfe".encode().decode("cp1252"), "Gr\u00f6\u00dfe", "its encoding"),
]


@pytest.mark.parametrize(("name", "meant", "what"), ALIKE)
def test_a_message_says_in_what_alone_a_name_differs(name, meant, what):
    assert unknown_column(name, KNOWN) == f"unknown column; the nearest is {meant}, which differs in {what} alone"
    assert no_known_column([name], KNOWN).endswith(f"got none; {name} differs from {meant} in {what} alone")


def test_a_misspelled_name_and_one_with_more_before_it_have_a_nearest_one():
    assert unknown_column("wieght", KNOWN) == "unknown column; the nearest is weight"
    assert unknown_column("Groesse", KNOWN) == "unknown column; the nearest is Gr\u00f6\u00dfe"
    assert no_known_column(["t.weight"], KNOWN).endswith("got none; the nearest to t.weight is weight")
    assert unknown_column("colour", KNOWN) == "unknown column"
    assert unknown_column("\u4ef7\u683c", ["\u4ef7\u683c ", "--"]).endswith("which differs in blanks alone")
    assert unknown_column("--", ["-", "--x"]).startswith("unknown column")


def test_an_ignored_column_that_is_almost_a_missing_one_is_noted():
    column = BooleanColumn(name="weight", missing_share=0.0, true_share=0.5)
    schema = Schema(columns=(column, column.model_copy(update={"name": "price"})))
    (note,) = almost_known_columns({"WEIGHT", "price", "Price"}, schema)
    assert note == "column WEIGHT is ignored. It differs from weight, which is missing, in case alone"
    assert not almost_known_columns({"weight", "WEIGHT", "price"}, schema)
