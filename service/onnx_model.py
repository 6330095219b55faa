"""ONNX models, read strictly and written anew, so that a runtime gets only what was checked.

A model file is data from elsewhere, and onnxruntime does whatever the file says: it opens other files that a tensor
names, runs loops, and calls functions that the file defines. So its bytes never reach onnxruntime. This module reads
the fields that training's export writes, refuses every other one, and hands on what it writes from them itself.
Field numbers are those of onnx.proto (ONNX IR specification).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vaegis.service.protobuf import field, fields, numbers

IR_VERSION: Final = 8
OPSETS: Final = {"": 18, "ai.onnx.ml": 3}
MAX_NODES: Final = 50_000
MAX_TENSORS: Final = 100_000
MAX_VALUES: Final = 64
"""Inputs, and outputs, of a graph."""
MAX_RANK: Final = 8
MAX_DECLARED_SIZE: Final = 1_000_000
"""Of an input or output for one record, in items."""

INT, TENSOR, INTS, STRINGS = 2, 4, 7, 8
"""Types of attributes, by `AttributeProto.AttributeType` of onnx.proto."""

_AXIS: Final = {"axis": INT}
_KEEPDIMS: Final = {"keepdims": INT}

# None has a subgraph, keeps a state, draws a random number or reads a file. The list is short, so a model file cannot
# reach a loop, or a fault in one of onnxruntime's many other kernels.
OPERATORS: Final[Mapping[tuple[str, str], Mapping[str, int]]] = {
    **{
        ("", name): {}
        for name in (
            *("Abs", "Add", "And", "Clip", "Cos", "Div", "Equal", "Exp", "Expand", "Floor", "Greater"),
            *("GreaterOrEqual", "Identity", "IsNaN", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Min"),
            *("Mul", "Neg", "Not", "Or", "Reciprocal", "Sigmoid", "Sin", "Slice", "Softplus", "Sqrt"),
            *("Squeeze", "Sub", "Tanh", "Tile", "Unsqueeze", "Where"),
        )
    },
    ("", "ArgMax"): {**_AXIS, **_KEEPDIMS, "select_last_index": INT},
    ("", "Cast"): {"to": INT},
    ("", "Concat"): _AXIS,
    ("", "Constant"): {"value": TENSOR},
    ("", "ConstantOfShape"): {"value": TENSOR},
    ("", "Flatten"): _AXIS,
    ("", "Gather"): _AXIS,
    ("", "GatherElements"): _AXIS,
    ("", "ReduceLogSumExp"): _KEEPDIMS,
    ("", "ReduceMean"): _KEEPDIMS,
    ("", "ReduceMin"): _KEEPDIMS,
    ("", "ReduceSum"): _KEEPDIMS,
    ("", "Reshape"): {"allowzero": INT},
    ("", "Shape"): {},
    ("", "Softmax"): _AXIS,
    ("", "Split"): _AXIS,
    ("", "TopK"): {**_AXIS, "largest": INT, "sorted": INT},
    ("", "Transpose"): {"perm": INTS},
    ("ai.onnx.ml", "LabelEncoder"): {"default_int64": INT, "keys_strings": STRINGS, "values_int64s": INTS},
}
"""The operators that training's export writes, by domain and name, with the types of the attributes they may have."""

SHAPE_INPUTS: Final[Mapping[str, int]] = {
    "ConstantOfShape": 0,
    **dict.fromkeys(("Expand", "Reshape", "Slice", "Split", "Squeeze", "Tile", "TopK", "Unsqueeze"), 1),
    **{name: 1 for _, name in OPERATORS if name.startswith("Reduce")},
}
"""Operators whose output shape depends on values of inputs, with the position of the first such input."""

_FLOAT, _INT32, _INT64, _STRING, _BOOL, _DOUBLE = 1, 6, 7, 8, 9, 11
_ITEM_BYTES: Final = {_FLOAT: 4, _INT64: 8, _DOUBLE: 8}
_VALUE_TYPES: Final = frozenset({_FLOAT, _INT64, _STRING, _BOOL, _DOUBLE})
_CAST_TYPES: Final = frozenset({_FLOAT, _INT32, _INT64, _BOOL, _DOUBLE})
_METADATA_PROPS: Final = 14
_SIGN: Final = 1 << 63

Message: TypeAlias = dict[str, Any]


