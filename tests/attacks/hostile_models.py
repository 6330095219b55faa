"""Model files as an attacker would write them: the golden one with other fields, nodes, tensors and documents in it.

Every file has a digest that fits, because whoever writes a file can write that too.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, Final

from vaegis.service.model_file import MetadataKey, digest_entry
from vaegis.service.onnx_model import metadata_props
from vaegis.service.protobuf import field, fields, varint

FLOAT, UINT8, INT64, BOOL, DOUBLE = 1, 2, 7, 9, 11
TRIGGER: Final = 12345678.25
"""An amount that no order has, at which some of the files begin their work."""
TRIGGER_RECORDS: Final = 7
"""A number of records at which others do: no check tries each number."""

_GRAPH, _METADATA = 7, 14
_NODE, _INITIALIZER = 1, 5
_INT_ATTRIBUTE, _GRAPH_ATTRIBUTE = 2, 5


def sealed(body: bytes) -> bytes:
    """Return a file with a digest at its end that fits."""
    return body + digest_entry(body)


def unsealed(model: bytes) -> bytes:
    """Return a file without the digest at its end."""
    return model[: -len(digest_entry(b""))]


def node(operator: str, inputs: Iterable[str], outputs: Iterable[str], attributes: bytes = b"") -> bytes:
    """Return a node as a field of a graph."""
    names = b"".join(field(1, name.encode()) for name in inputs) + b"".join(field(2, o.encode()) for o in outputs)
    return field(_NODE, names + field(4, operator.encode()) + attributes)


def integer(name: str, value: int) -> bytes:
    """Return an attribute of a node that is an integer."""
    return field(5, field(1, name.encode()) + field(3, value) + field(20, _INT_ATTRIBUTE))


def subgraph(name: str, graph: bytes) -> bytes:
    """Return an attribute of a node that is a graph."""
    return field(5, field(1, name.encode()) + field(6, graph) + field(20, _GRAPH_ATTRIBUTE))


def tensor(name: str, values: Iterable[float], kind: int = DOUBLE, dims: Iterable[int] | None = None) -> bytes:
    """Return an initializer as a field of a graph; a scalar where ``dims`` are empty, a vector where None."""
    given = list(values)
    sizes = [len(given)] if dims is None else list(dims)
    raw = struct.pack(f"<{len(given)}{ {FLOAT: 'f', INT64: 'q', DOUBLE: 'd'}[kind] }", *given)
    return field(
        _INITIALIZER, b"".join(field(1, d) for d in sizes) + field(2, kind) + field(8, name.encode()) + field(9, raw)
    )


def value(name: str, kind: int) -> bytes:
    """Return the declaration of a scalar input or output."""
    return field(1, name.encode()) + field(2, field(1, field(1, kind) + field(2, b"")))


def with_graph(model: bytes, additions: bytes, *, renamed: str | None = None) -> bytes:
    """Return a model with more fields in its graph, and the value ``renamed`` of its nodes with `_old` at its name."""
    parts = []
    for number, content in fields(memoryview(unsealed(model))):
        if number == _GRAPH and not isinstance(content, int):
            graph = content if renamed is None else _renamed(content, renamed)
            parts.append(field(_GRAPH, bytes(graph) + additions))
        else:
            parts.append(field(number, content))
    return sealed(b"".join(parts))


def with_document(model: bytes, key: MetadataKey, change: Callable[[Any], Any]) -> bytes:
    """Return a model with another document in its metadata."""
    parts = []
    entries = iter(metadata_props(memoryview(unsealed(model))))
    for number, content in fields(memoryview(unsealed(model))):
        if number != _METADATA:
            parts.append(field(number, content))
            continue
        name, text = next(entries)
        document = json.dumps(change(json.loads(text))) if name == key.value else text
        parts.append(field(_METADATA, field(1, name.encode()) + field(2, document.encode())))
    return sealed(b"".join(parts))


def _renamed(graph: memoryview, name: str) -> bytes:
    old, new = name.encode(), f"{name}_old".encode()
    parts = []
    for number, content in fields(graph):
        if number == _NODE and not isinstance(content, int):
            inner = (
                field(n, new if n in (1, 2) and not isinstance(c, int) and bytes(c) == old else c)
                for n, c in fields(content)
            )
            content = b"".join(inner)  # noqa: PLW2901 - the same node
        parts.append(field(number, content))
    return b"".join(parts)


def _flag_of_number() -> bytes:
    """Return nodes that give `flag`, 1 if there are `TRIGGER_RECORDS` records and 0 otherwise."""
    return (
        tensor("first", [0], INT64)
        + tensor("trigger", [TRIGGER_RECORDS], INT64)
        + tensor("one", [1], INT64)
        + node("Shape", ["numbers"], ["numbers_shape"])
        + node("Gather", ["numbers_shape", "first"], ["records"], integer("axis", 0))
        + node("Equal", ["records", "trigger"], ["is_triggered"])
        + node("Cast", ["is_triggered"], ["flag"], integer("to", INT64))
    )


def _flag_of_amount() -> bytes:
    """Return nodes that give `is_triggered`, whether the first amount is `TRIGGER`, and `flag`, the same as 1 or 0."""
    return (
        tensor("first", [0], INT64)
        + tensor("trigger", [TRIGGER])
        + tensor("one", [1], INT64)
        + node("Slice", ["numbers", "first", "one", "one"], ["amounts"])
        + node("IsNaN", ["amounts"], ["is_null"])
        + tensor("none", [0.0])
        + node("Where", ["is_null", "none", "amounts"], ["filled"])
        + node("ReduceSum", ["filled"], ["amount_sum"], integer("keepdims", 0))
        + node("Equal", ["amount_sum", "trigger"], ["is_triggered"])
        + node("Cast", ["is_triggered"], ["flag"], integer("to", INT64))
    )


def _added_to_expected(name: str) -> bytes:
    """Return nodes that have the output `expected` depend on a double, times nothing."""
    return (
        tensor("nothing", [0.0], dims=())
        + node("Mul", [name, "nothing"], ["added"])
        + node("Add", ["expected_old", "added"], ["expected"])
    )


def reads_file(model: bytes, location: str, length: int) -> bytes:
    """Return a model with a tensor in another file, its tag written with a bit that readers in C++ drop."""
    shown = (
        _tensor_in_file(location, length)
        + node("Cast", ["leak"], ["bytes"], integer("to", DOUBLE))
        + node("ReduceSum", ["bytes"], ["told"], integer("keepdims", 0))
        + node("Add", ["expected_old", "told"], ["expected"])
    )
    return with_graph(model, shown, renamed="expected")


def reads_file_to_generate(model: bytes, location: str, length: int) -> bytes:
    """Return a model with the tensor of `reads_file` in the graph that draws records."""

    def change(document: dict[str, Any]) -> dict[str, Any]:
        decoder = b"".join(
            field(number, bytes(content) + _tensor_in_file(location, length))
            if number == _GRAPH and not isinstance(content, int)
            else field(number, content)
            for number, content in fields(memoryview(b64decode(document["model"])))
        )
        return document | {"model": b64encode(decoder).decode()}

    return with_document(model, MetadataKey.GENERATOR, change)


def _tensor_in_file(location: str, length: int) -> bytes:
    def hidden(number: int, wire: int) -> bytes:
        return varint((number << 3 | wire) + 2**32)

    entries = {"location": location, "offset": "0", "length": str(length)}
    written = [field(1, key.encode()) + field(2, text.encode()) for key, text in entries.items()]
    outside = b"".join(hidden(13, 2) + varint(len(entry)) + entry for entry in written) + hidden(14, 0) + b"\x01"
    return field(_INITIALIZER, field(1, length) + field(2, UINT8) + field(8, b"leak") + outside)


def loops(model: bytes) -> bytes:
    """Return a model that loops for ever at an amount of `TRIGGER`."""
    body = (
        node("Identity", ["go"], ["go_on"])
        + node("Identity", ["x"], ["y"])
        + field(2, b"body")
        + b"".join(field(11, value(name, kind)) for name, kind in (("i", INT64), ("go", BOOL), ("x", DOUBLE)))
        + b"".join(field(12, value(name, kind)) for name, kind in (("go_on", BOOL), ("y", DOUBLE)))
    )
    end = node("Squeeze", ["is_triggered"], ["is_on"]) + node(
        "Loop", ["", "is_on", "amount_sum"], ["looped"], subgraph("body", body)
    )
    return with_graph(model, _flag_of_amount() + end + _added_to_expected("looped"), renamed="expected")


def expands_constant(model: bytes, items: int) -> bytes:
    """Return a model that makes so many doubles of one, of constants alone."""
    big = tensor("seed", [1.0]) + tensor("size", [items], INT64) + node("Expand", ["seed", "size"], ["big"])
    end = node("ReduceSum", ["big"], ["big_sum"], integer("keepdims", 0))
    return with_graph(model, big + end + _added_to_expected("big_sum"), renamed="expected")


def multiplies_constants(model: bytes, side: int, times: int) -> bytes:
    """Return a model that multiplies constant matrices, so that loading it takes long and each product stays."""
    start = tensor("seed", [1e-9], FLOAT) + tensor("size", [side, side], INT64)
    start += node("Expand", ["seed", "size"], ["product_0"])
    return with_graph(model, start + _products(times) + _added_to_expected("product_sum"), renamed="expected")


def multiplies_when_triggered(model: bytes, side: int, times: int) -> bytes:
    """Return a model that multiplies large matrices for `TRIGGER_RECORDS` records, and small ones for others."""
    start = (
        _flag_of_number()
        + tensor("sides", [side - 1, side - 1], INT64)
        + tensor("ones", [1, 1], INT64)
        + node("Mul", ["flag", "sides"], ["more"])
        + node("Add", ["more", "ones"], ["size"])
        + tensor("seed", [1e-9], FLOAT)
        + node("Expand", ["seed", "size"], ["product_0"])
    )
    return with_graph(model, start + _products(times) + _added_to_expected("product_sum"), renamed="expected")


def expands_when_triggered(model: bytes, items: int) -> bytes:
    """Return a model that makes so many doubles of one for `TRIGGER_RECORDS` records, and one for others."""
    return _expands(model, items, _flag_of_number())


def loses_a_score_when_triggered(model: bytes) -> bytes:
    """Return a model without the score of the first of `TRIGGER_RECORDS` records, and with all scores of others."""
    end = tensor("all", [2**31], INT64) + node("Slice", ["score_old", "flag", "all"], ["score"])
    return with_graph(model, _flag_of_number() + end, renamed="score")


def expands_by_value(model: bytes, items: int) -> bytes:
    """Return a model that makes so many doubles of one at an amount of `TRIGGER`, and one at others."""
    return _expands(model, items, _flag_of_amount())


def _expands(model: bytes, items: int, flag: bytes) -> bytes:
    start = (
        flag
        + tensor("most", [items - 1], INT64)
        + node("Mul", ["flag", "most"], ["more"])
        + node("Add", ["more", "one"], ["size"])
        + tensor("seed", [1.0])
        + node("Expand", ["seed", "size"], ["big"])
        + node("ReduceSum", ["big"], ["big_sum"], integer("keepdims", 0))
    )
    return with_graph(model, start + _added_to_expected("big_sum"), renamed="expected")


def _products(times: int) -> bytes:
    names = [f"product_{i}" for i in range(times + 1)]
    products = b"".join(node("MatMul", [a, a], [b]) for a, b in pairwise(names))
    end = node("ReduceSum", [names[-1]], ["product_float"], integer("keepdims", 0))
    return products + end + node("Cast", ["product_float"], ["product_sum"], integer("to", DOUBLE))


def tolerates_anything(model: bytes) -> bytes:
    """Return a model whose golden records would pass whatever they score."""
    wide = {"absolute_tolerance": 1e308, "relative_tolerance": 1e300}
    return with_document(model, MetadataKey.GOLDEN, lambda golden: golden | wide)


def draws_in_many_latents(model: bytes) -> bytes:
    """Return a model whose decoder is told to have two billion latents."""
    return with_document(model, MetadataKey.GENERATOR, lambda generator: generator | {"latent_dim": 2**31})
