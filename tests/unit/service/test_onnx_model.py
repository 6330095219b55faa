from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaegis.service.onnx_model import MAX_DECLARED_SIZE, OPSETS, metadata_props, read_model
from vaegis.service.operators import OPERATORS, SHAPE_INPUTS

DOUBLE = 11
ROOT = Path(__file__).parents[3]

# The fields of onnx.proto that lead from a model to a tensor, outermost first.
WAYS_TO_A_TENSOR = {
    "initializer": (5,),
    "attribute of a node": (1, 5, 5),
    "list attribute of a node": (1, 5, 10),
    "sparse initializer, values": (15, 1),
    "sparse attribute of a node": (1, 5, 22, 1),
    "initializer of a subgraph": (1, 5, 6, 5),
    "initializer of a list of subgraphs": (1, 5, 11, 5),
}


@pytest.fixture(scope="module")
def golden(golden_model: Path) -> bytes:
    return golden_model.read_bytes()


@pytest.fixture
def refused(golden, hostile):
    """Tell why the golden model with more fields in its graph is refused."""

    def why(additions: bytes) -> str:
        with pytest.raises(ValueError, match="expected") as raised:
            read_model(memoryview(hostile.with_graph(golden, additions)))
        return str(raised.value)

    return why


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


def test_what_is_written_holds_no_more_than_was_read(golden):
    written = read_model(memoryview(golden)).serialized()
    assert metadata_props(memoryview(written)) == []
    assert read_model(memoryview(written)).serialized() == written


@pytest.mark.parametrize("ways", WAYS_TO_A_TENSOR.values(), ids=WAYS_TO_A_TENSOR)
@pytest.mark.parametrize("mark", [(13, b"\x0a\x08location\x12\x02/x"), (14, 1), (14, 0)])
def test_a_tensor_kept_in_another_file_is_refused(refused, field, ways, mark):
    tensor = field(1, 1) + field(2, DOUBLE) + field(8, b"w") + field(9, bytes(8)) + field(*mark)
    reason = refused(nested(field, ways, tensor))
    known = ways in (WAYS_TO_A_TENSOR["initializer"], WAYS_TO_A_TENSOR["attribute of a node"])
    assert ("refers to another file" if known else "the fields that vaegis-train writes") in reason


@pytest.mark.parametrize("ways", WAYS_TO_A_TENSOR.values(), ids=WAYS_TO_A_TENSOR)
def test_a_tensor_named_by_a_tag_of_more_than_32_bits_is_refused(refused, field, hostile, ways):
    tag = hostile.varint((13 << 3 | 2) + 2**32)
    assert refused(nested(field, ways, field(1, 1) + field(2, DOUBLE) + field(8, b"w") + tag + b"\x00"))


@pytest.mark.parametrize(
    ("number", "message"), [(25, "a function"), (20, "training"), (9, "nothing that there is"), (6, "a text")]
)
def test_other_fields_of_a_model_are_refused(golden, field, number, message):
    with pytest.raises(ValueError, match=f"got field {number} of model"):
        read_model(memoryview(golden + field(number, message.encode())))


@pytest.mark.parametrize("wire", [0, 1, 5])
def test_a_text_for_people_of_another_wire_type_is_refused(refused, field, wire):
    content = {0: b"\x01", 1: bytes(8), 5: bytes(4)}[wire]
    assert "got" in refused(bytes([10 << 3 | wire]) + content)


def test_a_second_graph_is_refused_where_others_would_merge_the_two(golden, field):
    with pytest.raises(ValueError, match="expected graph once, got it twice"):
        read_model(memoryview(golden + field(7, b"")))


@pytest.mark.parametrize("operator", ["Loop", "If", "Scan", "RandomNormal", "EyeLike", "Resize", "", "add"])
def test_operators_that_export_does_not_write_are_refused(refused, hostile, operator):
    assert "expected an operator that vaegis-train writes" in refused(hostile.node(operator, ["numbers"], ["x"]))


