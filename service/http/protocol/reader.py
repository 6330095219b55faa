"""A stream of bytes cut into requests, one at a time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from vaegis.service.errors import ServiceError
from vaegis.service.http.errors import HeadersTooLargeError, MalformedRequestError
from vaegis.service.http.protocol.head import Framing, framing_of, require_version, target_of

_HEAD_END: Final = b"\r\n\r\n"
_CHUNKS_END: Final = b"0\r\n\r\n"  # so end the chunks of nearly all clients; it may also stand within a chunk
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}

Scope = dict[str, Any]


class Receiver(Protocol):
    """Who takes the requests."""

    def begin(self, scope: Scope, framing: Framing, *, keeps_alive: bool) -> None:
        """Take the head of a request."""

    def take_part(self, body: bytes) -> None:
        """Take a part of its body."""

    def take_end(self) -> None:
        """Take its end."""


class RequestReader:
    """Reads one request after another, and never further than the end of one.

    llhttp does the parsing, with none of its leniencies. It reads whatever it is given, so it is given no more than a
    head at a time, or the rest of a body: what a client sends ahead stays bytes until its turn comes.
    """

    def __init__(self, receiver: Receiver, *, max_header_bytes: int, max_headers: int) -> None:
        """Expect the beginning of a request."""
        self._receiver = receiver
        self._max_header_bytes = max_header_bytes
        self._max_headers = max_headers
        self._parser: Any = HttpRequestParser(self)
        self._is_spent = False
        self._declines_upgrade: Framing | None = None
        self._in_body = False
        self._ended = False
        self._left: int | None = 0
        self._head_bytes = 0
        self._idle_bytes = 0
        self._tail = b""
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []

    @property
    def left(self) -> int | None:
        """Bytes of the body that are still to come; None where it comes in chunks."""
        return self._left

    def feed(self, data: bytes) -> bytes:
        """Read up to the end of a request, and return what comes after it.

        Raises:
            MalformedRequestError: it is no request, or can be understood in two ways.
            HeadersTooLargeError: its head is too long, or has too many headers.
        """
        self._ended = False
        while data and not self._ended:
            data = self._feed_body(data) if self._in_body else self._feed_head(data)
        return data

    def _feed_head(self, data: bytes) -> bytes:
        if self._is_spent:
            self._parser, self._is_spent = HttpRequestParser(self), False
        size = self._up_to(_HEAD_END, data)
        self._head_bytes += size
        if self._head_bytes > self._max_header_bytes:
            raise HeadersTooLargeError(f"headers: expected at most {self._max_header_bytes} bytes, got more")
        if size == len(data):
            self._parse(data)
            return b""
        self._parse(data[:size])
        return data[size:]

    def _feed_body(self, data: bytes) -> bytes:
        if self._left is None:
            size = self._up_to(_CHUNKS_END, data)
            self._idle_bytes += size
        else:
            size = min(self._left, len(data))
            self._left -= size
        if size == len(data):
            self._parse(data)
            rest = b""
        else:
            self._parse(data[:size])
            rest = data[size:]
        if self._idle_bytes > self._max_header_bytes:
            raise MalformedRequestError(f"body: expected some in {self._max_header_bytes} bytes, got only framing")
        return rest

    def _up_to(self, mark: bytes, data: bytes) -> int:
        """Return how much of ``data`` there is up to the end of ``mark``, which may have begun in the data before."""
        tail = self._tail
        end = (tail + data if tail else data).find(mark)
        if end >= 0:
            self._tail = b""
            return end - len(tail) + len(mark)
        longest = len(mark) - 1
        self._tail = (tail + data[-longest:])[-longest:]
        return len(data)

    def _parse(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            self._go_on_in_http()
        except HttpParserError as error:
            if isinstance(error.__context__, ServiceError):
                raise error.__context__ from None
            raise MalformedRequestError(f"request: expected HTTP/1.1, got other bytes: {error}") from error

    def _go_on_in_http(self) -> None:
        """Read the body of a request that asked for another protocol: the parser takes what follows for that one."""
        framing, self._declines_upgrade = self._declines_upgrade, None
        if framing is None:
            raise MalformedRequestError("method: expected one that asks for a path, got another")
        size = framing.body_bytes
        body = b"transfer-encoding: chunked" if size is None else b"content-length: %d" % size
        only_body = SimpleNamespace(on_body=self.on_body, on_message_complete=self.on_message_complete)
        self._parser = HttpRequestParser(only_body)
        self._is_spent = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + body + _HEAD_END)

    def on_message_begin(self) -> None:
        """Forget the last request; called by the parser, as all that follow are."""
        if self._ended:
            # Only after chunks that end in an unusual way has it been given more than one request.
            raise MalformedRequestError("request: expected nothing after an unusual end of a body, got more")
        self._url = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after a body are passed over."""
        if self._in_body:
            return
        if len(self._headers) == self._max_headers:
            raise HeadersTooLargeError(f"headers: expected at most {self._max_headers}, got more")
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Hand the head on."""
        parser = self._parser
        version = parser.get_http_version()
        require_version(version)
        framing = framing_of(self._headers, version)
        path, raw_path, query = target_of(self._url)
        if framing.asks_for_upgrade and parser.should_upgrade():
            self._declines_upgrade = framing
        self._in_body = True
        self._tail = b""
        self._left = framing.body_bytes
        self._idle_bytes = 0
        scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
        }
        self._receiver.begin(scope, framing, keeps_alive=version == "1.1" and parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        """Hand a part of the body on."""
        self._idle_bytes = 0
        self._receiver.take_part(body)

    def on_message_complete(self) -> None:
        """Hand the end on."""
        if self._declines_upgrade is not None:
            return
        self._in_body = False
        self._ended = True
        self._head_bytes = 0
        self._tail = b""
        self._receiver.take_end()
