from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.contract import NumericColumn, Schema
from vaegis.service.errors import RecordError, ServiceError
from vaegis.service.records.blocks import BodyError
from vaegis.service.records.faults import Faults
from vaegis.service.records.open_inference import DATATYPES, columns_of, read_request


def tensor(name, datatype, data, shape=None, **rest):
    return {"name": name, "datatype": datatype, "shape": [len(data)] if shape is None else shape, "data": data, **rest}


FULL = [
    tensor("amount", "FP64", [1.5, None]),
    tensor("shop.country", "BYTES", ["DE", None]),
    tensor("express", "BOOL", [True, False], [2, 1]),
    tensor("placed_at", "INT64", [[86_400], [0]], [2, 1]),
]
ROWS = [[1.5, 1.0, 86_400.0], [np.nan, 0.0, 0.0]]


def read(inputs, binary=b"", **rest):
    return read_request(json.dumps({"inputs": inputs, **rest}).encode(), binary, max_depth=8)


def columns(schema, inputs, binary=b"", unknown_columns="reject"):
    faults = Faults(10)
    found = columns_of(read(inputs, binary), schema, faults, unknown_columns=unknown_columns, max_faults=10)
    faults.raise_any()
    return found


def packed(inputs):
    """Return inputs with their data in binary."""
    parts, bare = [], []
    for item in inputs:
        flat = np.array(item["data"], dtype=object).ravel().tolist()
        if item["datatype"] == "BYTES":
            part = b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in flat)
        else:
            part = np.array(flat, dtype=DATATYPES[item["datatype"]].form).tobytes()
        parts.append(part)
        bare.append({**item, "parameters": {"binary_data_size": len(part)}})
        del bare[-1]["data"]
    return bare, b"".join(parts)


def test_a_tensor_a_column_fills_them(schema):
    found = columns(schema, FULL)
    np.testing.assert_array_equal(found.numbers, ROWS)
    assert found.strings.tolist() == [["DE"], [""]]
    assert found.strings_observed.tolist() == [[True], [False]]


def test_binary_tensors_give_what_those_in_json_give(schema):
    inputs = [
        tensor("amount", "FP32", [0.1, 2.5]),
        tensor("shop.country", "BYTES", ["DE", "k\u00f6ln"]),
        tensor("express", "BOOL", [True, False]),
        tensor("placed_at", "UINT32", [86_400, 0], [2, 1]),
        tensor("shop.id", "INT8", [1, 2]),
    ]
    plain, binary = columns(schema, inputs), columns(schema, *packed(inputs))
    np.testing.assert_array_equal(plain.numbers, binary.numbers)
    assert plain.numbers[0, 0] == np.float32(0.1)
    assert plain.strings.tolist() == binary.strings.tolist()


def test_one_tensor_of_numbers_holds_all_columns_in_order(schema):
    number = schema.columns[0]
    names = ("a", "b", "c")
    wide = Schema(columns=tuple(NumericColumn(**{**number.model_dump(), "name": name}) for name in names))
    inputs = [tensor("predict", "FP64", [[1, 2, None], [4, 5, 6]], [2, 3])]
    np.testing.assert_array_equal(columns(wide, inputs).numbers, [[1, 2, np.nan], [4, 5, 6]])
    flat = [tensor("predict", "INT16", [1, 2, 3, 4, 5, 6], [2, 3])]
    np.testing.assert_array_equal(columns(wide, flat).numbers, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(columns(wide, *packed(flat)).numbers, [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "one or more"),
        ([5], "inputs: expected an object"),
        ([tensor("amount", "FP65", [1])], "datatype: expected one of BOOL"),
        ([tensor("amount", "FP64", [1], [])], "one or two numbers"),
        ([tensor("amount", "FP64", [1], [1, 1, 1])], "one or two numbers"),
        ([tensor("amount", "FP64", [1], [-1])], "one or two numbers"),
        ([tensor("amount", "FP64", [1], [True])], "one or two numbers"),
        ([tensor("amount", "FP64", [1], [2])], "2 values as its shape says, got 1"),
        ([tensor("amount", "FP64", ["1"])], "values of the datatype FP64"),
        ([tensor("amount", "FP64", [True])], "values of the datatype FP64"),
        ([tensor("amount", "INT64", [1.0])], "values of the datatype INT64"),
        ([tensor("amount", "UINT8", [256])], "values of the datatype UINT8, got larger"),
        ([tensor("amount", "UINT8", [-1])], "values of the datatype UINT8, got larger"),
        ([tensor("express", "BOOL", [1])], "values of the datatype BOOL"),
        ([tensor("shop.country", "BYTES", [1])], "values of the datatype BYTES"),
        ([tensor("amount", "FP64", [1]), tensor("express", "BOOL", [True, True])], "the same number of records"),
        ([tensor("amount", "FP64", [[1, 2]], [1, 2])], "a tensor for each column, or one of 4 numbers"),
        ([tensor("Amount", "FP64", [1])], "the nearest column is amount"),
        ([tensor("amount", "FP64", [[1, 2]], [1, 2]), tensor("express", "BOOL", [True])], "[N] or [N, 1]"),
        ([tensor("predict", "FP64", [1.0])], "a tensor for each column"),
        ([{"name": "amount", "datatype": "FP64", "shape": [1]}], "data: expected a list, got nothing"),
        ([tensor("amount", "FP64", [1], parameters={"binary_data_size": 8})], "as many bytes after the header"),
    ],
)
def test_what_is_not_as_the_protocol_has_it_is_refused(schema, inputs, message):
    with pytest.raises(BodyError) as caught:
        columns(schema, inputs)
    assert message in str(caught.value)
    assert caught.value.code == "invalid_request"


