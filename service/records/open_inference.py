"""Inference requests of the Open Inference Protocol, version 2: records as tensors by column, in JSON or in binary.

The protocol: https://github.com/kserve/open-inference-protocol; the binary form is Triton's extension of it.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.records.arrow.types import ArrowKind, ArrowType
from vaegis.service.records.arrow.values import ArrowValues, broken_texts, cells_of
from vaegis.service.records.blocks import BodyError
from vaegis.service.records.cells import columns_of_cells
from vaegis.service.records.column_names import UnknownColumns, accepted_names, nearest, positions_of, shown
from vaegis.service.records.faults import Faults
from vaegis.service.records.json import null_for_nan, parse_json
from vaegis.service.records.kinds import kind_of

DATATYPES: Final = {
    kind.name: kind
    for kind in (
        ArrowType("BOOL", ArrowKind.BOOLEAN, form="?"),
        ArrowType("BYTES", ArrowKind.TEXT),
        *(ArrowType(f"INT{bits}", ArrowKind.INTEGER, form=f"<i{bits // 8}") for bits in (8, 16, 32, 64)),
        *(ArrowType(f"UINT{bits}", ArrowKind.INTEGER, form=f"<u{bits // 8}") for bits in (8, 16, 32, 64)),
        *(ArrowType(f"FP{bits}", ArrowKind.FLOAT, form=f"<f{bits // 8}") for bits in (16, 32, 64)),
    )
}
"""Datatypes of tensors, by name."""

_TAKES: Final[Mapping[ArrowKind, set[type]]] = {
    ArrowKind.TEXT: {str},
    ArrowKind.BOOLEAN: {bool},
    ArrowKind.INTEGER: {int},
    ArrowKind.FLOAT: {float, int},
}
_BLANK: Final[Mapping[ArrowKind, object]] = {
    ArrowKind.TEXT: "",
    ArrowKind.BOOLEAN: False,
    ArrowKind.INTEGER: 0,
    ArrowKind.FLOAT: 0.0,
}
_LENGTH_BYTES: Final = 4
_MOST_DIMENSIONS: Final = 2
_UNSUPPORTED: Final = ("classification", "shared_memory_region")
"""Parameters of outputs, in extensions of Triton, that ask for another answer than is given here."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input, whose values are read when they are asked for.

    Attributes:
        name: Its name.
        type: Of its values.
        records: How many records it is of.
        width: Values a record.
        data: Its values as JSON has them, or their bytes.
        is_base64: Whether its texts are written in base64, as the parameter `content_type` says.
    """

    name: str
    type: ArrowType
    records: int
    width: int
    data: list[object] | bytes
    is_base64: bool = False

    def values(self) -> ArrowValues:
        """Return all values, record by record.

        Raises:
            BodyError: they are not of the type, or not as many as there should be.
        """
        count = self.records * self.width
        if isinstance(self.data, bytes):
            return self._unpacked(self.data, count)
        if len(self.data) != count:
            self._fail(f"{count} values as its shape says, got {len(self.data)}")
        valid = np.array([value is not None for value in self.data], dtype=np.bool_)
        return self._values(self._converted(self.data), None if valid.all() else valid)

    def _values(self, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> ArrowValues:
        if self.is_base64:
            values = self._decoded(values)
        broken = broken_texts(values.tolist()) if self.type.kind is ArrowKind.TEXT else None
        return ArrowValues(self.type, values, valid, broken=broken)

    def _converted(self, data: Sequence[object]) -> NDArray[Any]:
        kind = self.type.kind
        filled: list[Any] = [_BLANK[kind] if value is None else value for value in data]
        if not {*map(type, filled)} <= _TAKES[kind]:
            self._fail(f"values of the datatype {self.type.name}, got others")
        if kind is ArrowKind.INTEGER and filled:
            bounds = np.iinfo(self.type.form)
            if min(filled) < bounds.min or max(filled) > bounds.max:
                self._fail(f"values of the datatype {self.type.name}, got larger ones")
        if kind is not ArrowKind.FLOAT:
            return np.array(filled, dtype=self.type.form or object)
        try:
            with np.errstate(over="ignore"):
                return np.array(filled, dtype=np.float64).astype(self.type.form)
        except OverflowError:  # an integer beyond float64
            return self._fail(f"values of the datatype {self.type.name}, got larger ones")

    def _unpacked(self, data: bytes, count: int) -> ArrowValues:
        if self.type.kind is ArrowKind.TEXT:
            return self._values(self._texts(data, count), None)
        values = np.dtype(self.type.form)
        if len(data) != count * values.itemsize:
            self._fail(f"{count * values.itemsize} bytes as its shape and datatype say, got {len(data)}")
        return ArrowValues(self.type, np.frombuffer(data, dtype=values), None)

    def _texts(self, data: bytes, count: int) -> NDArray[np.object_]:
        if count * _LENGTH_BYTES > len(data):
            self._fail(f"{count} texts as its shape says, got fewer")
        texts = np.empty(count, dtype=object)
        at = 0
        for index in range(count):
            start = at + _LENGTH_BYTES
            at = start + int.from_bytes(data[at:start], "little")
            if at > len(data) or start > len(data):
                self._fail("texts that each follow their length, got an end within one")
            texts[index] = data[start:at].decode("utf-8", "surrogateescape")
        if at != len(data):
            self._fail(f"{count} texts as its shape says, got more")
        return texts

    def _decoded(self, texts: NDArray[Any]) -> NDArray[np.object_]:
        decoded = np.empty(len(texts), dtype=object)
        for index, text in enumerate(texts.tolist()):
            try:
                decoded[index] = b64decode(text, validate=True).decode("utf-8", "surrogateescape")
            except ValueError:
                self._fail("texts in base64, as its content_type says, got others")
        return decoded

    def _fail(self, detail: str) -> NoReturn:
        raise request_error(f"inputs.{shown(self.name)}: expected {detail}")


@dataclass(frozen=True, slots=True)
class AskedOutput:
    """An output that is asked for. ``binary`` is None where that is left to the request as a whole."""

    name: str
    binary: bool | None


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request.

    Attributes:
        id: What the answer has to repeat; None if there is none.
        parameters: Those of the request as a whole.
        inputs: The tensors, at least one, all of as many records.
        outputs: What is asked for; None for all that there is.
    """

    id: str | None
    parameters: Mapping[str, object]
    inputs: tuple[Tensor, ...]
    outputs: tuple[AskedOutput, ...] | None

    @property
    def records(self) -> int:
        """Number of records."""
        return self.inputs[0].records


