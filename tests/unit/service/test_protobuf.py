from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vaegis.service.protobuf import field, fields, numbers, varint


def read(message: bytes) -> list[tuple[int, int | bytes]]:
    return [
        (number, value if isinstance(value, int) else bytes(value)) for number, value in fields(memoryview(message))
    ]


def test_fields_are_read_in_order_with_fixed_width_ones_as_bytes():
    fixed = b"\x25" + struct.pack("<f", 1.0) + b"\x21" + struct.pack("<d", 2.0)
    message = field(1, 300) + fixed + field(2**29 - 1, b"ab")
    assert read(message) == [(1, 300), (4, struct.pack("<f", 1.0)), (4, struct.pack("<d", 2.0)), (2**29 - 1, b"ab")]


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.integers(0, 2**64 - 1) | st.binary(max_size=300)), max_size=9))
def test_what_is_written_is_read_again(written):
    assert read(b"".join(field(number, value) for number, value in written)) == written


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_packed_numbers_are_read_again(values):
    assert list(numbers(memoryview(b"".join(map(varint, values))))) == values


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a",  # a length is missing
        b"\x0a\x05abc",  # five bytes promised, three there
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # 2^63 bytes promised
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a number of more than ten bytes
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",  # one of more than 64 bits
        b"\x08\x80",  # a number without its end
        b"\x08\x80\x00",  # 0 in two bytes
        b"\x88\x00\x01",  # a tag in more bytes than it needs
        b"\x0a\x81\x00a",  # a length in more bytes than it needs
        varint((13 << 3 | 2) + 2**32) + b"\x00",  # a tag of which other readers drop a bit, and find field 13
        b"\x00\x00",  # field 0
        b"\x0b",  # a group, gone since proto2
        b"\x0d\x00\x00",  # four bytes promised, two there
    ],
)
def test_what_is_no_message_in_its_one_form_is_refused(message):
    with pytest.raises(ValueError, match="expected"):
        read(message)


@given(st.binary(max_size=200))
@example(b"\x72\x02\x0a\x05")
@settings(max_examples=1000)
def test_any_bytes_are_fields_that_write_them_again_or_a_value_error(message):
    with contextlib.suppress(ValueError):
        found = read(message)
        if not any(message[i] & 7 in (1, 5) for i in range(len(message))):  # fixed-width ones are not written
            assert b"".join(field(number, value) for number, value in found) == message
