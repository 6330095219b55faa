"""What a model file may hold is what export writes, and all of it."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch
from onnx import AttributeProto

from vaegis.service.model_file import MetadataKey
from vaegis.service.onnx_model import INT, INTS, OPERATORS, STRINGS, TENSOR, metadata_props, read_model
from vaegis.training.export.model_file import generator_document, scoring_model
from vaegis.training.model import prior

pytestmark = pytest.mark.training

GOLDEN = Path(__file__).parents[3] / "golden"
SCHEMAS = ("all", "few values", "numeric", "boolean", "categorical", "timestamp")


@pytest.fixture(scope="module")
def written(new_export, graph_of) -> list[bytes]:
    """Scoring graphs and decoders, of golden files and fresh ones."""
    models = [path.read_bytes() for path in GOLDEN.glob("*.onnx")]
    models += [base64.b64decode(generator_of(model)) for model in models]
    for name, members in itertools.product(SCHEMAS, (1, 3)):
        made = new_export(name, members=members)
        models.append(made.model.proto.SerializeToString())
        if members == 1:
            document = generator_document(made.fitted, made.prepared.schema)
            models.append(base64.b64decode(document.model))
        if name == "all":
            models.append(by_blocks(made, graph_of))
    return models


def by_blocks(made, graph_of) -> bytes:
    """Return the scoring graph as it is where there are many exemplars, which are taken block by block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior, "BLOCK", 8)
        fitted, schema = made.fitted, made.prepared.schema
        rows, values = torch.from_numpy(made.splits.fit), made.prepared.values(fitted.vae)
        module = graph_of(fitted, schema, values, rows)
        return bytes(scoring_model(module, schema).proto.SerializeToString())


def test_graphs_of_any_mix_of_columns_are_read(exported_mix):
    read_model(memoryview(exported_mix.model.proto.SerializeToString()))


def generator_of(model: bytes) -> str:
    document = dict(metadata_props(memoryview(model)))[MetadataKey.GENERATOR]
    return str(document.partition('"model":"')[2].partition('"')[0])


def used(model: bytes) -> Iterator[tuple[tuple[str, str], tuple[str, int] | None]]:
    """Yield each operator of a model with each of its attributes."""
    for node in onnx.load_from_string(model).graph.node:
        operator = (node.domain, node.op_type)
        yield operator, None
        for attribute in node.attribute:
            yield operator, (attribute.name, attribute.type)


def test_every_graph_that_export_writes_is_read(written):
    for model in written:
        read_model(memoryview(model))


def test_what_is_read_is_written_again_field_by_field(written):
    for model in written:
        before, after = onnx.load_from_string(model), onnx.load_from_string(read_model(memoryview(model)).serialized())
        del before.metadata_props[:]
        graph = before.graph
        for message in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
            message.ClearField("doc_string")
        assert after == before


def test_the_list_of_operators_has_those_that_export_writes_and_no_other(written):
    found = set(itertools.chain.from_iterable(map(used, written)))
    assert {operator for operator, _ in found} == set(OPERATORS)
    allowed = {(operator, own) for operator, attributes in OPERATORS.items() for own in attributes.items()}
    assert {use for use in found if use[1] is not None} == allowed


def test_types_of_attributes_are_numbered_as_onnx_does():
    assert (INT, TENSOR, INTS, STRINGS) == (
        AttributeProto.INT,
        AttributeProto.TENSOR,
        AttributeProto.INTS,
        AttributeProto.STRINGS,
    )