def request_error(message: str) -> BodyError:
    """Return the error of a request that is not as the protocol has it."""
    return BodyError("invalid_request", message)


def read_request(header: bytes, binary: bytes, *, max_depth: int) -> InferRequest:
    """Return what a request says.

    Args:
        header: The JSON part of it.
        binary: The bytes of its tensors, one after the other, that follow the JSON part.
        max_depth: Levels of arrays and objects within each other.

    Raises:
        BodyError: It is not as the protocol has it.
    """
    document = _typed(parse_json(header, max_depth=max_depth, constant=null_for_nan), dict, "request")
    inputs = _typed(document.get("inputs"), list, "inputs")
    tensors: list[Tensor] = []
    at = 0
    for item in inputs:
        tensor = _tensor(_typed(item, dict, "inputs"), binary, at)
        at += len(tensor.data) if isinstance(tensor.data, bytes) else 0
        tensors.append(tensor)
    if at != len(binary):
        raise request_error(f"request: expected {at} bytes after the header, got {len(binary)}")
    if len({tensor.records for tensor in tensors}) != 1:
        raise request_error("inputs: expected one or more tensors with the same number of records, got others")
    asked = document.get("outputs")
    if asked == []:  # clients write an empty list where they mean all
        asked = None
    request_id = document.get("id")
    return InferRequest(
        id=None if request_id is None else _typed(request_id, str, "id"),
        parameters=_parameters(document, "parameters"),
        inputs=tuple(tensors),
        outputs=None if asked is None else tuple(map(_output, _typed(asked, list, "outputs"))),
    )


