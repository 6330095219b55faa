"""One request of many records, sent in pieces: the memory of the service is watched meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Final
from urllib.parse import urlsplit

from benchmarks.serving.bodies import FORMATS, written_bodies
from benchmarks.serving.memory import sampled
from benchmarks.serving.servers import Server

LINES: Final = ("ndjson", "csv")
"""Formats whose answer has a line for each record, so that they can be counted on the way."""

_PIECE_RECORDS: Final = 10_000
_TIMEOUT_S: Final = 60
_READ_BYTES: Final = 2**16


@dataclass(frozen=True, slots=True)
class Streamed:
    """What came of it.

    Attributes:
        form: Name of the format.
        records: Sent.
        answered: Records that the answer is about.
        status: Of the answer.
        body_bytes: Sent.
        resident: Bytes of the largest process, twice a second.
    """

    form: str
    records: int
    answered: int
    status: int
    body_bytes: int
    resident: list[int]


def streamed(server: Server, form: str, records: int) -> Streamed:
    """Send at least so many records in one request."""
    media_type, _ = FORMATS[form]
    address = urlsplit(server.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=_TIMEOUT_S)
    pieces = _Pieces(form, -(-records // _PIECE_RECORDS))
    connection.putrequest("POST", "/score")
    for name, value in (("Content-Type", media_type), ("Accept", media_type), ("Transfer-Encoding", "chunked")):
        connection.putheader(name, value)
    connection.endheaders()
    sender = threading.Thread(target=_send, args=(connection, pieces))
    with sampled(server) as samples:
        sender.start()
        answer = connection.getresponse()
        lines = sum(part.count(b"\n") for part in iter(lambda: answer.read(_READ_BYTES), b""))
        sender.join()
    connection.close()
    header = form == "csv"
    return Streamed(form, pieces.records, lines - header, answer.status, pieces.body_bytes, samples.largest)


class _Pieces:
    """The parts of a body: the same records again and again."""

    def __init__(self, form: str, count: int) -> None:
        piece = written_bodies(form, _PIECE_RECORDS).files[0].read_bytes()
        rest = piece[piece.index(b"\n") + 1 :] if form == "csv" else piece
        self._first, self._rest, self._count = piece, rest, count
        self.records = count * _PIECE_RECORDS
        self.body_bytes = len(piece) + (count - 1) * len(rest)

    def __iter__(self) -> Iterator[bytes]:
        yield self._first
        for _ in range(self._count - 1):
            yield self._rest


def _send(connection: HTTPConnection, pieces: _Pieces) -> None:
    try:
        for piece in pieces:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
    except OSError:
        return  # the service has ended the request, and its answer says why
