from __future__ import annotations

import gzip
import random
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.records.json import BodyError
from vaegis.service.records.stream.blocks import BLOCK_BYTES
from vaegis.service.records.stream.unpacking import GzipUnpacker, NoUnpacker, ZstdUnpacker

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FORMATS = {"gzip": (GzipUnpacker, gzip.compress), "zstd": (ZstdUnpacker, zstd.compress), "none": (NoUnpacker, bytes)}
PACKED = pytest.mark.parametrize("name", ["gzip", "zstd"])
ALL = pytest.mark.parametrize("name", FORMATS)


def unpacked(unpacker, packed, step):
    pieces = [piece for at in range(0, len(packed), step) for piece in unpacker.feed(packed[at : at + step])]
    unpacker.end()
    assert max(map(len, pieces), default=0) <= BLOCK_BYTES
    return b"".join(pieces)


@ALL
@given(parts=st.lists(st.binary(max_size=200), max_size=3), step=st.integers(1, 300))
def test_a_body_comes_out_as_it_went_in(name, parts, step):
    unpacker, pack = FORMATS[name]
    assert unpacked(unpacker(), b"".join(map(pack, parts)), step) == b"".join(parts)


@ALL
def test_a_large_body_comes_in_pieces(name):
    unpacker, pack = FORMATS[name]
    for body in (random.Random(0).randbytes(3 * BLOCK_BYTES + 1), bytes(10 * BLOCK_BYTES)):
        assert unpacked(unpacker(), pack(body), 1 << 16) == body
        assert unpacked(unpacker(), pack(body), 1 << 30) == body


@PACKED
def test_a_bomb_takes_no_more_memory_than_a_piece(name):
    unpacker, pack = FORMATS[name]
    packed = pack(bytes(100_000_000))
    tracemalloc.start()
    try:
        pieces = unpacker().feed(packed)
        for _ in range(20):
            assert len(next(pieces)) <= BLOCK_BYTES
        assert tracemalloc.get_traced_memory()[1] < 8 * BLOCK_BYTES
    finally:
        tracemalloc.stop()


@PACKED
@given(data=st.data())
def test_what_is_cut_off_or_altered_is_refused(name, data):
    unpacker, pack = FORMATS[name]
    packed = pack(b"some text that is packed")
    with pytest.raises(BodyError) as caught:
        unpacked(unpacker(), packed[: data.draw(st.integers(1, len(packed) - 1))], 10)
    assert caught.value.code == "invalid_encoding"
    with pytest.raises(BodyError):
        unpacked(unpacker(), b"\0" + packed, 10)
    with pytest.raises(BodyError):
        unpacked(unpacker(), packed + b"more", 10)


def test_a_window_of_more_than_8_mib_is_refused():
    options = {zstd.CompressionParameter.window_log: 25, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=options)
    packed = compressor.compress(bytes(40_000_000)) + compressor.flush()
    with pytest.raises(BodyError):
        unpacked(ZstdUnpacker(), packed, 1 << 16)
