"""Just enough of the protobuf wire format to look into an ONNX file before any runtime loads it.

The service has no `onnx` package. It needs three things from the bytes: the metadata, the digest at the end,
and certainty that no tensor refers to another file (onnxruntime would open any path that a tensor names).
Field numbers are those of onnx.proto (ONNX IR specification).
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 32
_MOST_BITS, _MORE_FOLLOW = 64, 0x80  # of a varint: its width, and the flag that another byte follows

_METADATA_PROPS = 14
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14

# message -> field number -> message of that field; only the ways that lead to a tensor.
_CHILDREN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse_tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse_tensor", 23: "sparse_tensor"},
    "sparse_tensor": {1: "tensor", 2: "tensor"},
}


def metadata_props(model: memoryview) -> list[tuple[str, str]]:
    """Return the key and value of every metadata entry of an ONNX model, in file order.

    Raises:
        ValueError: the bytes are not a protobuf message, or a key or value is not UTF-8.
    """
    entries = []
    for number, value in _fields(model):
        if number == _METADATA_PROPS and isinstance(value, memoryview):
            entry = {n: bytes(v).decode() for n, v in _fields(value) if isinstance(v, memoryview)}
            entries.append((entry.get(1, ""), entry.get(2, "")))
    return entries


def refers_to_other_files(model: memoryview) -> bool:
    """Return whether any tensor of an ONNX model, at any depth, keeps its data in another file.

    Raises:
        ValueError: the bytes are not a protobuf message, or nest deeper than any graph of ours.
    """
    return _external(model, "model", 0)


def _external(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise ValueError(f"expected messages nested at most {_MAX_DEPTH} deep")
    for number, value in _fields(message):
        if kind == "tensor":
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                return True
        elif isinstance(value, memoryview):
            child = _CHILDREN[kind].get(number)
            if child is not None and _external(value, child, depth + 1):
                return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of each field; fixed-width values as bytes."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("expected a field number, got 0")
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"expected a wire type of 0, 1, 2 or 5, got {wire}")
        if size > end - at:
            raise ValueError(f"expected {size} bytes, got {end - at}")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift >= _MOST_BITS:
            raise ValueError("expected the end of a number")
        byte = message[at]
        at += 1
        value |= (byte & ~_MORE_FOLLOW) << shift
        if byte < _MORE_FOLLOW:
            return value, at
        shift += 7
