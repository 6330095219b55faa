"""Violations: which values break a check, found for many records at once as for one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.artifact import load_artifact
from vaegis.service.columns import Columns
from vaegis.service.contract import (
    BooleanColumn,
    CategoricalColumn,
    Check,
    NumericColumn,
    Schema,
    TimestampColumn,
    ViolationCode,
)
from vaegis.service.errors import RecordError
from vaegis.service.generation import Generator
from vaegis.service.model import load
from vaegis.service.model_file import MetadataKey
from vaegis.service.records.python_records import columns_from_records
from vaegis.service.verdicts import Explain
from vaegis.service.violations import REASONS, ViolationChecks

LOW, HIGH, GRID = ViolationCode.BELOW_RANGE, ViolationCode.ABOVE_RANGE, ViolationCode.OFF_GRID
UNSEEN, MISSING = ViolationCode.UNSEEN_CATEGORY, ViolationCode.UNEXPECTED_MISSING
PRICE = NumericColumn(
    name="price",
    missing_share=0.0,
    minimum=1.0,
    maximum=90.0,
    quantiles=(1.0, 5.0, 10.0, 20.0, 30.0, 50.0, 90.0),
    step=0.01,
    noise_scale=1.0,
    degrees_of_freedom=4.0,
    checks=(
        Check(code=LOW, limit=0.5),
        Check(code=HIGH, limit=200.0),
        Check(code=GRID, limit=0.01),
        Check(code=MISSING),
    ),
)
WEIGHT = PRICE.model_copy(update={"name": "weight", "step": 0.0, "checks": ()})
OPEN = BooleanColumn(
    name="open", missing_share=0.1, true_share=0.5, checks=(Check(code=LOW, limit=0.0), Check(code=HIGH, limit=1.0))
)
SEEN_AT = TimestampColumn(
    name="seen_at", missing_share=0.0, earliest=1e9, latest=1.1e9, checks=(Check(code=HIGH, limit=1.2e9),)
)
COUNTRY = CategoricalColumn(
    name="country",
    missing_share=0.0,
    categories=("DE", "FR"),
    shares=(0.5, 0.5),
    checks=(Check(code=UNSEEN), Check(code=MISSING)),
)
SCHEMA = Schema(columns=(PRICE, COUNTRY, WEIGHT, OPEN, SEEN_AT))
CHECKS = ViolationChecks(SCHEMA)


def columns(*rows: tuple[float | None, float | None, float | None, float | None, str | None]) -> Columns:
    """Return records of price, weight, open, seen_at and country."""
    numbers = [[math.nan if value is None else value for value in row[:4]] for row in rows]
    return Columns(
        np.array(numbers, dtype=np.float64).reshape(-1, 4),
        np.array([[row[4] or ""] for row in rows], dtype=object).reshape(-1, 1),
        np.array([[row[4] is not None] for row in rows], dtype=np.bool_).reshape(-1, 1),
    )


def codes(*row) -> list[tuple[str, ViolationCode]]:
    (found,) = CHECKS.violations(columns(row))
    return [(violation.column, violation.code) for violation in found]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((10.0, -5.0, 1.0, 1e9, "DE"), []),
        ((0.5, 1e300, 0.0, 1.2e9, "FR"), []),
        ((0.49, 1.0, 1.0, 1e9, "DE"), [("price", LOW)]),
        ((-10.0, 1.0, 1.0, 1e9, "DE"), [("price", LOW)]),
        ((200.5, 1.0, 1.0, 1e9, "DE"), [("price", HIGH)]),
        ((10.005, 1.0, 1.0, 1e9, "DE"), [("price", GRID)]),
        ((float(np.float32(10.03)), 1.0, 1.0, 1e9, "DE"), []),
        ((None, None, None, None, None), [("price", MISSING), ("country", MISSING)]),
        ((10.0, 1.0, 3.0, 1e9, "DE"), [("open", HIGH)]),
        ((10.0, 1.0, 1.0, 2e9, "ES"), [("seen_at", HIGH), ("country", UNSEEN)]),
        ((10.0, 1.0, 1.0, 1e9, ""), [("country", UNSEEN)]),
    ],
)
def test_a_value_that_breaks_a_check_is_named_with_its_code(row, expected):
    assert codes(*row) == expected


def test_a_violation_shows_the_value_and_the_limit_as_the_column_writes_them():
    price, seen_at = CHECKS.violations(columns((300.0, 1.0, 1.0, 2e9, "DE")))[0]
    assert (price.observed, price.limit) == (300.0, 200.0)
    assert (seen_at.observed, seen_at.limit) == ("2033-05-18T03:33:20+00:00", "2008-01-10T21:20:00+00:00")
    (unseen,) = CHECKS.violations(columns((10.0, 1.0, 1.0, 1e9, "ES")))[0]
    assert (unseen.observed, unseen.limit) == ("ES", None)


_NUMBER = st.one_of(st.none(), st.sampled_from([0.5, 0.49, 200.0, 200.01, 10.005, -1.0, 1e308]), st.floats(-300, 300))


@given(st.lists(st.tuples(_NUMBER, _NUMBER, _NUMBER, _NUMBER, st.sampled_from([None, "", "DE", "ES"])), max_size=6))
def test_each_record_has_the_violations_that_it_has_alone(rows):
    found = CHECKS.violations(columns(*rows))
    assert found == [CHECKS.violations(columns(row))[0] for row in rows]


def test_the_other_truth_value_is_unseen_where_training_saw_one():
    always = OPEN.model_copy(update={"checks": (Check(code=UNSEEN, limit=1.0), *OPEN.checks), "true_share": 1.0})
    checks = ViolationChecks(Schema(columns=(PRICE, COUNTRY, WEIGHT, always, SEEN_AT)))
    rows = [(1.0, 1.0, value, 1e9, "DE") for value in (1.0, 0.0, 2.0, None)]
    found = checks.violations(columns(*rows))
    assert found == [checks.violations(columns(row))[0] for row in rows]
    assert [[(each.code, each.observed, each.limit) for each in of_row] for of_row in found] == [
        [],
        [(UNSEEN, False, True)],
        [(HIGH, 2.0, True)],
        [],
    ]


def test_a_number_that_is_not_listed_comes_before_those_of_later_columns():
    listed = WEIGHT.model_copy(update={"name": "pack", "values": (10.0, 20.0), "checks": (Check(code=UNSEEN),)})
    checks = ViolationChecks(Schema(columns=(listed, PRICE)))
    batch = Columns(np.array([[15.0, 300.0], [10.0, 1.0]]), np.empty((2, 0), object), np.empty((2, 0), np.bool_))
    for found in (checks.violations(batch), checks.violations(batch.rows(slice(1)))):
        assert [(each.column, each.code) for each in found[0]] == [("pack", UNSEEN), ("price", HIGH)]


def test_every_code_has_a_reason_for_explanations():
    assert set(REASONS) == set(ViolationCode)


def test_a_violated_column_has_a_reason_though_the_record_is_no_anomaly(artifact):
    record = artifact.contract.golden.records[0]
    batch = columns_from_records(
        [record | {"amount": -20.0}], artifact.contract.columns, unknown_columns="ignore", max_faults=1
    )
    verdicts = artifact.judge(batch, alpha=1 / 1001, explain=Explain.ALL)
    assert [(item.column, item.code) for item in verdicts.violations[0]] == [("amount", LOW)]
    reasons = {item.column: item.reason for item in verdicts.contributions[0]}
    assert reasons["amount"] == "out_of_range"


def test_a_file_of_the_first_version_has_no_checks(golden_model):
    first = load_artifact(golden_model.with_name("orders-v1.onnx"))
    first.verify()
    assert first.format_version == 1
    assert not any(column.checks for column in first.contract.columns.columns)


@pytest.fixture
def watching(golden_model, hostile, tmp_path):
    """The golden model, whose order numbers are checked and not scored."""
    number = PRICE.model_copy(
        update={"name": "order_id", "minimum": 1.0, "maximum": 9e6, "step": 1.0, "checks": ORDER_CHECKS}
    )

    def watch(schema):
        return schema | {"watched": [number.model_dump(mode="json")], "ignored": []}

    path = tmp_path / "watching.onnx"
    path.write_bytes(hostile.with_document(golden_model.read_bytes(), MetadataKey.SCHEMA, watch))
    return load(path)


ORDER_CHECKS = (Check(code=LOW, limit=0.0), Check(code=GRID, limit=1.0), Check(code=MISSING))


def test_a_watched_column_is_checked_and_has_no_part_in_the_score(watching, artifact):
    record = artifact.contract.golden.records[0]
    odd = [record | {"order_id": value} for value in (7e9, -20, 3.5, None)] + [record]
    found = watching.score(odd, explain="all", alpha=0.5)
    codes = [[violation.code for violation in of_record] for of_record in found.violations]
    assert codes == [[], [LOW], [GRID], [MISSING], [MISSING]]
    assert np.ptp(found.score) < 1e-5
    assert all("order_id" not in {part.column for part in parts} for parts in found.contributions)
    with pytest.raises(RecordError, match="expected a number"):
        watching.score([record | {"order_id": "A17"}])


def test_generated_records_hold_watched_columns_that_break_no_check(watching):
    records = Generator(watching.artifact.contract).draw(50, seed=1)
    assert len({record["order_id"] for record in records}) > 40
    assert not any(watching.score(records).violations)
