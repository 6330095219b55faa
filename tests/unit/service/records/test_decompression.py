from __future__ import annotations

import gzip
import random
import sys
import tracemalloc
import zlib
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.records.blocks import BLOCK_BYTES, BodyError, BodyTooLargeError
from vaegis.service.records.decompression import UnpackedBytes, Unpacker

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACK = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress, "identity": bytes}
PACKED = pytest.mark.parametrize("name", ["gzip", "deflate", "zstd"])
ALL = pytest.mark.parametrize("name", PACK)


def new(name, most=1 << 30):
    return Unpacker(name, UnpackedBytes(most))


def unpacked(unpacker, packed, step):
    pieces = [piece for at in range(0, len(packed), step) for piece in unpacker.feed(packed[at : at + step])]
    unpacker.finish()
    assert max(map(len, pieces), default=0) <= BLOCK_BYTES
    return b"".join(pieces)


@ALL
@given(parts=st.lists(st.binary(max_size=200), max_size=3), step=st.integers(1, 300))
def test_a_body_comes_out_as_it_went_in(name, parts, step):
    pack = PACK[name]
    assert unpacked(new(name), b"".join(map(pack, parts)), step) == b"".join(parts)


@ALL
def test_a_large_body_comes_in_pieces(name):
    pack = PACK[name]
    for body in (random.Random(0).randbytes(3 * BLOCK_BYTES + 1), bytes(10 * BLOCK_BYTES)):
        assert unpacked(new(name), pack(body), 1 << 16) == body
        assert unpacked(new(name), pack(body), 1 << 30) == body


@PACKED
def test_a_bomb_takes_no_more_memory_than_a_piece(name):
    pack = PACK[name]
    packed = pack(bytes(100_000_000))
    tracemalloc.start()
    try:
        pieces = new(name).feed(packed)
        for _ in range(20):
            assert len(next(pieces)) <= BLOCK_BYTES
        assert tracemalloc.get_traced_memory()[1] < 8 * BLOCK_BYTES
    finally:
        tracemalloc.stop()


@PACKED
@given(data=st.data())
def test_what_is_cut_off_or_altered_is_refused(name, data):
    pack = PACK[name]
    packed = pack(b"some text that is packed")
    with pytest.raises(BodyError) as caught:
        unpacked(new(name), packed[: data.draw(st.integers(1, len(packed) - 1))], 10)
    assert caught.value.code == "invalid_encoding"
    with pytest.raises(BodyError):
        unpacked(new(name), b"\0" + packed, 10)
    with pytest.raises(BodyError):
        unpacked(new(name), packed + b"more", 10)


def test_a_window_of_more_than_8_mib_is_refused():
    options = {zstd.CompressionParameter.window_log: 25, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=options)
    packed = compressor.compress(bytes(40_000_000)) + compressor.flush()
    with pytest.raises(BodyError):
        unpacked(new("zstd"), packed, 1 << 16)


@PACKED
def test_members_without_content_are_counted_and_looked_through_one_by_one(name):
    packed = PACK[name](b"") * 1000
    pieces = new(name).feed(packed)
    assert sum(1 for _ in pieces) >= 1000
    with pytest.raises(BodyTooLargeError, match="at most 1000 bytes after decompression"):
        unpacked(new(name, 1000), packed, 1 << 16)


@PACKED
@pytest.mark.parametrize("size", [1000, 1001])
def test_a_body_unpacks_to_so_many_bytes_and_no_more(name, size):
    outcome = nullcontext() if size == 1000 else pytest.raises(BodyTooLargeError)
    with outcome:
        assert unpacked(new(name, 1000), PACK[name](bytes(size)), 1 << 16) == bytes(size)


def test_deflate_without_the_wrapping_of_zlib_is_read():
    compress = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = compress.compress(b"amount,country") + compress.flush()
    assert unpacked(new("deflate"), packed, 3) == b"amount,country"