def columns_of(
    request: InferRequest, schema: Schema, faults: Faults, *, unknown_columns: UnknownColumns, max_faults: int
) -> Columns:
    """Return the records of a request by column.

    There is either a tensor for each column, of the shape [N] or [N, 1], or one of numbers of the shape [N, D] that
    holds all D columns of the schema in their order.

    Args:
        request: The request.
        schema: The columns to fill.
        faults: Collects a fault for each value that its column refuses, which then is null.
        unknown_columns: Whether a tensor of no column's name is refused.
        max_faults: Most faults of names that are listed; the others are counted.

    Raises:
        BodyError: A tensor is not of its shape or datatype.
        RecordError: The names of the tensors do not fit the schema.
    """
    first, width = request.inputs[0], len(schema.columns)
    if len(request.inputs) == 1 and (first.width != 1 or first.name not in accepted_names(schema)):
        if first.type.kind is ArrowKind.TEXT or first.width != width:
            hint = f"; one record is of shape [1, {first.records}]" if first.width == 1 else ""
            if first.name not in schema.names and (like := nearest(first.name, schema.names)):
                hint = f"; the nearest column is {shown(like)}"
            raise request_error(
                f"inputs.{shown(first.name)}: expected a tensor for each column, or one of {width} numbers a "
                f"record in the order of the schema, got {first.width}{hint}"
            )
        whole = first.values()
        found = {
            name: ArrowValues(
                first.type, whole.values[at::width], None if whole.valid is None else whole.valid[at::width]
            )
            for at, name in enumerate(schema.names)
        }
    else:
        for tensor in request.inputs:
            if tensor.width != 1:
                sizes = [tensor.records, tensor.width]
                raise request_error(f"inputs.{shown(tensor.name)}: expected the shape [N] or [N, 1], got {sizes}")
        names = [tensor.name for tensor in request.inputs]
        positions = positions_of(names, schema, unknown_columns, max_faults, "inputs")
        found = {name: request.inputs[position].values() for name, position in positions.items()}
    with np.errstate(invalid="ignore"):
        return columns_of_cells(
            schema,
            lambda column, report: (
                cells_of(found[column.name], kind_of(column), report) if column.name in found else None
            ),
            request.records,
            faults,
        )


def _tensor(item: Mapping[str, object], binary: bytes, at: int) -> Tensor:
    """Return an input, whose bytes, if it has any, begin at ``at``."""
    name = _typed(item.get("name"), str, "inputs.name")
    place = f"inputs.{shown(name)}"
    datatype = _typed(item.get("datatype"), str, f"{place}.datatype")
    if datatype not in DATATYPES:
        raise request_error(f"{place}.datatype: expected one of {', '.join(DATATYPES)}, got another")
    shape = _typed(item.get("shape"), list, f"{place}.shape")
    sizes = [size for size in shape if isinstance(size, int) and not isinstance(size, bool) and size >= 0]
    if sizes != shape or not 0 < len(shape) <= _MOST_DIMENSIONS:
        raise request_error(f"{place}.shape: expected one or two numbers of at least 0, got others")
    records, width = sizes[0], sizes[1] if len(sizes) > 1 else 1
    parameters = _parameters(item, f"{place}.parameters")
    size, kind = parameters.get("binary_data_size"), DATATYPES[datatype]
    is_base64 = parameters.get("content_type") == "base64"
    if is_base64 and kind.kind is not ArrowKind.TEXT:
        raise request_error(f"{place}.datatype: expected BYTES for the content_type base64, got {datatype}")
    if size is None:
        data = _typed(item.get("data"), list, f"{place}.data")
        if data and all(isinstance(row, list) for row in data):
            data = list(chain.from_iterable(data))
        return Tensor(name, kind, records, width, data, is_base64)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary) - at:
        raise request_error(f"{place}: expected as many bytes after the header as binary_data_size says, got fewer")
    return Tensor(name, kind, records, width, binary[at : at + size], is_base64)


def _output(item: object) -> AskedOutput:
    output = _typed(item, dict, "outputs")
    name = _typed(output.get("name"), str, "outputs.name")
    parameters = _parameters(output, f"outputs.{shown(name)}.parameters")
    for wanted in _UNSUPPORTED:
        if wanted in parameters:
            raise request_error(f"outputs.{shown(name)}.parameters: {wanted} is not supported here")
    binary = parameters.get("binary_data")
    return AskedOutput(name, None if binary is None else _typed(binary, bool, f"outputs.{shown(name)}.binary_data"))


def _parameters(item: Mapping[str, object], place: str) -> Mapping[str, object]:
    found = item.get("parameters")
    return {} if found is None else _typed(found, dict, place)


def _typed(value: object, kind: type[_Item], place: str) -> _Item:
    if not isinstance(value, kind):
        raise request_error(f"{place}: expected {_NAMES[kind]}, got {'nothing' if value is None else 'another value'}")
    return value


_NAMES: Final[Mapping[Callable[..., object], str]] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
}
