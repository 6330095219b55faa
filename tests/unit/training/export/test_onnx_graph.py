from __future__ import annotations

import base64

import numpy as np
import onnx
import pytest

from vaegis.service.contract import CategoricalColumn
from vaegis.service.runtime import open_session
from vaegis.training.export.onnx_graph import IR_VERSION, ML_OPSET, OPSET

pytestmark = pytest.mark.training


def test_the_graph_is_one_that_onnxruntime_1_17_reads(exported):
    proto = exported.model.proto
    assert proto.ir_version == IR_VERSION <= 9
    opsets = {opset.domain: opset.version for opset in proto.opset_import}
    assert opsets.pop("") == OPSET <= 20
    assert opsets in ({}, {"ai.onnx.ml": ML_OPSET})
    onnx.checker.check_model(proto, full_check=True)


def test_any_number_of_records_goes_in_and_strings_only_where_a_column_is_categorical(exported):
    schema = exported.prepared.schema
    given = {node.name: shape_of(node) for node in exported.model.proto.graph.input}
    expected = {"numbers": ["n", len(schema.number_positions)]}
    if schema.string_positions:
        expected |= {name: ["n", len(schema.string_positions)] for name in ("strings", "strings_observed")}
    assert given == expected


def test_what_comes_out_has_a_row_for_each_record(exported):
    width = len(exported.prepared.schema.columns)
    given = {node.name: shape_of(node) for node in exported.model.proto.graph.output}
    members = exported.fitted.vae.members
    expected = {"score": ["n"], "fold_scores": ["n", members], "reconstruction_error": ["n"], "kl": ["n"]}
    assert given == expected | {"contributions": ["n", width + 1], "expected": ["n", width]}


def shape_of(node: onnx.ValueInfoProto) -> list[str | int]:
    return [getattr(size, size.WhichOneof("value")) for size in node.type.tensor_type.shape.dim]


def test_an_ensemble_takes_no_more_nodes_the_more_members_it_has_and_few_more_than_one_member(new_export):
    one, three, five = (len(new_export("all", members=members).model.proto.graph.node) for members in (1, 3, 5))
    assert three <= 1.06 * one  # more join the members' contributions and find each member's known records
    assert five == three


def test_nothing_of_the_machine_that_exported_it_stands_in_the_file(exported, generator):
    for data in (exported.model.proto.SerializeToString(), base64.b64decode(generator.model)):
        for trace in (b".py", b"/home", b"/tmp", b"/usr", b"site-packages", b"torch."):
            assert trace not in data


def test_nothing_in_the_graph_is_drawn_at_random(exported):
    operators = {node.op_type for node in exported.model.proto.graph.node}
    assert not {name for name in operators if name.startswith(("Random", "Multinomial", "Bernoulli", "Dropout"))}


def test_the_look_up_in_the_graph_knows_every_category(new_export):
    exported = new_export("categorical")
    (country, size) = exported.prepared.schema.columns
    assert isinstance(country, CategoricalColumn)
    assert isinstance(size, CategoricalColumn)
    session = open_session(with_output(exported.model.proto, "codes"))
    values = [*country.categories, "never seen", "", ""]
    observed = [True] * (len(values) - 1) + [False]
    given = session.run(
        ["codes"],
        {
            "numbers": np.zeros((len(values), 0)),
            "strings": np.array([[value, size.categories[0]] for value in values], dtype=object),
            "strings_observed": np.array([[flag, True] for flag in observed]),
        },
    )[0]
    known = len(country.categories)
    assert given[:, 0].tolist() == [*range(known), known, known, -1]
    assert given[:, 1].tolist() == [0] * len(values)


def with_output(proto: onnx.ModelProto, name: str) -> bytes:
    """Return a model that also gives one of its inner values."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    changed.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, None))
    return changed.SerializeToString()
