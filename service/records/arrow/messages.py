"""Split an Arrow IPC stream into messages: https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from vaegis.service.records.arrow.flat_tables import FlatTable
from vaegis.service.records.arrow.types import arrow_error
from vaegis.service.records.blocks import TooMuchHeldError
from vaegis.service.records.sniffing import SNIFFED_BYTES, stream_hint

CONTINUATION: Final = b"\xff\xff\xff\xff"
PREFIX_BYTES: Final = 8
END: Final = CONTINUATION + bytes(4)

_FILE_MAGIC: Final = b"ARROW1"
_VERSIONS: Final = (3, 4)  # versions 4 and 5 of the metadata, in use since Arrow 0.8


class MessageType(IntEnum):
    """What a message holds."""

    SCHEMA = 1
    DICTIONARY_BATCH = 2
    RECORD_BATCH = 3


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        header: What it holds.
        table: The table of that name.
        body: Its buffers.
    """

    header: MessageType
    table: FlatTable
    body: bytes


class MessageBuffer:
    """Buffers bytes until they hold complete messages. It holds one message at a time."""

    def __init__(self, max_held_bytes: int) -> None:
        """Allow a message of ``max_held_bytes``."""
        self._max_held_bytes = max_held_bytes
        self._held = bytearray()
        self._needed = PREFIX_BYTES
        self._ended = False

    def __len__(self) -> int:
        return len(self._held)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._held += data

    def next_message(self) -> Message | None:
        """Return the next message, once it is whole.

        Raises:
            BodyError: the bytes are no Arrow stream.
            FlatTableError: the message's metadata are broken.
            TooMuchHeldError: the message is larger than allowed.
        """
        held = self._held
        if self._ended and held:
            raise arrow_error("nothing after the end of the stream, got more")
        if len(held) < self._needed:
            return None
        if held[:4] != CONTINUATION:
            other = f"none{stream_hint(bytes(held[:SNIFFED_BYTES]))}"
            raise arrow_error(
                f"an Arrow IPC stream, got {'the file format' if held.startswith(_FILE_MAGIC) else other}"
            )
        size = int.from_bytes(held[4:PREFIX_BYTES], "little")
        if not size:
            self._ended = True
            del held[:PREFIX_BYTES]
            return None
        if not self._holds(start := PREFIX_BYTES + size):
            return None
        metadata = FlatTable.root(_part(held, PREFIX_BYTES, start))
        body_bytes = metadata.number(3, "q", 0)
        if body_bytes < 0:
            raise arrow_error("a length of every message's body, got a negative one")
        if not self._holds(start + body_bytes):
            return None
        body = _part(held, start, start + body_bytes)
        del held[: start + body_bytes]
        self._needed = PREFIX_BYTES
        return _checked(metadata, body)

    def require_end(self) -> None:
        """Pass if nothing is held, as it must be where the body ends; the mark for that may be missing.

        Raises:
            BodyError: the body ended within a message.
        """
        if self._held:
            raise arrow_error("whole messages, got one that is cut off")

    def _holds(self, needed: int) -> bool:
        """Return whether enough bytes have arrived; otherwise wait for them."""
        if needed > self._max_held_bytes:
            most = self._max_held_bytes
            raise TooMuchHeldError(
                f"body: expected messages of at most {most} bytes, got one of {needed}; batches can be smaller"
            )
        self._needed = needed
        return len(self._held) >= needed


def _part(held: bytearray, start: int, stop: int) -> bytes:
    with memoryview(held) as whole:  # a slice of the bytearray would be one copy more
        return bytes(whole[start:stop])


def _checked(metadata: FlatTable, body: bytes) -> Message:
    if metadata.number(0, "h", 0) not in _VERSIONS:
        raise arrow_error("metadata of version 4 or 5, got another")
    header, table = metadata.number(1, "B", 0), metadata.table(2)
    if header not in set(MessageType) or table is None:
        raise arrow_error("a schema, dictionaries and record batches, got another message")
    return Message(MessageType(header), table, body)