def test_attributes_that_export_does_not_write_are_refused(refused, field, hostile):
    for attribute in (hostile.integer("axis", 1), hostile.integer("to", 8), field(5, field(1, b"to"))):
        assert refused(hostile.node("Cast", ["numbers"], ["x"], attribute))
    twice = hostile.integer("to", 1) * 2
    assert "expected the attributes" in refused(hostile.node("Cast", ["numbers"], ["x"], twice))
    mixed = field(5, field(1, b"to") + field(3, 1) + field(8, 1) + field(20, 2))
    assert "expected one value of its own type" in refused(hostile.node("Cast", ["numbers"], ["x"], mixed))


@pytest.mark.parametrize(
    ("dims", "raw", "message"),
    [
        ([2], bytes(8), "expected 16 bytes of data"),
        ([2**32, 2**32], b"", "bytes of data"),
        ([2**64 - 1], bytes(8), "none negative"),
        ([1] * 9, bytes(8), "at most 8 dimensions"),
        ([0, 2**40], bytes(8), "expected 0 bytes"),
    ],
)
def test_a_tensor_holds_as_many_bytes_as_its_dimensions_say(refused, field, dims, raw, message):
    tensor = b"".join(field(1, size) for size in dims) + field(2, DOUBLE) + field(8, b"w") + field(9, raw)
    assert message in refused(field(5, tensor))


def test_inputs_and_outputs_of_immense_or_many_dimensions_are_refused(refused, field):
    for dims in ([MAX_DECLARED_SIZE + 1], [2**10, 2**10], [2**63], [1] * 9):
        shape = b"".join(field(1, field(1, size)) for size in dims)
        value = field(1, b"v") + field(2, field(1, field(1, DOUBLE) + field(2, shape)))
        assert "dimensions" in refused(field(12, value))


def test_values_have_one_name_and_come_before_they_are_used(refused, hostile):
    assert "expected outputs of new names" in refused(hostile.node("Identity", ["numbers"], ["numbers"]))
    assert "defined before it" in refused(hostile.node("Identity", ["later"], ["x"]))
    assert "names that differ" in refused(hostile.tensor("numbers", [1.0]))


def test_what_depends_on_constants_and_shapes_alone_is_known(golden, hostile):
    added = (
        hostile.tensor("c", [1.0])
        + hostile.node("Exp", ["c"], ["of_constant"])
        + hostile.node("Shape", ["numbers"], ["shape"])
        + hostile.node("Expand", ["of_constant", "shape"], ["of_both"])
        + hostile.node("Add", ["of_both", "numbers"], ["of_records"])
    )
    before = read_model(memoryview(golden)).settled()
    after = read_model(memoryview(hostile.with_graph(golden, added))).settled()
    assert set(after) - set(before) == {"of_constant", "shape", "of_both"}


@pytest.mark.parametrize("operator", SHAPE_INPUTS)
def test_a_shape_that_depends_on_values_is_refused(refused, hostile, operator):
    size = hostile.node("Cast", ["numbers"], ["size"], hostile.integer("to", 7))
    inputs = ["numbers"] * SHAPE_INPUTS[operator] + ["size"]
    assert "depends on the number of records alone" in refused(size + hostile.node(operator, inputs, ["x"]))


def test_every_input_that_decides_a_shape_is_checked():
    # By ONNX's own schemas, only these inputs are integers, and the places of items to gather.
    onnx = pytest.importorskip("onnx")
    for domain, operator in OPERATORS:
        schema = onnx.defs.get_schema(operator, OPSETS[domain], domain)
        integers = [
            at for at, given in enumerate(schema.inputs) if {*given.types} <= {"tensor(int32)", "tensor(int64)"}
        ]
        if operator not in ("Gather", "GatherElements"):
            assert integers[:1] == ([SHAPE_INPUTS[operator]] if operator in SHAPE_INPUTS else [])


def test_the_document_lists_the_operators():
    text = (ROOT / "docs" / "artifact-format.md").read_text(encoding="utf-8")
    start = text.index("### Operators")
    listed = text[start : text.index("\n## ", start)]
    for _, operator in OPERATORS:
        assert f"`{operator}`" in listed
    assert listed.count("`") // 2 == len(OPERATORS)


@given(st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_of_a_model_is_read_or_a_value_error(golden_model, data):
    message = bytearray(golden_model.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(message) - 1), min_size=1, max_size=4)):
        message[at] = data.draw(st.integers(0, 255))
    for read in (metadata_props, read_model):
        with contextlib.suppress(ValueError):
            read(memoryview(message))
