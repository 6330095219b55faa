"""Records drawn from the golden model."""

from __future__ import annotations

import base64
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.artifact import load_artifact
from vaegis.service.contract import (
    BooleanColumn,
    CategoricalColumn,
    Contract,
    IgnoredColumn,
    NumericColumn,
    Schema,
    TimestampColumn,
)
from vaegis.service.errors import ArtifactError
from vaegis.service.generation import BLOCK_RECORDS, Drawn, Generator, records_of
from vaegis.service.grid import is_integral
from vaegis.service.protobuf import field, fields
from vaegis.service.records.python_records import columns_from_records

# A tensor (graph field 5) whose data_location (field 14) is EXTERNAL, inside a model (field 7: the graph).
EXTERNAL = bytes([0x3A, 4, 0x2A, 2, 0x70, 1])


@pytest.fixture(scope="session")
def contract(golden_model) -> Contract:
    return load_artifact(golden_model).contract


@pytest.fixture(scope="session")
def generator(contract) -> Generator:
    return Generator(contract)


def with_generator(contract: Contract, **update: object) -> Contract:
    return contract.model_copy(update={"generator": contract.generator.model_copy(update=update)})


@given(seed=st.integers(0, 2**63 - 1))
@settings(max_examples=20, deadline=None)
def test_the_same_seed_gives_the_same_records(contract, seed):
    assert Generator(contract).draw(20, seed) == Generator(contract).draw(20, seed)


def test_another_seed_gives_other_records(generator):
    assert generator.draw(20, 1) != generator.draw(20, 2)


@given(count=st.integers(0, 3 * BLOCK_RECORDS), size=st.integers(100, 2 * BLOCK_RECORDS))
@settings(max_examples=15, deadline=None)
def test_records_do_not_depend_on_the_size_of_chunks(generator, count, size):
    parts = list(generator.chunks(count, 7, size))
    assert all(len(part) == size for part in parts[:-1])
    joined = [record for part in parts for record in records_of(generator.schema, part)]
    assert joined == generator.draw(count, 7)


def test_more_records_begin_with_the_same_ones(generator):
    assert generator.draw(2 * BLOCK_RECORDS + 3, 7)[:5] == generator.draw(5, 7)


def test_no_records_are_drawn_where_none_are_asked_for(generator):
    assert generator.draw(0, 7) == []
    assert len(generator.draw_columns(0, 7)) == 0
    assert list(generator.chunks(0, 7, 10)) == []


def test_columns_and_records_hold_the_same_values(generator):
    assert records_of(generator.schema, generator.draw_columns(50, 7)) == generator.draw(50, 7)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_values_are_of_their_column(generator, seed):
    for record in generator.draw(100, seed):
        assert tuple(record) == generator.schema.names
        for column in generator.schema.columns:
            value = record[column.name]
            if value is None:
                assert column.missing_share > 0
            elif isinstance(column, NumericColumn):
                assert isinstance(value, int if is_integral(column) else float)
                assert column.minimum <= value <= column.maximum
            elif isinstance(column, BooleanColumn):
                assert type(value) is (int if column.as_number else bool)
                assert value in {0, 1}
            elif isinstance(column, CategoricalColumn):
                assert value in column.categories
            else:
                assert column.earliest <= datetime.fromisoformat(value).timestamp() <= column.latest


def test_records_can_be_scored(contract, generator):
    records = generator.draw(100, 7)
    columns = columns_from_records(records, contract.columns, unknown_columns="reject", max_faults=1)
    assert len(columns) == 100


def test_ignored_columns_are_left_out(contract):
    ignored = (IgnoredColumn(name="order_id", reason="as many values as records"),)
    schema = contract.columns.model_copy(update={"ignored": ignored})
    assert "order_id" not in Generator(contract.model_copy(update={"columns": schema})).draw(1, 7)[0]


def test_records_keep_the_form_that_their_columns_had():
    schema = Schema(
        columns=(
            NumericColumn(
                name="items",
                missing_share=0.5,
                minimum=0.0,
                maximum=9.0,
                quantiles=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
                step=1.0,
                noise_scale=1.0,
                degrees_of_freedom=4.0,
            ),
            BooleanColumn(name="express", missing_share=0.0, true_share=0.5),
            BooleanColumn(name="paid", missing_share=0.0, true_share=0.5, as_number=True),
            TimestampColumn(name="at", missing_share=0.0, earliest=0.0, latest=1.0),
        )
    )
    truth = np.array([True, False])
    missing = np.zeros((2, 4), dtype=bool)
    missing[1, 0] = True
    drawn = Drawn((np.array([3.0, 4.0]), truth, truth, np.array([0.0, 1.0])), missing)
    first, second = records_of(schema, drawn)
    assert repr(first) == "{'items': 3, 'express': True, 'paid': 1, 'at': '1970-01-01T00:00:00+00:00'}"
    assert repr(second) == "{'items': None, 'express': False, 'paid': 0, 'at': '1970-01-01T00:00:01+00:00'}"


def test_a_column_never_null_in_training_is_never_null(generator):
    missing = generator.draw_columns(20 * BLOCK_RECORDS, 7).missing
    never = [column.missing_share == 0 for column in generator.schema.columns]
    assert not missing[:, never].any()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("not base64!", "expected a complete ONNX model in base64"),
        (base64.b64encode(b"\xff\xff").decode(), "expected a complete ONNX model in base64"),
        (base64.b64encode(EXTERNAL).decode(), "refers to another file"),
        ("", "expected ONNX IR version 8, got None"),
    ],
)
def test_a_decoder_that_is_no_model_is_refused(contract, model, message):
    with pytest.raises(ArtifactError, match=message):
        Generator(with_generator(contract, model=model))


def test_a_decoder_is_held_to_the_same_operators(contract, hostile):
    model = base64.b64decode(contract.generator.model)
    graph = next(bytes(value) for number, value in fields(memoryview(model)) if number == 7)
    draws = field(7, graph + hostile.node("RandomNormal", [], ["noise"]))
    others = b"".join(field(number, value) for number, value in fields(memoryview(model)) if number != 7)
    with pytest.raises(ArtifactError, match="expected an operator that vaegis-train writes, got 'RandomNormal'"):
        Generator(with_generator(contract, model=base64.b64encode(others + draws).decode()))


def test_a_decoder_of_another_latent_width_is_refused(contract):
    with pytest.raises(ArtifactError, match="expected a decoder of 99 latents"):
        Generator(with_generator(contract, latent_dim=99))


def test_a_decoder_with_fewer_exemplars_than_told_is_refused(contract):
    with pytest.raises(ArtifactError, match="generator: expected a decoder"):
        Generator(with_generator(contract, exemplars=10**9))


def test_a_decoder_of_another_schema_is_refused(contract):
    fewer = Schema(columns=contract.columns.columns[:1])
    with pytest.raises(ArtifactError, match="expected outputs of the shapes"):
        Generator(contract.model_copy(update={"columns": fewer}))
