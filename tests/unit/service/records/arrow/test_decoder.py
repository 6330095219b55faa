from __future__ import annotations

import io
import tracemalloc
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.errors import FileError, RecordError, ServiceError
from vaegis.service.files.arrow_columns import columns_from_batch
from vaegis.service.files.record_files import open_records
from vaegis.service.records.arrow.decoder import ArrowDecoder
from vaegis.service.records.blocks import BodyError, BodyTooLargeError, TooMuchHeldError
from vaegis.service.records.decompression import UnpackedBytes

DAY = 86_400.0


def ipc(*batches, schema=None, **options):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema or batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def one(**columns):
    return pa.record_batch({name.replace("_in_", "."): values for name, values in columns.items()})


@pytest.fixture(scope="session")
def decoded(schema, streams):
    def run(body, parts=None, **changes):
        limits = streams.limits(**changes)
        return streams.blocks(ArrowDecoder(schema, limits, UnpackedBytes(limits.max_held_bytes)), body, parts)

    return run


@pytest.fixture(scope="session")
def rows(decoded, streams):
    return lambda *args, **options: streams.rows(decoded(*args, **options))


FULL = one(amount=[1.5], shop_in_country=["DE"], express=[True], placed_at=[DAY], shop_in_id=["x"])
ROW = [1.5, 1.0, DAY, "DE", True]


@pytest.mark.parametrize("parts", [None, 1, 100])
def test_records_fill_their_columns_batch_by_batch(rows, parts):
    assert rows(ipc(FULL, FULL.slice(0, 0), FULL), parts) == [ROW, ROW]


def test_a_stream_may_end_without_the_mark_for_it(rows):
    assert rows(ipc(FULL)[:-8]) == [ROW]


def test_a_stream_of_no_records_has_none(rows):
    assert rows(ipc(schema=FULL.schema)) == []


NUMBERS = [
    *(pa.array([90, -5, None], pa.duration(unit)) for unit in ("s", "ms", "us", "ns")),
    pa.array([1, None, -3], pa.int8()),
    pa.array([2**63, None], pa.uint64()),
    pa.array([-(2**62) + 1, 2**53 + 1]),
    pa.array([0.5, float("nan"), float("-inf"), None]),
    pa.array([1.5, None, 65504], pa.float16()),
    pa.array([0.1, None], pa.float32()),
    pa.array([Decimal("1.25"), None, Decimal("-0.07")]),
    pa.array([Decimal("1.25"), None, Decimal("-0.07")], pa.decimal32(9, 4)),
    pa.array([Decimal("12345678901.25"), None], pa.decimal64(18, 4)),
    pa.array([Decimal(2**120), Decimal(-(10**37)), Decimal(1)]),
    pa.array([Decimal(10**70), None], pa.decimal256(76, 2)),
    pa.array([1, None]).dictionary_encode(),
    pa.array([1.5, None, float("inf")]).dictionary_encode(),
    pa.nulls(2),
    pa.array(["1", " 2.5 ", None, "", "x", "1e400"]),
    pa.array(["1", None], pa.large_string()),
    pa.array(["1", None, "0.12345678901234567890"], pa.string_view()),
    pa.array([True, None]),
    pa.array([date(2026, 1, 1), None]),
    pa.array([[1], None]),
    pa.array([b"1", None]),
    pa.array([time(10), None]),
]
TRUTHS = [
    pa.array([True, None, False] * 7),
    pa.array([0, 1, 2, None]),
    pa.array([0.0, 1.0, 0.5, float("nan")]),
    pa.array(["TRUE", "false", "0", "yes", None]),
    pa.array([True, None]).dictionary_encode(),
]
INSTANTS = [
    pa.array([date(1970, 1, 2), None]),
    pa.array([date(1970, 1, 2), None], pa.date64()),
    *(pa.array([datetime(2026, 3, 2, 10, 30), None], pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),  # noqa: DTZ001 - naive means UTC
    pa.array([datetime(2026, 3, 2, tzinfo=UTC), None], pa.timestamp("us", "Europe/Berlin")),
    pa.array([2**40, -(2**62)], pa.timestamp("s")),
    pa.array([1_700_000_000, 1_700_000_000_000, None]),
    pa.array([1.7e9, 1e300, float("inf")]),
    pa.array(["2026-03-02", "2026-03-02T10:00:00+02:00", "1700000000", "soon", None]),
    pa.array([True, None]),
    pa.array([1], pa.duration("s")),
    *(pa.array([3_600, None], pa.time32(unit)) for unit in ("s", "ms")),
    *(pa.array([3_600_000_000, None], pa.time64(unit)) for unit in ("us", "ns")),
]
CATEGORIES = [
    pa.array(["DE", None, "", "k\u00f6ln", "a\0b"]),
    pa.array(["DE", None, "x" * 30, "k\u00f6ln" * 9], pa.string_view()),
    pa.array(["DE", None, "DE"]).dictionary_encode(),
    pa.array(["DE", None], pa.large_string()).dictionary_encode(),
    pa.array([1, -5, None]),
    pa.array([2**64 - 1], pa.uint64()),
    pa.array([True, None, False]),
    pa.nulls(3),
    pa.array([1.5, None]),
    pa.array([date(2026, 1, 1)]),
]
COLUMNS = [
    *(("amount", array) for array in NUMBERS),
    *(("express", array) for array in TRUTHS),
    *(("placed_at", array) for array in INSTANTS),
    *(("shop.country", array) for array in CATEGORIES),
]


def of_a_file(array, name, schema, tmp_path):
    """Return what a file of one record each gives, None where it is refused."""
    found = []
    for row in range(len(array)):
        path = tmp_path / f"{row}.arrow"
        batch = pa.record_batch({name: array.slice(row, 1)})
        if name != "amount":
            batch = batch.append_column("amount", pa.array([0.0]))
        with pa.ipc.new_file(path, batch.schema) as writer:
            writer.write_batch(batch)
        try:
            (read,) = open_records(path).batches()
            columns = columns_from_batch(read.batch, schema, path=Path("x"), first_row=1)
        except FileError:
            found.append(None)
        else:
            found.append([*columns.numbers[0], *columns.strings[0], *columns.strings_observed[0]])
    return found


@pytest.mark.parametrize(("name", "array"), COLUMNS, ids=[f"{name}-{array.type}" for name, array in COLUMNS])
@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"compression": "lz4"}], ids=str)
def test_every_type_gives_what_a_file_of_it_gives(rows, schema, tmp_path, name, array, options):
    batch = pa.record_batch({name: array})
    if name != "amount":
        batch = batch.append_column("amount", pa.array([0.0] * len(array)))
    found = rows(ipc(batch, **options), unknown_columns="ignore")
    expected = of_a_file(array, name, schema, tmp_path)
    np.testing.assert_equal([None if isinstance(row[0], tuple) else row for row in found], expected)


