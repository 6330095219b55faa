"""Formats of a body and of its answer, from Content-Type, Content-Encoding and Accept (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, TypeAlias

from vaegis.service.http.errors import ContentEncodingError, MediaTypeError, NotAcceptableError
from vaegis.service.records.faults import OnInvalid

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
"""Headers of a request as ASGI gives them, their names in lower case."""


class BodyFormat(StrEnum):
    """Formats of records."""

    JSON = "JSON"
    NDJSON = "NDJSON"
    CSV = "CSV"
    TSV = "TSV"
    ARROW = "Arrow"
    EVENTS = "CloudEvents"


class Encoding(StrEnum):
    """How a body may be compressed."""

    NONE = "identity"
    GZIP = "gzip"
    DEFLATE = "deflate"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class Formats:
    """The formats of one request and its answer.

    Attributes:
        answer: Format of the answer, never TSV; CloudEvents only if the body is of them.
        media_type: The answer's, with its parameters.
        is_plain_text: Whether the body cannot expand: it has no Content-Encoding and is not Arrow, which can compress
            its buffers and refer to one text many times.
        on_invalid: Whether faulty records reject the body, if the request does not say.
        events: Which media type the body has if it is a CloudEvent or a list of them, in JSON; blank otherwise.
    """

    body: BodyFormat
    encoding: Encoding
    answer: BodyFormat
    media_type: str
    is_plain_text: bool
    on_invalid: OnInvalid
    events: str


HEADER_LENGTH: Final = b"inference-header-content-length"
"""Header that says where the JSON of a V2 request or answer ends, and binary tensors begin."""

EVENT_ID: Final = b"ce-id"
"""Header with the id of a CloudEvent in binary mode."""

_NDJSON_TYPES: Final = (
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonlines",
    "application/x-jsonlines",
    "application/jsonl",
)
_ARROW: Final = "application/vnd.apache.arrow.stream"
BODY_TYPES: Final = {
    "application/json": BodyFormat.JSON,
    **dict.fromkeys(_NDJSON_TYPES, BodyFormat.NDJSON),
    "text/csv": BodyFormat.CSV,
    "text/tab-separated-values": BodyFormat.TSV,
    _ARROW: BodyFormat.ARROW,
}
"""Formats of bodies, by media type."""
ANSWER_TYPES: Final = {name: kind for name, kind in BODY_TYPES.items() if kind is not BodyFormat.TSV}
"""Formats of answers, by media type."""
_PLAINEST_TYPES: Final = "application/json, application/x-ndjson, text/csv"
_HINTS: Final = {
    "application/x-www-form-urlencoded": ", which curl -d and some libraries say unless told otherwise; "
    "with curl, type --json @FILE, or --data-binary @FILE -H 'Content-Type: text/csv'",
    "multipart/form-data": "; send the file as the body itself, not in a form",
    "text/plain": ", which browsers say unless told otherwise",
    "application/vnd.apache.arrow.file": "; write a stream instead of a file",
    "application/vnd.ms-excel": "; CSV is text/csv",
    **dict.fromkeys(
        ("application/gzip", "application/x-gzip", "application/zstd", "application/zip"),
        "; say here which format is compressed, and gzip, deflate or zstd in Content-Encoding",
    ),
    "application/octet-stream": "; say which format the bytes have",
}
"""What to do about bodies that are declared as other types."""
_HINTS_BY_PART: Final = {
    "ndjson|json-?l|json-?seq|json-?stream": "; JSON with one record per line is application/x-ndjson",
    "json": "; JSON is application/json",
    "csv|comma-": "; CSV is text/csv",
    "tsv|tab-": "; values between tabs are text/tab-separated-values",
    "arrow": f"; an Arrow stream is {_ARROW}",
    "parquet": "; `vaegis score` reads Parquet",
}
"""The same, by a pattern of a part of the type."""
EVENT: Final = "application/cloudevents+json"
EVENT_BATCH: Final = "application/cloudevents-batch+json"
_JSON_TYPE: Final = re.compile(r"application/([^/]+\+)?json|text/json")
_ENCODINGS: Final = {
    "": Encoding.NONE,
    "identity": Encoding.NONE,
    "gzip": Encoding.GZIP,
    "x-gzip": Encoding.GZIP,
    "deflate": Encoding.DEFLATE,
    "zstd": Encoding.ZSTD,
}
_CHARSETS: Final = ("", "utf-8", "utf8", "us-ascii")
_QUALITY: Final = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
_CSV_PARAMETERS: Final = "; charset=utf-8; header=present"


def negotiated(headers: Headers) -> Formats:
    """Return the formats of a request and its answer.

    A body without a Content-Type is JSON. Without an Accept the answer is in the format of the body; CSV for TSV.

    Raises:
        MediaTypeError: The body is declared as a format or a compression that is not read here.
        NotAcceptableError: The answer would have to be in a format that is not written here.
    """
    content_type = encoding = accept = b""
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"content-encoding":
            encoding = value
        elif name == b"accept":
            accept = accept + b"," + value if accept else value
    return _agreed(content_type, encoding, accept)


def require_json(headers: Headers) -> None:
    """Pass if the body is declared as JSON that is not compressed, or not declared at all.

    Raises:
        MediaTypeError: it is declared as another format, or as compressed.
    """
    formats = _agreed(header(headers, b"content-type"), header(headers, b"content-encoding"), b"")
    if formats.body is not BodyFormat.JSON:
        raise MediaTypeError(f"Content-Type: expected application/json, got {media_type_of(headers)!r}")
    if formats.encoding is not Encoding.NONE:
        raise MediaTypeError(f"Content-Encoding: expected none, got {formats.encoding.value!r}")


def header(headers: Headers, name: bytes) -> bytes:
    """Return the last value of a header; blank if there is none."""
    found = b""
    for key, value in headers:
        if key == name:
            found = value
    return found


def encoding_of(headers: Headers) -> Encoding:
    """Return how a body is compressed.

    Raises:
        MediaTypeError: It is declared as compressed in a way that is not read here.
    """
    return _encoding(header(headers, b"content-encoding"))


def answer_encoding_of(headers: Headers) -> Encoding:
    """Return how the client likes an answer to be compressed: zstd, gzip or not at all."""
    return _liked_encoding(header(headers, b"accept-encoding"))


def media_type_of(headers: Headers) -> str:
    """Return the media type that a body is declared as, in lower case and without parameters; blank if it is not."""
    return _split(header(headers, b"content-type").decode("latin-1"))[0]


@lru_cache(256)
def _agreed(content_type: bytes, encoding: bytes, accept: bytes) -> Formats:
    declared, parameters = _split(content_type.decode("latin-1") or "application/json")
    body = BodyFormat.JSON if _JSON_TYPE.fullmatch(declared) else BODY_TYPES.get(declared)
    if body is None:
        by_part = (hint for part, hint in _HINTS_BY_PART.items() if re.search(part, declared))
        hint = _HINTS.get(declared) or next(by_part, "")
        raise MediaTypeError(f"Content-Type: expected {_PLAINEST_TYPES} or {_ARROW}, got {declared!r}{hint}")
    # JSON is UTF-8 whatever is declared (RFC 8259, section 11), and its parser checks that.
    if body is not BodyFormat.JSON and parameters.get("charset", "") not in _CHARSETS:
        raise MediaTypeError(f"Content-Type: expected the charset utf-8, got {parameters['charset']!r}")
    if parameters.get("header") == "absent":
        raise MediaTypeError("Content-Type: expected CSV with a header, got header=absent")
    answer_type = _chosen(accept.decode("latin-1"), _own(body, declared))
    answer = ANSWER_TYPES.get(answer_type, BodyFormat.EVENTS)
    media_type = answer_type + (_CSV_PARAMETERS if answer is BodyFormat.CSV else "")
    coding = _encoding(encoding)
    is_plain_text = coding is Encoding.NONE and body is not BodyFormat.ARROW
    on_invalid = OnInvalid.REJECT if body is BodyFormat.JSON else OnInvalid.REPORT
    return Formats(
        body,
        coding,
        answer,
        media_type,
        is_plain_text,
        on_invalid,
        declared if declared in (EVENT, EVENT_BATCH) else "",
    )


@lru_cache(64)
def _liked_encoding(accept: bytes) -> Encoding:
    ranges = dict(_range(part) for part in accept.decode("latin-1").split(",") if part.strip())
    anything = ranges.get("*", 0.0)
    zstd, gzip = ranges.get("zstd", anything), ranges.get("gzip", ranges.get("x-gzip", anything))
    if not max(zstd, gzip):
        return Encoding.NONE
    return Encoding.ZSTD if zstd >= gzip else Encoding.GZIP


def _encoding(value: bytes) -> Encoding:
    coding = value.decode("latin-1").strip().lower()
    if coding not in _ENCODINGS:
        raise ContentEncodingError(coding)
    return _ENCODINGS[coding]


def _own(body: BodyFormat, declared: str) -> str:
    """Return the media type of an answer in the format of the body."""
    if declared in (*ANSWER_TYPES, EVENT, EVENT_BATCH):
        return declared
    return "text/csv" if body is BodyFormat.TSV else "application/json"


def _chosen(accept: str, own: str) -> str:
    """Return the media type that ``accept`` likes best; among equals ``own``, then the first of the table."""
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return own
    candidates = [own, *(name for name in ANSWER_TYPES if name != own)]
    best = max(candidates, key=lambda name: _quality(name, ranges))
    if not _quality(best, ranges):
        raise NotAcceptableError(f"Accept: expected {_PLAINEST_TYPES}, {_ARROW} or */*, got none of them")
    return best


def _quality(name: str, ranges: list[tuple[str, float]]) -> float:
    """Return the quality of a media type: that of the most specific range that covers it."""
    wide = name.partition("/")[0] + "/*"
    for wanted in (name, wide, "*/*"):
        found = [quality for media_range, quality in ranges if media_range == wanted]
        if found:
            return max(found)
    return 0.0


def _range(part: str) -> tuple[str, float]:
    media_range, parameters = _split(part)
    quality = parameters.get("q", "1")
    return media_range, float(quality) if _QUALITY.fullmatch(quality) else 0.0


def _split(value: str) -> tuple[str, dict[str, str]]:
    """Return a media type and its parameters, in lower case."""
    name, *rest = value.lower().split(";")
    pairs = (part.partition("=") for part in rest)
    return name.strip(), {key.strip(): text.strip().strip('"') for key, _, text in pairs}
