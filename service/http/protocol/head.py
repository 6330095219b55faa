"""What the head of a request says: its target, where its body ends, and what this server refuses to guess."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from httptools import HttpParserError, parse_url

from vaegis.service.http.errors import MalformedRequestError

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")  # no path here has any, and patterns treat a line end apart
_LOOKED_AT: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
_VERSIONS: Final = frozenset({"1.0", "1.1"})

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Framing:
    """How a request goes on after its head.

    Attributes:
        body_bytes: Length of the body; None where it comes in chunks.
        expects_continue: The client waits for leave before it sends the body.
        asks_for_upgrade: The client offers another protocol, which is declined by answering in this one.
    """

    body_bytes: int | None
    expects_continue: bool
    asks_for_upgrade: bool


def require_version(http_version: str) -> None:
    """Pass if requests of a version are read here; the parser also takes 0.9 and 2.0 in a request line.

    Raises:
        MalformedRequestError: they are not.
    """
    if http_version not in _VERSIONS:
        raise MalformedRequestError(f"request: expected HTTP/1.1 or HTTP/1.0, got HTTP/{http_version}")


def framing_of(headers: Headers, http_version: str) -> Framing:
    """Return the framing of a request whose header names are in lower case.

    Two servers that read one stream of bytes must agree on where each request ends, or a client can hide a request in
    another's body (RFC 9112, section 11.2). The parser refuses most of what could be read in two ways; this refuses
    the rest: anything but one length, or chunks and nothing else.

    Raises:
        MalformedRequestError: it is not certain where the request ends, whom it is for, or what the client expects.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _LOOKED_AT:
            if name in found and name != b"upgrade":
                raise MalformedRequestError(f"headers: expected one {name.decode()}, got several")
            found[name] = value
    if http_version == "1.1" and b"host" not in found:
        raise MalformedRequestError("headers: expected a Host, got none")
    expected = found.get(b"expect")
    if expected is not None and expected.lower() != b"100-continue":
        raise MalformedRequestError("headers: expected Expect to be 100-continue, got another expectation")
    return Framing(
        body_bytes=_body_bytes(found, http_version),
        expects_continue=expected is not None and http_version == "1.1",
        asks_for_upgrade=b"upgrade" in found,
    )


def target_of(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the path, the path as it came, and the query of a request target (RFC 9112, section 3.2).

    Raises:
        MalformedRequestError: it is neither a path nor an http or https address, or it hides control characters.
    """
    if url[:1] != b"/":
        url = _path_and_query(url)
    raw_path, _, query = url.partition(b"?")
    if b"#" in url:
        raise MalformedRequestError("target: expected no fragment, got one")
    path = raw_path.decode("ascii", "strict")
    if "%" in path:
        path = unquote(path)
        if _CONTROLS.search(path):
            raise MalformedRequestError("target: expected a path without control characters, got some")
    return path, raw_path, query


def _body_bytes(found: dict[bytes, bytes], http_version: str) -> int | None:
    coding = found.get(b"transfer-encoding")
    length = found.get(b"content-length")
    if coding is not None:
        if length is not None or coding.lower() != b"chunked" or http_version != "1.1":
            raise MalformedRequestError("headers: expected Transfer-Encoding: chunked alone and in HTTP/1.1, got other")
        return None
    if length is None:
        return 0
    if not length.isdigit():
        raise MalformedRequestError("headers: expected Content-Length to be digits, got other characters")
    return int(length)


def _path_and_query(url: bytes) -> bytes:
    if url == b"*":
        return url
    try:
        parsed = parse_url(url)
    except HttpParserError as error:
        raise MalformedRequestError("target: expected a path or an address, got neither") from error
    if parsed.schema not in (b"http", b"https"):
        raise MalformedRequestError("target: expected an address of http or https, got another")
    return (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