def test_objects_flatten_with_dots_and_hand_down_their_nulls(rows):
    shop = pa.StructArray.from_arrays(
        [pa.array(["DE", "FR", "IT"]), pa.array([1, 2, 3])], ["country", "id"], mask=pa.array([False, True, False])
    )
    found = rows(ipc(pa.record_batch({"amount": [1.0, 2.0, 3.0], "shop": shop})))
    assert [row[3:] for row in found] == [["DE", True], ["", False], ["IT", True]]


def test_an_object_that_is_null_throughout_may_come_without_its_names(rows):
    assert rows(ipc(pa.record_batch({"amount": [1.0], "shop": pa.nulls(1)})))[0][0] == 1.0


@pytest.mark.parametrize(
    "array",
    [
        pa.array([[1, 2], None]),
        pa.array([[1, 2], None], pa.list_view(pa.int8())),
        pa.array([[1, 2], None], pa.list_(pa.int8(), 2)),
        pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())),
        pa.array([b"x", None], pa.binary_view()),
        pa.array([b"\xff", None], pa.binary(1)),
        pa.array([{"a": {"b": [1]}}, None]),
        pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]),
        pa.UnionArray.from_dense(
            pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["a"])]
        ),
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array([1, None])),
        pa.array(["x", None], pa.string_view()),
        pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
        pa.array([1, 2], pa.time32("s")),
        pa.nulls(2),
    ],
    ids=lambda array: str(array.type),
)
def test_an_ignored_column_may_be_of_any_type(rows, array):
    batch = pa.record_batch({"shop.id": array, "amount": [1.5, 2.5], "shop.country": ["DE", "FR"]})
    found = rows(ipc(batch, batch))
    assert [(row[0], row[3]) for row in found] == [(1.5, "DE"), (2.5, "FR")] * 2


def test_dictionaries_can_be_replaced_and_can_grow(rows):
    batches = [
        pa.record_batch({"amount": [1.0] * len(texts), "shop.country": pa.array(texts).dictionary_encode()})
        for texts in (["DE", "FR"], ["DE", "FR", "IT"], ["AT", None])
    ]
    expected = ["DE", "FR", "DE", "FR", "IT", "AT", ""]
    for options in ({}, {"emit_dictionary_deltas": True}):
        assert [row[3] for row in rows(ipc(*batches, **options))] == expected


