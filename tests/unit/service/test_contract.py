from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from vaegis.service.contract import (
    Calibration,
    CategoricalColumn,
    Contract,
    Golden,
    GoldenScores,
    IgnoredColumn,
    NumericColumn,
    Schema,
)

NUMERIC = {
    "kind": "numeric",
    "name": "amount",
    "missing_share": 0.0,
    "minimum": 0.0,
    "maximum": 1.0,
    "quantiles": [0.0, 0.1, 0.2, 0.5, 0.7, 0.9, 1.0],
    "step": 0.01,
    "noise_scale": 1.0,
    "degrees_of_freedom": 4.0,
}
BOOLEAN = {"kind": "boolean", "name": "express", "missing_share": 0.0, "true_share": 0.5}
CATEGORICAL = {
    "kind": "categorical",
    "name": "country",
    "missing_share": 0.1,
    "categories": ["DE", "FR"],
    "shares": [0.7, 0.2],
}
TIMESTAMP = {"kind": "timestamp", "name": "placed_at", "missing_share": 0.0, "earliest": 0.0, "latest": 1.0}


def read_schema(*columns: dict[str, object], ignored: tuple[dict[str, object], ...] = ()) -> Schema:
    return Schema.model_validate_json(json.dumps({"columns": columns, "ignored": ignored}))


def calibration(*folds: tuple[float, ...], alpha: float = 0.5, method: str | None = None) -> Calibration:
    method = method or ("split-conformal" if len(folds) == 1 else "cross-conformal")
    return Calibration(method=method, alpha=alpha, folds=folds, tie_tolerance=0.0)


def test_every_document_of_the_golden_model_survives_being_written_again(artifact):
    contract = artifact.contract
    assert Contract.model_validate_json(contract.model_dump_json()) == contract


def test_a_timestamp_outside_the_calendar_is_refused():
    with pytest.raises(ValidationError, match="less than 253402300800"):
        read_schema(TIMESTAMP | {"latest": 1e300})


def test_each_column_is_read_as_its_kind():
    schema = read_schema(CATEGORICAL, NUMERIC, TIMESTAMP, BOOLEAN)
    assert [column.kind for column in schema.columns] == ["categorical", "numeric", "timestamp", "boolean"]
    assert isinstance(schema.columns[1], NumericColumn)


def test_strings_hold_the_categorical_columns_and_numbers_all_others_in_schema_order():
    schema = read_schema(CATEGORICAL, NUMERIC, CATEGORICAL | {"name": "city"}, TIMESTAMP, BOOLEAN)
    assert schema.string_positions == (0, 2)
    assert schema.number_positions == (1, 3, 4)
    assert schema.names == ("country", "amount", "city", "placed_at", "express")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (NUMERIC | {"kind": "image"}, "does not match any of the expected tags"),
        (NUMERIC | {"unit": "EUR"}, "Extra inputs are not permitted"),
        (NUMERIC | {"minimum": "0"}, "valid number"),
        (NUMERIC | {"quantiles": [0.0]}, "at least 7 items"),
        (NUMERIC | {"noise_scale": 0.0}, "greater than 0"),
        (NUMERIC | {"step": -1.0}, "greater than or equal to 0"),
        (BOOLEAN | {"true_share": 1.1}, "less than or equal to 1"),
        (CATEGORICAL | {"categories": ["DE"]}, "expected 1 shares, got 2"),
        (CATEGORICAL | {"categories": ["DE", "DE"]}, "expected unique categories, got one twice"),
        (CATEGORICAL | {"categories": [], "shares": []}, "at least 1 item"),
        ({key: value for key, value in TIMESTAMP.items() if key != "latest"}, "Field required"),
    ],
)
def test_a_column_that_breaks_a_rule_is_refused(column, message):
    with pytest.raises(ValidationError, match=message):
        read_schema(column)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(value):
    text = json.dumps({"columns": [NUMERIC]}).replace('"maximum": 1.0', f'"maximum": {value}')
    with pytest.raises(ValidationError, match="finite number"):
        Schema.model_validate_json(text)


