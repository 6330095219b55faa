from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vaegis.service.protobuf import metadata_props, refers_to_other_files

TENSOR_RAW, TENSOR_EXTERNAL, TENSOR_LOCATION = 9, 13, 14

# The fields of onnx.proto that lead from a model to a tensor, outermost first.
WAYS_TO_A_TENSOR = {
    "initializer": (7, 5),
    "sparse initializer, values": (7, 15, 1),
    "sparse initializer, indices": (7, 15, 2),
    "attribute of a node": (7, 1, 5, 5),
    "list attribute of a node": (7, 1, 5, 10),
    "sparse attribute of a node": (7, 1, 5, 22, 1),
    "list of sparse attributes of a node": (7, 1, 5, 23, 1),
    "initializer of a subgraph": (7, 1, 5, 6, 5),
    "initializer of a list of subgraphs": (7, 1, 5, 11, 5),
    "attribute within two subgraphs": (7, 1, 5, 6, 1, 5, 6, 1, 5, 5),
    "attribute of a function's node": (25, 7, 5, 5),
    "default attribute of a function": (25, 11, 5),
    "initializer of a training graph": (20, 1, 5),
    "initializer of a training algorithm": (20, 2, 5),
}


def nested(field, ways, message):
    for number in reversed(ways):
        message = field(number, message)
    return message


def test_metadata_is_read_in_file_order_and_repeats_are_kept(field):
    entries = [("a", "1"), ("b", "\u00e4 \u4e2d"), ("a", "2")]
    model = b"".join(field(14, field(1, key.encode()) + field(2, value.encode())) for key, value in entries)
    assert metadata_props(memoryview(field(1, 8) + model + field(7, b""))) == entries


def test_an_entry_without_key_or_value_has_empty_ones(field):
    assert metadata_props(memoryview(field(14, b"") + field(14, field(2, b"v")))) == [("", ""), ("", "v")]


def test_metadata_that_is_not_utf8_is_refused(field):
    with pytest.raises(ValueError, match="utf-8"):
        metadata_props(memoryview(field(14, field(1, b"\xff"))))


@pytest.mark.parametrize("ways", WAYS_TO_A_TENSOR.values(), ids=WAYS_TO_A_TENSOR)
def test_a_tensor_kept_in_another_file_is_found(field, ways):
    location = field(1, b"location") + field(2, b"../secret")
    marked = nested(field, ways, field(TENSOR_LOCATION, 1))
    named = nested(field, ways, field(TENSOR_EXTERNAL, location))
    inside = nested(field, ways, field(1, 3) + field(TENSOR_RAW, b"\x00\x01") + field(TENSOR_LOCATION, 0))
    assert refers_to_other_files(memoryview(marked))
    assert refers_to_other_files(memoryview(inside + named))
    assert not refers_to_other_files(memoryview(inside))


def test_the_golden_model_refers_to_no_other_file(golden_model):
    assert not refers_to_other_files(memoryview(golden_model.read_bytes()))


def test_fixed_width_fields_are_stepped_over(field):
    fixed = b"\x25" + struct.pack("<f", 1.0) + b"\x21" + struct.pack("<d", 1.0)
    assert metadata_props(memoryview(fixed + field(14, field(1, b"k")))) == [("k", "")]


def test_nesting_beyond_any_graph_is_refused_without_deep_recursion(field):
    message = b""
    for _ in range(10_000):
        message = field(6, field(1, field(5, message)))
    with pytest.raises(ValueError, match="nested at most"):
        refers_to_other_files(memoryview(field(7, field(1, field(5, message)))))


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a",  # a length is missing
        b"\x0a\x05abc",  # five bytes promised, three there
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # 2^63 bytes promised
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a number of more than ten bytes
        b"\x08\x80",  # a number without its end
        b"\x00\x00",  # field 0
        b"\x0b",  # a group, gone since proto2
        b"\x0d\x00\x00",  # four bytes promised, two there
    ],
)
def test_what_is_no_message_is_refused(message):
    for walk in (metadata_props, refers_to_other_files):
        with pytest.raises(ValueError, match="expected"):
            walk(memoryview(message))


@given(st.binary(max_size=200))
@example(b"\x72\x02\x0a\x05")
@settings(max_examples=1000)
def test_any_bytes_give_an_answer_or_value_error(message):
    for walk in (metadata_props, refers_to_other_files):
        with contextlib.suppress(ValueError):
            walk(memoryview(message))


@given(st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_of_a_model_gives_an_answer_or_value_error(golden_model, data):
    message = bytearray(golden_model.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(message) - 1), min_size=1, max_size=4)):
        message[at] = data.draw(st.integers(0, 255))
    for walk in (metadata_props, refers_to_other_files):
        with contextlib.suppress(ValueError):
            walk(memoryview(message))