def test_binary_data_must_be_of_the_stated_length(schema):
    bare, data = packed([tensor("amount", "FP64", [1.0, 2.0]), tensor("shop.country", "BYTES", ["a", "b"])])
    for wrong in (data + b"x", data[:-1], b""):
        with pytest.raises(BodyError):
            columns(schema, bare, wrong)
    bare[1]["parameters"]["binary_data_size"] += 4
    with pytest.raises(BodyError, match="got more"):
        columns(schema, bare, data + bytes(4))
    with pytest.raises(BodyError, match="got fewer"):
        columns(schema, [{**bare[1], "shape": [10**12]}], data[16:] + bytes(4))


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        ([tensor("amount", "FP64", [1]), tensor("amuont", "FP64", [1])], (None, "amuont", "unknown_column")),
        ([tensor("amount", "FP64", [1]), tensor("amount", "FP64", [1])], (None, "amount", "duplicate_key")),
        ([tensor("shop.id", "FP64", [1])], (None, None, "no_known_column")),
        ([tensor("amount", "BYTES", ["1", "x"])], (1, "amount", "wrong_type")),
        ([tensor("amount", "BOOL", [None, True])], (1, "amount", "wrong_type")),
        ([tensor("shop.country", "FP32", [1.5])], (0, "shop.country", "wrong_type")),
        ([tensor("express", "INT8", [0, 2])], (1, "express", "wrong_type")),
        ([tensor("amount", "FP32", [1e300])], (0, "amount", "too_large")),
    ],
)
def test_faults_of_records_are_named(schema, inputs, fault):
    with pytest.raises(RecordError) as caught:
        columns(schema, inputs)
    (found,) = caught.value.faults
    assert (found.row, found.column, found.code) == fault


def test_id_parameters_and_outputs_are_kept():
    outputs = [{"name": "score"}, {"name": "kl", "parameters": {"binary_data": True}}]
    request = read(FULL, id="b-17", parameters={"alpha": 0.1}, outputs=outputs)
    assert (request.id, request.parameters, request.records) == ("b-17", {"alpha": 0.1}, 2)
    assert [(output.name, output.binary) for output in request.outputs] == [("score", None), ("kl", True)]
    assert read(FULL).outputs is None
    for rest in ({"id": 5}, {"outputs": {}}, {"outputs": [5]}, {"parameters": []}):
        with pytest.raises(BodyError):
            read(FULL, **rest)


@given(st.data())
@settings(max_examples=300)
def test_whatever_becomes_of_a_sound_request_is_read_or_refused(schema, data):
    bare, binary = packed([tensor("amount", "FP32", [1.0, 2.0]), tensor("shop.country", "BYTES", ["a", "bc"])])
    body = bytearray(json.dumps({"inputs": bare if data.draw(st.booleans()) else FULL}).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(body)))
        new = data.draw(st.sampled_from([b'"', b"{", b"]", b",", b"-1", b"null", b"99999999999", b"true"]))
        body[at : at + data.draw(st.integers(0, 3))] = new
    try:
        faults = Faults(10)
        request = read_request(bytes(body), binary, max_depth=8)
        if request.records <= 100:
            columns_of(request, schema, faults, unknown_columns="reject", max_faults=10)
    except ServiceError:
        pass