def test_a_bad_value_is_reported_and_the_others_are_not_harmed(rows):
    batch = one(amount=["1", "x", "3"], express=[True, False, None])
    assert [row[0] for row in rows(ipc(batch))] == [1.0, ("amount", "wrong_type"), 3.0]


def test_an_object_in_the_place_of_a_value_is_reported(rows):
    batch = one(amount=pa.array([{"x": 1}, None]), express=[True, True])
    assert rows(ipc(batch))[0] == [("amount", "wrong_type")]
    assert np.isnan(rows(ipc(batch))[1][0])


def test_text_that_is_not_utf8_is_reported(rows):
    text = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff"))
    batch = pa.record_batch({"amount": [1.0, 2.0], "shop.country": text})
    assert [row[0] for row in rows(ipc(batch))] == [1.0, ("shop.country", "invalid_utf8")]


def test_bytes_of_one_width_are_text(rows):
    names = pa.array([b"DE", None, b"F\xff", b"FR"], pa.binary(2))
    for countries in (names, names.dictionary_encode()):
        batch = pa.record_batch({"amount": [1.0, 2.0, 3.0, 4.0], "shop.country": countries})
        found = rows(ipc(batch))
        assert [row[3] for row in (found[0], found[1], found[3])] == ["DE", "", "FR"]
        assert found[2] == [("shop.country", "invalid_utf8")]


@pytest.mark.parametrize(
    ("names", "code"),
    [(["amuont"], "unknown_column"), (["amount"] * 2, "duplicate_key"), (["shop.id"], "no_known_column")],
)
def test_a_schema_that_does_not_fit_is_refused_before_any_record(decoded, names, code):
    batch = pa.RecordBatch.from_arrays([pa.array([1.0])] * len(names), names=names)
    with pytest.raises(RecordError) as caught:
        decoded(ipc(batch))
    assert [(fault.row, fault.code) for fault in caught.value.faults] == [(None, code)]


def test_large_batches_come_in_blocks(decoded):
    numbers = np.arange(100_000.0)
    blocks = decoded(ipc(one(amount=numbers, express=pa.nulls(100_000, pa.bool_()))), max_held_bytes=1 << 24)
    assert len(blocks) > 2
    assert np.concatenate([block.columns.numbers[:, 0] for block in blocks]).tolist() == numbers.tolist()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}" * 20,
        ipc(FULL)[:-30],
        ipc(FULL)[:5],
        ipc(FULL) + b"x",
        ipc(FULL) + ipc(FULL),
        b"ARROW1\0\0" + ipc(FULL),
        b"\xff\xff\xff\xff\x08\0\0\0" + b"\xff" * 8,
    ],
)
def test_what_is_no_whole_stream_is_refused(decoded, body):
    with pytest.raises(BodyError, match=r"^body: expected") as caught:
        decoded(body)
    assert caught.value.code == "invalid_arrow"


def test_a_message_over_the_limit_is_refused_before_it_comes(schema, streams):
    body = ipc(one(amount=np.zeros(100_000)))
    decoder = ArrowDecoder(schema, streams.limits(max_held_bytes=1 << 16), UnpackedBytes(1 << 20))
    with pytest.raises(TooMuchHeldError, match="at most 65536 bytes"):
        list(decoder.feed(body[:1000]))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_buffers_may_not_grow_beyond_the_limit(decoded, codec):
    with pytest.raises(BodyTooLargeError, match="at most 1048576 bytes after decompression"):
        decoded(ipc(one(amount=np.zeros(10**6)), compression=codec))


@pytest.mark.parametrize("length", [0, 7999, 8001, 1 << 19])
@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_compressed_buffer_of_another_length_than_it_states_is_refused(decoded, codec, length):
    body = ipc(one(amount=np.zeros(1000)), compression=codec)
    stated = (8000).to_bytes(8, "little")
    assert body.count(stated) == 1
    with pytest.raises(BodyError, match=r"of the length that they state|can decompress"):
        decoded(body.replace(stated, length.to_bytes(8, "little")))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_corrupt_frames_are_refused(decoded, codec):
    body = ipc(one(amount=np.arange(1000.0)), compression=codec)
    magic = {"zstd": b"\x28\xb5\x2f\xfd", "lz4": b"\x04\x22\x4d\x18"}[codec]
    at = body.index(magic)
    for altered in (body[:at] + b"xxxx" + body[at + 4 :], body[: at + 40] + b"\xff" * 200 + body[at + 240 :]):
        with pytest.raises(BodyError, match=f"buffers that {codec.upper()} can decompress|length that they state"):
            decoded(altered)


