"""What decoding takes at most, whatever a body of any format holds: a multiple of the longest body."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.errors import ServiceError
from vaegis.service.records.arrow.decoder import ArrowDecoder
from vaegis.service.records.blocks import RecordLimits
from vaegis.service.records.csv import CsvDecoder
from vaegis.service.records.decompression import UnpackedBytes, decompressed
from vaegis.service.records.faults import Faults, OnInvalid
from vaegis.service.records.json_document import JsonDocuments
from vaegis.service.records.ndjson import NdjsonDecoder
from vaegis.service.records.open_inference import columns_of, read_request

MOST_BYTES = 2**22
MULTIPLE = 20
LIMITS = RecordLimits(
    max_records=10_000,
    max_body_records=1_000_000,
    max_held_bytes=MOST_BYTES,
    max_columns=10_000,
    max_values=MOST_BYTES // 16,  # the share that the defaults have
    max_depth=32,
    max_faults=100,
    unknown_columns="ignore",
)
WIDE = "\U0001f600"  # makes four bytes of each character of its text
TEXT_PIECES = [
    "\n",
    " \n",
    "\r",
    "x\n",
    "1,x\n",
    '"',
    '""',
    ",",
    '"\n\n",',
    "\\u0041",
    "x",
    WIDE,
    "{}\n",
    '{"amount":1}\n',
    "[",
    "0,",
    ": ",
    '"x",',
    "null,",
    '{"name":"country","datatype":"BYTES","shape":[1],"data":[""]},',
]
TEXT_STARTS = [
    "",
    "amount,country\n",
    'amount,country\n1,"',
    '{"country":"',
    '{"amount":[',
    '{"country":[',
    '{"inputs":[',
    '{"inputs":[{"name":"country","datatype":"BYTES","shape":[1],"data":[',
    "[",
    '[{"country":"' + WIDE,
    "{" + '"a":{' * 20,
]
TEXT_BODIES = st.builds(
    lambda start, piece, share, rest: (start + piece * int(share * MOST_BYTES / len(piece)) + rest).encode()[
        :MOST_BYTES
    ],
    st.sampled_from(TEXT_STARTS),
    st.sampled_from(TEXT_PIECES) | st.lists(st.sampled_from(TEXT_PIECES), min_size=2, max_size=4).map("".join),
    st.sampled_from([0.02, 0.3, 1.0]),
    st.sampled_from(["", "\n", '"}\n', '"}]', "0]}\n", '""]}', '""]}]}']),
)


@pytest.fixture(scope="module")
def documents(artifact):
    return JsonDocuments(artifact.contract.columns, LIMITS)


def peak_of(work):
    """Return the most bytes that were allocated at a time; the service may refuse its work."""
    tracemalloc.start()
    try:
        with suppress(ServiceError):
            work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def streamed(decoder, body):
    """Decode a body as it comes, up to its first block: later ones take what that one took."""
    for at in range(0, len(body), 2**18):
        if next(decoder.feed(body[at : at + 2**18]), None) is not None:
            return
    next(decoder.finish(), None)


@pytest.mark.parametrize("kind", ["JSON", "NDJSON", "CSV", "V2"])
@given(body=TEXT_BODIES)
@settings(max_examples=15, deadline=None)
def test_text_takes_at_most_a_multiple_of_the_longest_body(documents, artifact, kind, body):
    schema = artifact.contract.columns
    work = {
        "JSON": lambda: documents.decode(body, OnInvalid.REPORT, lambda: None),
        "NDJSON": lambda: streamed(NdjsonDecoder(schema, LIMITS, documents.typed), body),
        "CSV": lambda: streamed(CsvDecoder(schema, LIMITS), body),
        "V2": lambda: read_request(body, b"", max_depth=32),
    }[kind]
    assert peak_of(work) < MULTIPLE * MOST_BYTES


@given(
    text=st.sampled_from(["", "x", "x" * 1000, "x" * (MOST_BYTES // 2), WIDE + "x" * (MOST_BYTES // 4), "\udc80" * 10]),
    records=st.sampled_from([1, 100, 5000]),
    layout=st.sampled_from(["dictionary", "view", "runs", "plain", "nested", "nested twice"]),
    compression=st.sampled_from([None, "zstd"]),
    name=st.sampled_from(["country", "amount", "x" * (MOST_BYTES // 4)]),
)
@settings(max_examples=30, deadline=None)
def test_arrow_takes_at_most_a_multiple_of_the_longest_body(artifact, text, records, layout, compression, name):
    schema = artifact.contract.columns
    body = ipc(array_of(text.encode("utf-8", "surrogateescape"), records, layout), name, compression)
    decoder = ArrowDecoder(schema, LIMITS, UnpackedBytes(MOST_BYTES))
    assert peak_of(lambda: streamed(decoder, body)) < MULTIPLE * MOST_BYTES


def array_of(text, records, layout):
    """Return an array that refers to one text from each record, or holds it as often as fits."""
    one = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, len(text)], dtype="<i4")), pa.py_buffer(text)]
    )
    if layout == "dictionary":
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(records, dtype=np.int8)), one)
    if layout == "view":
        views = np.zeros((records, 4), dtype="<i4")
        views[:, 0], views[:, 1:] = len(text), np.frombuffer(text[:12].ljust(12, b"\0"), dtype="<i4")
        if len(text) > 12:
            views[:, 2:] = 0
        return pa.Array.from_buffers(pa.string_view(), records, [None, pa.py_buffer(views), pa.py_buffer(text)])
    if layout == "runs":
        return pa.RunEndEncodedArray.from_arrays(pa.array([records], pa.int32()), one)
    plain = pa.chunked_array([one] * min(records, max(1, MOST_BYTES // 2 // max(1, len(text))))).combine_chunks()
    if layout == "plain":
        return plain
    wide = pa.StructArray.from_arrays([plain] * 500, [f"{at}" for at in range(500)])
    return pa.StructArray.from_arrays([wide] * 20, [f"{at}" for at in range(20)]) if layout == "nested twice" else wide


def ipc(array, name, compression):
    sink = io.BytesIO()
    batch = pa.record_batch({name: array})
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


@given(
    text=st.sampled_from(["", "x", "x" * 10_000, WIDE * 1000]),
    records=st.sampled_from([1, 100, 10_000]),
    is_binary=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_tensors_take_at_most_a_multiple_of_the_longest_body(artifact, text, records, is_binary):
    packed = (len(text.encode()).to_bytes(4, "little") + text.encode()) * min(
        records, MOST_BYTES // (len(text) * 4 + 4)
    )
    count = min(records, MOST_BYTES // (len(text) * 4 + 4))
    tensor = {"name": "country", "datatype": "BYTES", "shape": [count]}
    tensor |= {"parameters": {"binary_data_size": len(packed)}} if is_binary else {"data": [text] * count}
    header, binary = json.dumps({"inputs": [tensor]}).encode(), packed if is_binary else b""

    def work():
        request = read_request(header, binary, max_depth=32)
        faults = Faults(10, 0)
        columns_of(request, artifact.contract.columns, faults, unknown_columns="reject", max_faults=10)

    assert peak_of(work) < MULTIPLE * MOST_BYTES


@given(st.binary(min_size=1, max_size=3), st.sampled_from([1, 4, 40]))
@settings(max_examples=10, deadline=None)
def test_a_packed_document_takes_at_most_a_multiple_of_the_longest_body(piece, times):
    body = gzip.compress(piece * (MOST_BYTES // len(piece) * times // 4), 1)
    work = lambda: decompressed(body, "gzip", UnpackedBytes(MOST_BYTES), lambda: None)  # noqa: E731
    assert peak_of(work) < 3 * MOST_BYTES


def test_names_within_one_object_of_a_long_name_are_counted_before_they_are_made(artifact):
    inner = pa.StructArray.from_arrays([pa.array([1])] * 5000, [f"{at}" for at in range(5000)])
    body = ipc(inner, "x" * (MOST_BYTES // 4), None)
    decoder = ArrowDecoder(artifact.contract.columns, LIMITS, UnpackedBytes(MOST_BYTES))
    assert peak_of(lambda: streamed(decoder, body)) < MULTIPLE * MOST_BYTES
    with pytest.raises(ServiceError, match="names of columns"):
        streamed(ArrowDecoder(artifact.contract.columns, LIMITS, UnpackedBytes(MOST_BYTES)), body)