def test_a_schema_without_columns_is_refused():
    with pytest.raises(ValidationError, match="at least 1 item"):
        read_schema()


def test_a_name_used_twice_is_refused_also_between_scored_and_ignored_columns():
    with pytest.raises(ValidationError, match="expected unique column names, got 'amount' twice"):
        read_schema(NUMERIC, BOOLEAN | {"name": "amount"})
    with pytest.raises(ValidationError, match="got 'amount' twice"):
        read_schema(NUMERIC, ignored=({"name": "amount", "reason": "an identifier"},))


def test_documents_cannot_be_changed():
    schema = read_schema(NUMERIC, ignored=({"name": "id", "reason": "an identifier"},))
    with pytest.raises(ValidationError, match="frozen"):
        schema.ignored = ()
    assert schema.ignored == (IgnoredColumn(name="id", reason="an identifier"),)


def test_calibration_scores_must_ascend():
    assert calibration((1.0, 1.0, 2.0)).folds[0][-1] == 2.0
    for folds in ([(2.0, 1.0)], [(1.0, 2.0), (2.0, 1.0)]):
        with pytest.raises(ValidationError, match="scores of each fold in ascending order"):
            calibration(*folds)


def test_calibration_records_are_those_of_all_folds():
    assert calibration((1.0, 2.0), (0.0,), (3.0, 3.0)).records == 5


@pytest.mark.parametrize(
    ("method", "folds", "message"),
    [
        ("split-conformal", ((1.0,), (2.0,)), "expected one fold for the method split-conformal, got 2"),
        ("cross-conformal", ((1.0, 2.0),), "expected several folds for the method cross-conformal, got 1"),
        ("split-conformal", (), "at least 1 item"),
        ("cross-conformal", ((1.0,), ()), "at least 1 item"),
        ("jackknife+", ((1.0,), (2.0,)), "'split-conformal' or 'cross-conformal'"),
    ],
)
def test_each_method_has_its_number_of_folds_and_each_fold_a_score(method, folds, message):
    with pytest.raises(ValidationError, match=message):
        calibration(*folds, method=method)


def test_calibration_scores_must_be_enough_for_their_alpha():
    for folds in ([(1.0, 1.0, 2.0)], [(1.0, 1.0), (2.0,)]):
        assert calibration(*folds, alpha=0.25).records == 3
        with pytest.raises(ValidationError, match=r"expected an alpha that 3 records can promise, got 0\.2"):
            calibration(*folds, alpha=0.2)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_default_alpha_is_a_fraction(alpha):
    with pytest.raises(ValidationError, match="alpha"):
        calibration((1.0,), alpha=alpha)


def test_each_golden_record_has_its_scores():
    scores = GoldenScores(score=0.0, reconstruction_error=0.0, kl=0.0)
    with pytest.raises(ValidationError, match="expected 2 scores, got 1"):
        Golden(records=({"a": 1}, {"a": None}), scores=(scores,), relative_tolerance=1e-4, absolute_tolerance=1e-2)


def test_a_golden_record_keeps_the_type_of_its_values():
    scores = {"score": 0.0, "reconstruction_error": 0.0, "kl": 0.0}
    record = {"truth": True, "whole": 1, "real": 1.0, "text": "1", "nothing": None}
    text = json.dumps({"records": [record], "scores": [scores], "relative_tolerance": 1e-4, "absolute_tolerance": 1e-2})
    (read,) = Golden.model_validate_json(text).records
    assert [type(value) for value in read.values()] == [bool, int, float, str, type(None)]


def test_a_category_may_be_the_empty_string():
    column = CategoricalColumn(name="note", missing_share=0.5, categories=("", "x"), shares=(0.5, 0.5))
    assert column.categories[0] == ""


def test_a_copy_keeps_nothing_that_was_computed_from_other_fields():
    schema = Schema.model_validate({"columns": [NUMERIC, BOOLEAN]}, strict=False)
    assert schema.names == ("amount", "express")
    assert schema.model_copy(update={"columns": schema.columns[1:]}).names == ("express",)