def test_a_small_lz4_frame_that_states_a_great_length_takes_no_memory(decoded):
    body = ipc(one(amount=np.zeros(1000)), compression="lz4")
    tracemalloc.start()
    try:
        with pytest.raises(BodyError, match="can decompress"):
            decoded(
                body.replace((8000).to_bytes(8, "little"), (100 << 20).to_bytes(8, "little")), max_held_bytes=1 << 28
            )
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_polars_streams_are_read_as_it_writes_them_by_default(rows):
    sink = io.BytesIO()
    pl.DataFrame({"amount": [1.5] * 1000, "shop.country": ["DE"] * 1000}).write_ipc_stream(sink, compression="lz4")
    assert [(row[0], row[3]) for row in rows(sink.getvalue())] == [(1.5, "DE")] * 1000


def test_many_records_may_not_refer_to_one_long_text(decoded):
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int8()), pa.array(["x" * 10_000]))
    with pytest.raises(TooMuchHeldError, match="1000 records"):
        decoded(ipc(one(shop_in_country=long)))


def test_records_without_any_bytes_are_bounded(decoded):
    assert sum(block.records for block in decoded(ipc(one(amount=pa.nulls(60_000))))) == 60_000
    with pytest.raises(BodyError, match="no more records than fit"):
        decoded(ipc(one(amount=pa.nulls(10**7))))


def test_dictionaries_are_bounded(decoded):
    many = pa.array([str(i) for i in range(2000)]).dictionary_encode()
    with pytest.raises(TooMuchHeldError, match="1000 values in dictionaries"):
        decoded(ipc(one(shop_in_country=many)))


def test_many_small_deltas_of_a_dictionary_are_bounded(decoded):
    texts = [str(at) for at in range(12)]
    batches = [
        one(shop_in_country=pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(texts[: at + 1])))
        for at in range(12)
    ]
    assert len(decoded(ipc(*batches[:10], emit_dictionary_deltas=True))) == 10
    with pytest.raises(TooMuchHeldError, match="1000 values in dictionaries"):
        decoded(ipc(*batches, emit_dictionary_deltas=True))


def test_a_schema_is_bounded(decoded):
    with pytest.raises(BodyError) as caught:
        decoded(ipc(pa.record_batch({f"c{i}": [1] for i in range(101)})))
    assert caught.value.code == "too_wide"
    array = pa.array([1])
    for _ in range(12):
        array = pa.StructArray.from_arrays([array], ["x"])
    with pytest.raises(BodyError) as caught:
        decoded(ipc(pa.record_batch({"amount": array})))
    assert caught.value.code == "too_deep"


SOUND = [
    ipc(FULL, FULL),
    ipc(FULL, compression="zstd"),
    ipc(one(amount=np.zeros(100)), compression="lz4"),
    ipc(one(amount=pa.array([Decimal("1.5"), None]), shop_in_country=pa.array(["x" * 20, None], pa.string_view()))),
    ipc(one(shop_in_country=pa.array(["a", None, "b"]).dictionary_encode(), placed_at=pa.array([1, 2, 3]))),
    ipc(pa.record_batch({"shop": pa.array([{"country": "DE", "id": [1]}, None]), "amount": [1, 2]})),
]


@given(st.sampled_from(SOUND), st.data())
@settings(max_examples=600)
def test_whatever_becomes_of_a_sound_body_is_read_or_refused(decoded, body, data):
    altered = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(altered)))
        some = st.sampled_from([b"\0", b"\xff", b"\x01", b"\x7f", b"\0\0\0\x80", b"\xff\xff\xff\x7f", b"\x10\0\0\0"])
        new = data.draw(some | st.binary(max_size=8))
        altered[start : start + data.draw(st.sampled_from([len(new), len(new), 0, 4]))] = new
    try:
        for block in decoded(bytes(altered)):
            assert block.records == len(block.columns) + len(block.faults)
            assert not np.isinf(block.columns.numbers).any()
            assert all(isinstance(text, str) for text in block.columns.strings.flat)
    except ServiceError:
        pass


@pytest.mark.parametrize(("deltas", "times"), [(False, 1), (True, 2)])
def test_dictionaries_count_towards_what_is_held(schema, streams, deltas, times):
    texts = [f"{at:0>200}" for at in range(800)]
    batches = [
        one(shop_in_country=pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(values)))
        for values in (texts[:400], texts if deltas else texts[400:])
    ]
    decoder = ArrowDecoder(schema, streams.limits(), UnpackedBytes(1 << 20))
    assert len([*decoder.feed(ipc(*batches, emit_dictionary_deltas=deltas))]) == 2
    assert 400 * 200 * times < decoder.held_bytes < 400 * 300 * times