class _Field(NamedTuple):
    """A field that is known; ``kind`` is int, text, bytes, unused (for people), external, or a message."""

    name: str
    kind: str
    repeated: bool = False


_MESSAGES: Final[dict[str, dict[int, _Field]]] = {
    "model": {
        1: _Field("ir_version", "int"),
        2: _Field("producer_name", "text"),
        3: _Field("producer_version", "text"),
        7: _Field("graph", "graph"),
        8: _Field("opset_import", "opset", repeated=True),
        _METADATA_PROPS: _Field("metadata_props", "unused", repeated=True),
    },
    "opset": {1: _Field("domain", "text"), 2: _Field("version", "int")},
    "graph": {
        1: _Field("node", "node", repeated=True),
        2: _Field("name", "text"),
        5: _Field("initializer", "tensor", repeated=True),
        10: _Field("doc_string", "unused"),
        11: _Field("input", "value", repeated=True),
        12: _Field("output", "value", repeated=True),
    },
    "node": {
        1: _Field("input", "text", repeated=True),
        2: _Field("output", "text", repeated=True),
        3: _Field("name", "text"),
        4: _Field("op_type", "text"),
        5: _Field("attribute", "attribute", repeated=True),
        6: _Field("doc_string", "unused"),
        7: _Field("domain", "text"),
    },
    "attribute": {
        1: _Field("name", "text"),
        3: _Field("i", "int"),
        5: _Field("t", "tensor"),
        8: _Field("ints", "int", repeated=True),
        9: _Field("strings", "bytes", repeated=True),
        13: _Field("doc_string", "unused"),
        20: _Field("type", "int"),
    },
    "tensor": {
        1: _Field("dims", "int", repeated=True),
        2: _Field("data_type", "int"),
        8: _Field("name", "text"),
        9: _Field("raw_data", "bytes"),
        12: _Field("doc_string", "unused"),
        13: _Field("external_data", "external"),
        14: _Field("data_location", "external"),
    },
    "value": {1: _Field("name", "text"), 2: _Field("type", "type"), 3: _Field("doc_string", "unused")},
    "type": {1: _Field("tensor_type", "tensor type")},
    "tensor type": {1: _Field("elem_type", "int"), 2: _Field("shape", "shape")},
    "shape": {1: _Field("dim", "dimension", repeated=True)},
    "dimension": {1: _Field("dim_value", "int"), 2: _Field("dim_param", "text")},
}
_MOST: Final = {"node": MAX_NODES, "initializer": MAX_TENSORS, "input": MAX_VALUES, "output": MAX_VALUES}
_ATTRIBUTE_FIELDS: Final = {INT: "i", TENSOR: "t", INTS: "ints", STRINGS: "strings"}


def metadata_props(model: memoryview) -> list[tuple[str, str]]:
    """Return the key and value of every metadata entry of an ONNX model, in file order.

    Raises:
        ValueError: the bytes are not a protobuf message, or a key or value is not UTF-8.
    """
    entries = []
    for number, value in fields(model):
        if number == _METADATA_PROPS and isinstance(value, memoryview):
            entry = {n: bytes(v).decode() for n, v in fields(value) if isinstance(v, memoryview)}
            entries.append((entry.get(1, ""), entry.get(2, "")))
    return entries


