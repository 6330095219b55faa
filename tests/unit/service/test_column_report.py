from __future__ import annotations

from vaegis.service.column_report import column_notes
from vaegis.service.contract import Schema


def warnings_of(schema, columns):
    amount = schema.columns[0]
    named = tuple(
        amount.model_copy(update={"name": f"x{at}", "warnings": (f"{at}.5% lie outside: columns.x{at}", "is odd")})
        for at in range(columns)
    )
    return [note for note in column_notes(Schema(columns=named)) if note.startswith("Warning")]


def test_a_warning_that_many_columns_have_is_shown_once_with_their_names(schema):
    assert warnings_of(schema, 7) == [
        "Warning: x0: 0.5% lie outside: columns.x0",
        "Warning: the same, apart from any figures, for x1, x2, x3, x4, x5, x6",
        "Warning: x0: is odd",
        "Warning: the same, apart from any figures, for x1, x2, x3, x4, x5, x6",
    ]


def test_warnings_of_few_columns_are_shown_one_by_one(schema):
    warnings = warnings_of(schema, 3)
    assert len(warnings) == 6
    assert "Warning: x2: 2.5% lie outside: columns.x2" in warnings
