"""Answers of the Open Inference Protocol, version 2: verdicts as tensors, in JSON or in binary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.http.writers.writer import NUMBERS, AnswerMetadata, columns_of
from vaegis.service.records.blocks import Block
from vaegis.service.records.faults import error_fields
from vaegis.service.records.open_inference import AskedOutput, InferRequest, request_error
from vaegis.service.verdicts import OTHERS, Explain, Verdicts

_ENCODER = msgspec.json.Encoder()
_TEXTS: Final = (*OTHERS, "errors")
OUTPUTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(NUMBERS, "FP64"),
    "is_anomaly": "BOOL",
    **dict.fromkeys(_TEXTS, "BYTES"),
}
"""Datatypes of all outputs, by name. Lists are JSON text."""

_Part = tuple[Block, Verdicts]


def asked_outputs(request: InferRequest, *, explain: Explain, has_errors: bool) -> tuple[AskedOutput, ...]:
    """Return the outputs to write: those asked for, or all that hold something.

    Raises:
        BodyError: one that is asked for does not exist, or is asked for twice.
    """
    if request.outputs is None:
        left_out = {"contributions"} if explain is Explain.NONE else set()
        left_out |= set() if has_errors else {"errors"}
        return tuple(AskedOutput(name, None) for name in OUTPUTS if name not in left_out)
    for output in request.outputs:
        if output.name not in OUTPUTS:
            raise request_error(f"outputs: expected some of {', '.join(OUTPUTS)}, got {output.name[:100]!r}")
    if len({output.name for output in request.outputs}) != len(request.outputs):
        raise request_error("outputs: expected names that differ, got one twice")
    return request.outputs


def written_answer(
    request: InferRequest,
    outputs: Sequence[AskedOutput],
    parts: Sequence[_Part],
    metadata: AnswerMetadata,
    version: str,
) -> tuple[bytes, int | None]:
    """Return the answer's body, and where in it the JSON ends; None if nothing follows it.

    Where a record is refused, the output `errors` is added.

    Raises:
        ValueError: a verdict that is written as JSON holds NaN or an infinity.
    """
    for _, verdicts in parts:
        columns_of(verdicts)  # raises where they are not
    if any(block.faults for block, _ in parts) and not any(output.name == "errors" for output in outputs):
        outputs = [*outputs, AskedOutput("errors", None)]
    all_binary = request.parameters.get("binary_data_output") is True
    binary: list[bytes] = []
    written = []
    for output in outputs:
        datatype = OUTPUTS[output.name]
        tensor: dict[str, object] = {"name": output.name, "shape": [request.records], "datatype": datatype}
        if all_binary if output.binary is None else output.binary:
            data = _BINARY[datatype](output.name, parts)
            tensor["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            tensor["data"] = _JSON[datatype](output.name, parts)
        written.append(tensor)
    answer: dict[str, object] = {"model_name": metadata.model, "model_version": version}
    if request.id is not None:
        answer["id"] = request.id
    fields = {name: value for name, value in metadata.fields.items() if name != "model"}
    header = _ENCODER.encode(answer | {"parameters": fields, "outputs": written})
    return header + b"".join(binary), len(header) if binary else None


def _numbers(name: str, parts: Sequence[_Part]) -> NDArray[np.float64]:
    return np.concatenate([block.spread(getattr(verdicts, name), np.nan) for block, verdicts in parts])


def _flags(name: str, parts: Sequence[_Part]) -> NDArray[np.bool_]:
    """Return whether each record is flagged. A refused one is, because a byte cannot say that nothing is known."""
    return np.concatenate([block.spread(getattr(verdicts, name), blank=True) for block, verdicts in parts])


def _json_flags(name: str, parts: Sequence[_Part]) -> list[bool | None]:
    """Return whether each record is flagged, and null for a refused one."""
    flags: list[bool | None] = []
    for block, verdicts in parts:
        found = block.spread(getattr(verdicts, name), blank=True).tolist()
        flags += [None if row in block.faults else flag for row, flag in enumerate(found)] if block.faults else found
    return flags


def _texts(name: str, parts: Sequence[_Part]) -> list[str]:
    """Return JSON text for each record, `null` where a faulty one has nothing else."""
    texts: list[str] = []
    for block, verdicts in parts:
        if name == "errors":
            found = [block.faults.get(row) for row in range(block.records)]
            texts += [_text(None if faults is None else error_fields(faults)) for faults in found]
        else:
            values = iter(getattr(verdicts, name))
            texts += [_text(None if row in block.faults else next(values)) for row in range(block.records)]
    return texts


def _text(value: object) -> str:
    return _ENCODER.encode(value).decode()


def _json_numbers(name: str, parts: Sequence[_Part]) -> list[float | None]:
    return [None if number != number else number for number in _numbers(name, parts).tolist()]  # noqa: PLR0124 - NaN


def _packed_texts(name: str, parts: Sequence[_Part]) -> bytes:
    encoded = (text.encode() for text in _texts(name, parts))
    return b"".join(part for text in encoded for part in (len(text).to_bytes(4, "little"), text))


_JSON: Final[Mapping[str, Callable[[str, Sequence[_Part]], object]]] = {
    "FP64": _json_numbers,
    "BOOL": _json_flags,
    "BYTES": _texts,
}
_BINARY: Final[Mapping[str, Callable[[str, Sequence[_Part]], bytes]]] = {
    "FP64": lambda name, parts: _numbers(name, parts).tobytes(),
    "BOOL": lambda name, parts: _flags(name, parts).tobytes(),
    "BYTES": _packed_texts,
}
