"""The protobuf wire format, read strictly: what two readers might understand in two ways is refused.

Other readers drop the bits of a tag above 32, or take a number that is written longer than it needs to be. Here both
are errors, so that no field can be one thing to us and another to them.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, BYTES = 0, 2
_FIXED64, _FIXED32 = 1, 5
_LONGEST_VARINT = 10
_MORE_FOLLOW = 0x80  # the flag of a varint's byte that another one follows
_TAG_END, _NUMBER_END = 1 << 32, 1 << 64


def fields(message: memoryview, *, has_fixed: bool = True) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of each field: a number, or bytes; fixed-width values as bytes.

    Args:
        message: A serialised message.
        has_fixed: Whether the message may have fixed-width values, which nobody could tell from bytes of that length.

    Raises:
        ValueError: the bytes are not a protobuf message in its canonical form.
    """
    at, end = 0, len(message)
    while at < end:
        tag = message[at]
        at += 1
        if tag >= _MORE_FOLLOW:
            tag, at = _varint(message, at - 1)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag >= _TAG_END:
            raise ValueError(f"expected a field number from 1 to {(_TAG_END >> 3) - 1}, got {number}")
        if wire == VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == BYTES:
            size, at = _varint(message, at)
        elif has_fixed and wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"expected a wire type of {'0, 1, 2 or 5' if has_fixed else '0 or 2'}, got {wire}")
        if size > end - at:
            raise ValueError(f"expected {size} bytes, got {end - at}")
        yield number, message[at : at + size]
        at += size


def numbers(packed: memoryview) -> Iterator[int]:
    """Yield the numbers of a packed repeated field.

    Raises:
        ValueError: the bytes are not canonical varints.
    """
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def varint(value: int) -> bytes:
    """Return a number from 0 to 2^64 - 1 as protobuf writes it.

    >>> varint(300).hex()
    'ac02'
    """
    written = bytearray()
    while value >= _MORE_FOLLOW:
        written.append(value & ~_MORE_FOLLOW & 0xFF | _MORE_FOLLOW)
        value >>= 7
    written.append(value)
    return bytes(written)


def field(number: int, value: int | bytes | memoryview) -> bytes:
    """Return one field: a number as a varint, anything else with its length before it.

    >>> field(1, b"ab").hex()
    '0a026162'
    """
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    return b"".join((varint(number << 3 | BYTES), varint(len(value)), value))


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at ``at``, and its end."""
    if at < len(message) and message[at] < _MORE_FOLLOW:
        return message[at], at + 1
    value = shift = 0
    for end, byte in enumerate(message[at : at + _LONGEST_VARINT], at + 1):
        value |= (byte & ~_MORE_FOLLOW) << shift
        if byte < _MORE_FOLLOW:
            if value >= _NUMBER_END or byte == 0:
                raise ValueError("expected a number of at most 64 bits in its shortest form")
            return value, end
        shift += 7
    raise ValueError("expected the end of a number")
