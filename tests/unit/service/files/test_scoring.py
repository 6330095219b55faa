"""Faults of typed columns, told by record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vaegis.service.files.arrow_columns import block_past_faults
from vaegis.service.files.batches import FileBatch, Refusal

INSTANTS = pa.array([0, 10**12, None], pa.timestamp("s"))  # the second is in the year 33658
SOUND = {"amount": [1.0, 2.0, None], "express": [True, None, False], "country": ["DE", "FR", None]}


def block(artifact, columns, refused=None):
    part = FileBatch(pa.record_batch(columns), Path("a.parquet"), 11, refused or {})
    return block_past_faults(part, artifact.contract.columns, "reject")


@pytest.mark.parametrize(
    ("column", "values", "codes"),
    [
        ("amount", [np.inf, 1.0, np.nan], {0: "too_large"}),
        ("amount", pa.array([True, None, False]), {0: "wrong_type", 2: "wrong_type"}),
        ("amount", INSTANTS, {0: "wrong_type", 1: "wrong_type"}),
        ("express", [2, 1, 0], {0: "wrong_type"}),
        ("express", ["true", "maybe", ""], {1: "wrong_type"}),
        ("country", [1.5, None, 2.0], {0: "wrong_type", 2: "wrong_type"}),
        ("country", [["DE"], None, None], {0: "wrong_type"}),
        ("placed_at", INSTANTS, {1: "invalid_timestamp"}),
        ("placed_at", [np.inf, 0.0, 1e300], {0: "too_large", 2: "invalid_timestamp"}),
        ("placed_at", pa.array([True, None, None]), {0: "wrong_type"}),
    ],
)
def test_each_record_has_the_faults_of_its_own_values_and_the_others_are_kept(artifact, column, values, codes):
    found = block(artifact, SOUND | {column: values})
    assert {row: fault.code for row, (fault,) in found.faults.items()} == codes
    for row, (fault,) in found.faults.items():
        assert fault.message.startswith(f"a.parquet, row {11 + row}, column {column}: expected ")
    assert (found.records, len(found.columns)) == (3, 3 - len(codes))


@pytest.mark.parametrize(
    ("column", "values"),
    [("express", [1, 0, None]), ("country", [49, 7, None]), ("country", [True, None, False])],
)
def test_other_columns_keep_their_values_where_one_is_at_fault(artifact, column, values):
    sound = SOUND | {column: values}
    whole, rest = block(artifact, sound), block(artifact, sound | {"amount": [1.0, 2.0, -np.inf]})
    np.testing.assert_array_equal(rest.columns.strings, whole.columns.strings[:2])
    np.testing.assert_array_equal(rest.columns.numbers, whole.columns.numbers[:2])


def test_a_record_that_could_not_be_read_is_at_fault_as_a_whole(artifact):
    found = block(artifact, SOUND, {1: Refusal("wrong_width", "expected 5 values as in the header, got 2")})
    ((fault,),) = found.faults.values()
    assert (fault.column, fault.code) == (None, "wrong_width")
    assert fault.message == "a.parquet, row 12: expected 5 values as in the header, got 2"
