"""Write records as NDJSON, one object per line."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from typing import BinaryIO


def write_lines(stream: BinaryIO, records: Iterable[Mapping[str, object]]) -> None:
    """Write each record as one line of JSON.

    NaN and infinities become null, binary values base64, and other types that JSON lacks their text.
    """
    stream.write(b"".join(_line(record) for record in records))


def _line(record: Mapping[str, object]) -> bytes:
    try:
        text = _dumps(record)
    except ValueError:
        text = _dumps(_finite(record))
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _dumps(value: object) -> str:
    return json.dumps(value, default=_text, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _text(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value