def more_outputs(names: Iterable[str]) -> bytes:
    """Return what adds outputs of these names to a serialised model when it is appended: protobuf merges the two."""
    return field(7, b"".join(field(12, field(1, name.encode())) for name in names))


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A model whose every field was checked, without its metadata."""

    _message: Message

    def serialized(self) -> bytes:
        """Return the model as bytes for a runtime."""
        return _written(self._message, "model")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        return tuple(value["name"] for value in self._message["graph"]["output"])

    def table_indexed_by(self, name: str) -> NDArray[np.float32] | None:
        """Return the constant table of floats of which the graph gathers the rows that an input names, if it does."""
        graph: Message = self._message["graph"]
        tables = {node["input"][0] for node in graph["node"] if node["op_type"] == "Gather" and name in node["input"]}
        for tensor in graph["initializer"]:
            if tensor["name"] in tables and tensor["data_type"] == _FLOAT:
                return np.frombuffer(tensor["raw_data"] or b"", np.dtype("<f4")).reshape(tensor["dims"])
        return None

    def settled(self) -> tuple[str, ...]:
        """Return the values that depend on constants and shapes alone, which a runtime may compute when it loads."""
        graph: Message = self._message["graph"]
        settled, outputs = _settled(graph), {"", *self.outputs}
        computed = (node["output"] for node in graph["node"] if node["op_type"] != "Constant")
        return tuple(name for name in chain.from_iterable(computed) if name in settled and name not in outputs)


def read_model(data: memoryview) -> OnnxModel:
    """Read a model whose every field, operator and attribute is one that training's export writes.

    Raises:
        ValueError: it has another, or not the form that it must have; the message tells where.
    """
    model = _read(data, "model")
    if model["ir_version"] != IR_VERSION:
        raise ValueError(f"expected ONNX IR version {IR_VERSION}, got {model['ir_version']}")
    opsets = [(opset["domain"], opset["version"]) for opset in model["opset_import"]]
    if len(dict(opsets)) != len(opsets) or "" not in dict(opsets) or not OPSETS.items() >= set(opsets):
        raise ValueError(f"expected operator sets among {OPSETS}, the first always, got {opsets}")
    if model["graph"] is None:
        raise ValueError("expected a graph, got none")
    _check_graph(model["graph"])
    return OnnxModel(model)


def _read(message: memoryview, kind: str) -> Message:
    """Return the fields of a message by name: a list where a field is repeated, else its value, None if absent."""
    known = _MESSAGES[kind]
    found: Message = {form.name: [] if form.repeated else None for form in known.values() if form.kind != "unused"}
    for number, value in fields(message, has_fixed=False):
        form = known.get(number)
        if form is None or (form.kind == "unused" and isinstance(value, int)):
            raise ValueError(f"expected the fields that vaegis-train writes, got field {number} of {kind}")
        name = form.name
        if form.repeated and form.kind != "unused":
            if form.kind == "int" and isinstance(value, memoryview):
                found[name] += map(_signed, numbers(value))
            else:
                found[name].append(_value(value, form, len(found[name])))
        elif form.kind == "external":
            raise ValueError("expected all tensors inside the file, got one that refers to another file")
        elif form.kind != "unused":
            if found[name] is not None:
                raise ValueError(f"expected {name} once, got it twice")
            found[name] = _value(value, form)
    for form in known.values():
        if form.kind == "text" and found[form.name] is None:
            found[form.name] = ""  # protobuf's own default
    return found


def _value(value: int | memoryview, form: _Field, at: int | None = None) -> Any:  # noqa: ANN401 - by the field's kind
    kind = form.kind
    if isinstance(value, int):
        if kind == "int":
            return _signed(value)
    elif kind == "text":
        return str(value, "utf-8")
    elif kind == "bytes":
        return value
    elif kind != "int":
        try:
            return _read(value, kind)
        except ValueError as error:
            place = form.name if at is None else f"{form.name}[{at}]"
            raise ValueError(f"{place}: {error}") from error
    raise ValueError(f"{form.name}: expected a field of the kind {kind}, got another")


def _signed(value: int) -> int:
    return value - (value & _SIGN) * 2


def _written(found: Message, kind: str) -> bytes:
    """Return a message as bytes, in the order of its field numbers."""
    parts: list[bytes] = []
    for number, form in _MESSAGES[kind].items():
        value = found.get(form.name)
        for item in value if form.repeated and value is not None else (value,):
            if item is None or (item == "" and not form.repeated):
                continue
            if form.kind == "int":
                parts.append(field(number, item % (2 * _SIGN)))
            elif form.kind == "text":
                parts.append(field(number, item.encode()))
            else:
                parts.append(field(number, item if form.kind == "bytes" else _written(item, form.kind)))
    return b"".join(parts)


def _check_graph(graph: Message) -> None:
    for what, most in _MOST.items():
        if len(graph[what]) > most:
            raise ValueError(f"graph: expected at most {most} of {what}, got {len(graph[what])}")
    for what in ("input", "output"):
        for at, value in enumerate(graph[what]):
            _check_value(value, f"graph.{what}[{at}]")
    for at, tensor in enumerate(graph["initializer"]):
        _check_tensor(tensor, f"graph.initializer[{at}]")
    for at, node in enumerate(graph["node"]):
        _check_node(node, f"graph.node[{at}]")
    _check_order(graph)
    _check_shapes(graph)


def _check_order(graph: Message) -> None:
    """Check that each value has one name and is defined before it is used, on which `_settled` relies."""
    defined: set[str] = set()
    for value in (*graph["input"], *graph["initializer"]):
        if not value["name"] or value["name"] in defined:
            raise ValueError(
                f"graph: expected inputs and initializers of names that differ, got {value['name']!r:.100}"
            )
        defined.add(value["name"])
    for at, node in enumerate(graph["node"]):
        if not defined.issuperset(filter(None, node["input"])):
            raise ValueError(f"graph.node[{at}]: expected inputs that are defined before it, got another")
        for name in filter(None, node["output"]):
            if name in defined:
                raise ValueError(f"graph.node[{at}]: expected outputs of new names, got {name!r:.100} again")
            defined.add(name)


def _check_shapes(graph: Message) -> None:
    """Check that each shape follows from the number of records, so that their values do not decide what a run takes."""
    settled = _settled(graph)
    for at, node in enumerate(graph["node"]):
        first = SHAPE_INPUTS.get(node["op_type"])
        if first is not None and not settled.issuperset(node["input"][first:]):
            raise ValueError(
                f"graph.node[{at}]: expected a shape that depends on the number of records alone, got one that depends "
                "on their values"
            )


def _settled(graph: Message) -> set[str]:
    """Return the names of the values that depend on constants and shapes alone, and of the input that is left out."""
    settled = {tensor["name"] for tensor in graph["initializer"]} | {""}
    for node in graph["node"]:
        if node["op_type"] == "Shape" or settled.issuperset(node["input"]):
            settled.update(node["output"])
    return settled


def _check_node(node: Message, place: str) -> None:
    operator = (node["domain"], node["op_type"])
    if operator not in OPERATORS:
        shown = ":".join(part[:100] for part in operator if part)
        raise ValueError(f"{place}: expected an operator that vaegis-train writes, got {shown!r}")
    allowed = OPERATORS[operator]
    seen: set[str] = set()
    for attribute in node["attribute"]:
        name, kind = attribute["name"], attribute["type"]
        if name in seen or kind is None or allowed.get(name) != kind:
            raise ValueError(
                f"{place}: expected the attributes that vaegis-train gives to {operator[1]}, got {name[:100]!r}"
            )
        seen.add(name)
        filled = {own for own in _ATTRIBUTE_FIELDS.values() if attribute[own] not in ([], None)}
        if name == "to" and attribute["i"] not in _CAST_TYPES:
            raise ValueError(f"{place}: expected a cast to one of the types {sorted(_CAST_TYPES)}")
        if not filled <= {_ATTRIBUTE_FIELDS[kind]}:
            raise ValueError(f"{place}.{name}: expected one value of its own type, got others")
        if kind == TENSOR:
            if attribute["t"] is None:
                raise ValueError(f"{place}.{name}: expected a tensor, got none")
            _check_tensor(attribute["t"], f"{place}.{name}")


def _check_tensor(tensor: Message, place: str) -> None:
    dims = tensor["dims"]
    if tensor["data_type"] not in _ITEM_BYTES:
        raise ValueError(f"{place}: expected a tensor of the types {sorted(_ITEM_BYTES)}, got {tensor['data_type']}")
    if len(dims) > MAX_RANK or any(size < 0 for size in dims):
        raise ValueError(f"{place}: expected at most {MAX_RANK} dimensions, none negative")
    size, stored = math.prod(dims) * _ITEM_BYTES[tensor["data_type"]], len(tensor["raw_data"] or b"")
    if size != stored:
        raise ValueError(f"{place}: expected {size} bytes of data by its dimensions, got {stored}")


def _check_value(value: Message, place: str) -> None:
    tensor = (value["type"] or {}).get("tensor_type")
    if not value["name"] or tensor is None or tensor["elem_type"] not in _VALUE_TYPES:
        raise ValueError(f"{place}: expected a name and a tensor of the types {sorted(_VALUE_TYPES)}")
    sizes = [1 if dim["dim_value"] is None else dim["dim_value"] for dim in (tensor["shape"] or {"dim": []})["dim"]]
    if len(sizes) > MAX_RANK or min(sizes, default=0) < 0 or math.prod(sizes) > MAX_DECLARED_SIZE:
        raise ValueError(
            f"{place}: expected at most {MAX_RANK} dimensions, none negative, of at most {MAX_DECLARED_SIZE} items "
            "for a record"
        )
