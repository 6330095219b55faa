"""Checks of a request's head: its target, and where its body ends. Ambiguous requests are refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

from httptools import HttpParserError, parse_url

from vaegis.service.http.server.interface import MalformedRequestError

_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f]")  # no path has any, and patterns treat a line end apart
_AT_MOST_ONCE: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})


def framing_of(headers: Iterable[tuple[bytes, bytes]], http_version: str) -> tuple[int | None, bool]:
    """Return the length of the body, None for chunks, and whether the client waits for leave to send it.

    Two servers that read the same bytes must agree on where each request ends, or a client can hide a request in
    another's body (RFC 9112, section 11.2). llhttp refuses most of what can be read in two ways, and this the rest.

    Raises:
        MalformedRequestError: it is not certain where the request ends, whom it is for, or what the client expects.
    """
    if http_version not in ("1.1", "1.0"):  # llhttp also takes 0.9 and 2.0
        raise MalformedRequestError(f"request: expected HTTP/1.1 or HTTP/1.0, got HTTP/{http_version}")
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _AT_MOST_ONCE:
            if name in found:
                raise MalformedRequestError(f"headers: expected one {name.decode()}, got several")
            found[name] = value
    if http_version == "1.1" and b"host" not in found:
        raise MalformedRequestError("headers: expected a Host, got none")
    expectation = found.get(b"expect")
    if expectation is not None and expectation.lower() != b"100-continue":
        raise MalformedRequestError("Expect: expected 100-continue, got another value")
    coding, length = found.get(b"transfer-encoding"), found.get(b"content-length", b"0")
    if coding is not None and (b"content-length" in found or coding.lower() != b"chunked" or http_version != "1.1"):
        raise MalformedRequestError("Transfer-Encoding: expected chunked alone and in HTTP/1.1, got another value")
    if not length.isdigit():
        raise MalformedRequestError("Content-Length: expected digits, got other characters")
    return int(length) if coding is None else None, expectation is not None and http_version == "1.1"


def split_target(url: bytes) -> tuple[str, bytes, bytes]:
    """Return the path, the path as it came, and the query of a request target (RFC 9112, section 3.2).

    Raises:
        MalformedRequestError: it is neither a path nor an http or https address, or it hides control characters.
    """
    if url[:1] != b"/" and url != b"*":
        try:
            parsed = parse_url(url)
        except HttpParserError as error:
            raise MalformedRequestError("target: expected a path or an address, got neither") from error
        if parsed.schema not in (b"http", b"https"):
            raise MalformedRequestError("target: expected an address of http or https, got another")
        url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
    raw_path, _, query = url.partition(b"?")
    if b"#" in url:
        raise MalformedRequestError("target: expected no fragment, got one")
    path = raw_path.decode("ascii")
    if "%" in path:
        path = unquote(path)
        if _CONTROL_CHARACTER.search(path):
            raise MalformedRequestError("target: expected a path without control characters, got some")
    return path, raw_path, query
