"""The fast way gives what the exact way gives, or nothing."""

from __future__ import annotations

import json
import math
import tracemalloc
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.columns import Columns
from vaegis.service.contract import BooleanColumn, CategoricalColumn, IgnoredColumn, NumericColumn, Schema
from vaegis.service.errors import ServiceError
from vaegis.service.records import json_fast
from vaegis.service.records.json import parse_json
from vaegis.service.records.json_fast import TypedJson
from vaegis.service.records.python_records import columns_from_records

MAX_DEPTH, MAX_RECORDS, MAX_VALUES = 8, 50, 5_000
FULL = {
    "amount": 1.5,
    "shop.country": "DE",
    "express": True,
    "placed_at": "1970-01-02T00:00:00Z",
    "shop.id": "x",
}


def typed(schema: Schema, body: bytes, **limits: int) -> Columns | None:
    limits = {"max_depth": MAX_DEPTH, "max_values": MAX_VALUES, "max_records": MAX_RECORDS} | limits
    return TypedJson(schema, **limits).columns(body, lambda: None)


def exact(schema: Schema, body: bytes) -> Columns | ServiceError:
    try:
        document = parse_json(body, max_depth=MAX_DEPTH)
        return columns_from_records(document if isinstance(document, list) else [document], schema)
    except ServiceError as error:
        return error


def assert_equal(given_: Columns, wanted: Columns) -> None:
    assert np.array_equal(given_.numbers, wanted.numbers, equal_nan=True)
    assert np.array_equal(np.signbit(given_.numbers), np.signbit(wanted.numbers))
    assert given_.strings.tolist() == wanted.strings.tolist()
    assert all(type(text) is str for text in given_.strings.flat)
    assert np.array_equal(given_.strings_observed, wanted.strings_observed)
    for name in Columns.__struct_fields__:
        array, like = getattr(given_, name), getattr(wanted, name)
        assert (array.dtype, array.shape, array.flags.c_contiguous) == (like.dtype, like.shape, True)


def assert_agree(schema: Schema, body: bytes) -> None:
    fast = typed(schema, body)
    if fast is not None:
        wanted = exact(schema, body)
        assert isinstance(wanted, Columns), wanted
        assert_equal(fast, wanted)


SCALARS = r"""
0 -0 -0.0 1 1.0 1e0 2 0.1 1e400 -1e400 1e-400 1E5 01 1. .5 +1 - 9007199254740993 18446744073709551616 1e11 1e14 1.7e18
-9223372036854775809 1e300 true false null NaN Infinity nul {} [] [1,[2]] "DE" "" "1" "true" "1970-01-02" "2024-02-30"
"2024-02-29T10:00:00+02:00" "a\":1,\"b" "12:30" "},{" "\u0000" "\ud800" "\ud83d\ude00" "\x" "中" "\\"
{"id":1,"id":2} {"country":"DE"} {"country":"DE","id":null} {"more":1}
"""
scalars = st.sampled_from(
    [*SCALARS.split(), "1" * 310, "1" * 4301, "0." + "1" * 800, '"x :y"', '"a\nb"', '{"country" : 1}']
) | st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers().map(str),
    st.text().map(json.dumps),
    st.text(st.characters(exclude_categories=["Cs"])).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.datetimes().map(datetime.isoformat).map(json.dumps),
)
keys = st.sampled_from([*FULL, "shop", "am\\u006funt", "shop.", "other", "", "amount "])
spaces = st.sampled_from(["", "", "", "", " ", "\n\t", "\r", "\u00a0", "\x0c"])


@st.composite
def objects(draw: st.DrawFn, names: st.SearchStrategy[str] = keys) -> str:
    pairs = draw(st.lists(st.tuples(spaces, names, spaces, scalars, spaces), max_size=8))
    return "{" + ",".join(f'{a}"{key}"{b}:{value}{c}' for a, key, b, value, c in pairs) + "}"


usual = st.fixed_dictionaries(
    {},
    optional={
        "amount": st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        "shop.country": st.none() | st.text() | st.integers() | st.booleans(),
        "express": st.sampled_from([None, True, False, 0, 1, 1.0]),
        "placed_at": st.none() | st.datetimes().map(datetime.isoformat) | st.integers(0, 10**12) | st.floats(0, 1e9),
        "shop.id": st.text(),
    },
)


def nested(record: dict[str, object]) -> dict[str, object]:
    """Return a record with its shop as an object."""
    shop = {key.removeprefix("shop."): value for key, value in record.items() if key.startswith("shop.")}
    return {key: value for key, value in record.items() if not key.startswith("shop.")} | {"shop": shop}


@given(st.lists(objects(), min_size=1, max_size=4), spaces)
@settings(max_examples=500, deadline=None)
def test_whatever_a_list_of_objects_holds(schema, texts, space):
    assert_agree(schema, f"{space}[{','.join(texts)}]{space}".encode("utf-8", "surrogatepass"))
    assert_agree(schema, (space + texts[0] + space).encode("utf-8", "surrogatepass"))


@given(st.lists(usual, min_size=1, max_size=4), st.booleans(), st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_becomes_of_a_sound_body(schema, records, is_nested, data):
    body = bytearray(json.dumps([*map(nested, records)] if is_nested else records).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(body)))
        end = min(len(body), start + data.draw(st.integers(0, 3)))
        marks = st.sampled_from([b'"', b"{", b"}", b",", b":", b"1", b"\\"])
        body[start:end] = data.draw(st.binary(max_size=3) | marks)
    assert_agree(schema, bytes(body))


@given(st.lists(objects(st.sampled_from([*FULL])) | usual.map(json.dumps), min_size=1, max_size=12), spaces, st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_a_list_holds_that_is_read_in_parts(schema, texts, space, data):
    body = f"[{space}{(space + ',' + space).join(texts)}{data.draw(st.sampled_from(['', ',', space]))}]{space}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_fast, "PART_BYTES", data.draw(st.integers(1, 60)))
        patch.setattr(json_fast, "_BETWEEN_CUTS", 1)
        assert_agree(schema, body.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "record",
    [
        FULL,
        nested(FULL),
        dict(reversed(FULL.items())),
        {"amount": 1},
        {"express": 0},
        {"placed_at": 1_700_000_000},
        {"shop": {"country": "DE"}},
        FULL | {"amount": None},
        FULL | {"shop.country": None, "placed_at": None, "express": None},
        FULL | {"shop.country": 7, "shop.id": 12345},
        FULL | {"shop.country": "note: x", "shop.id": '\u4e2d\u2028"{'},
        nested(FULL) | {"shop": None},
        nested(FULL) | {"shop": {}},
    ],
)
@pytest.mark.parametrize("records", [1, 3, 700])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), ("\n , ", ":\t")])
def test_sound_records_are_read_the_fast_way(schema, record, records, separators):
    for document in ([record] * records, record):
        for ensure_ascii in (True, False):
            body = json.dumps(document, separators=separators, ensure_ascii=ensure_ascii).encode()
            fast, wanted = typed(schema, body, max_records=1400, max_values=10_000), exact(schema, body)
            assert fast is not None
            assert isinstance(wanted, Columns)
            assert_equal(fast, wanted)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[{}]",
        b"7",
        b'{"amount":1,"amount":2}',
        b'{"amount":1,"amount" :2}',
        b'{"amount":1,"am\\u006funt":2}',
        b'{"shop":{"country":"a","country":"b"}}',
        b'[{"amount":1}, {"shop":{"country":"a"},"shop":{"country":"b"}}]',
        b'{"amount":1,"shop.country":"a","shop":{"country":"b"}}',
        b'{"amount":1,"shop.id":[{}]}',
        b'{"amount":null}',
        b'{"shop.id":1}',
        b'{"amount":1,"unknown":1}',
        b'{"amount":"1"}',
        b'{"amount":true}',
        b'{"express":2}',
        b'{"placed_at":true}',
        b'{"placed_at":"yesterday"}',
        b'{"placed_at":1e300}',
        b'{"shop.country":1.5}',
        b'{"shop.country":"\\ud800"}',
        b'[{"amount":1},{"amount":2},]',
        b'[{"amount":1}]x',
    ],
)
def test_the_rest_is_left_to_the_exact_way(schema, body):
    assert typed(schema, body) is None


@pytest.mark.parametrize("short", [True, False], ids=["short", "long"])
def test_a_key_that_comes_twice_is_noticed_among_many_records_with_colons_in_their_text(schema, short):
    records = [json.dumps(FULL)] * (2 if short else 60)
    assert typed(schema, f"[{','.join(records)}]".encode(), max_records=60) is not None
    for twice in ('{"amount":1,"amount":2}', '{"amount":1,"amount" :2}'):
        assert typed(schema, f"[{','.join([*records, twice])}]".encode(), max_records=61) is None


@pytest.mark.parametrize(("limit", "value"), [("max_records", 2), ("max_values", 5), ("max_depth", 2)])
def test_what_is_beyond_a_limit_is_left_to_the_exact_way(schema, limit, value):
    record = {"amount": 1.5, "shop": {"country": "DE"}}
    body = json.dumps([record] * 3).encode()
    assert typed(schema, body) is not None
    assert typed(schema, body, **{limit: value}) is None


def test_objects_are_counted_before_they_take_memory(schema):
    reader = TypedJson(schema, max_depth=MAX_DEPTH, max_values=10**9, max_records=MAX_RECORDS)
    body = b"[" + b"{}," * 10**6 + b"{}]"
    tracemalloc.start()
    try:
        assert reader.columns(body, lambda: None) is None
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
    finally:
        tracemalloc.stop()


def test_work_on_a_long_list_can_be_ended_between_its_parts(schema, monkeypatch):
    monkeypatch.setattr(json_fast, "PART_BYTES", 100)
    body = json.dumps([FULL] * 40).encode()
    done = []

    def third_time() -> None:
        done.append(None)
        if len(done) == 3:
            raise TimeoutError

    reader = TypedJson(schema, max_depth=8, max_values=5_000, max_records=50)
    with pytest.raises(TimeoutError):
        reader.columns(body, third_time)
    fast = reader.columns(body, lambda: None)
    assert fast is not None
    assert len(fast) == 40


def test_any_name_without_escapes_serves_as_a_key_and_others_are_left_to_the_exact_way():
    names = ["class", "a b", "\u4e2d", "", "a.b", "a.b.c", ".", "__init__", "field0", "x" * 300]
    record = {name: str(at) for at, name in enumerate(names)}
    columns = [CategoricalColumn(name=name, missing_share=0.0, categories=("a",), shares=(1.0,)) for name in names]
    fast = typed(Schema(columns=tuple(columns)), json.dumps([record] * 2).encode())
    assert fast is not None
    assert fast.strings.tolist() == [[*record.values()]] * 2
    escaped = columns[0].model_copy(update={"name": 'in"ch'})
    assert typed(Schema(columns=(escaped,)), json.dumps({escaped.name: "a"}).encode()) is None


def test_a_column_beside_an_object_of_its_name_keeps_records_flat(schema):
    columns = tuple(
        CategoricalColumn(name=name, missing_share=0.0, categories=("a",), shares=(1.0,)) for name in ("a", "a.b")
    )
    for body in (b'{"a":"x","a.b":"y"}', b'{"a":{"b":"y"}}', b'[{"a":null,"a.b":"y"}]'):
        assert_agree(Schema(columns=columns), body)
    assert typed(Schema(columns=columns), b'{"a":"x","a.b":"y"}') is not None


def test_numbers_keep_their_columns_whatever_the_order_of_kinds(schema):
    number = schema.columns[0]
    truth = BooleanColumn(name="t", missing_share=0.0, true_share=0.5)
    zero_or_one = BooleanColumn(name="i", missing_share=0.0, true_share=0.5, as_number=True)
    other = number.model_copy(update={"name": "n"})
    columns = (schema.columns[3], truth, number, schema.columns[1], zero_or_one, other)
    mixed = Schema(columns=columns, ignored=(IgnoredColumn(name="o", reason="text"),))
    record = {"placed_at": "1970-01-02", "t": True, "amount": 2.5, "shop.country": "FR", "i": 7, "n": -0.0, "o": "p"}
    for document in (record, [record, {"i": False}]):
        body = json.dumps(document).encode()
        fast, wanted = typed(mixed, body), exact(mixed, body)
        assert fast is not None
        assert isinstance(wanted, Columns)
        assert_equal(fast, wanted)
    assert math.isnan(fast.numbers[1, 0])


def test_a_wide_schema_is_read_the_fast_way(schema):
    columns = [NumericColumn(**schema.columns[0].model_dump(exclude={"name"}), name=f"n{at}") for at in range(300)]
    body = json.dumps([{f"n{at}": at / 7 for at in range(300)}] * 20).encode()
    fast = typed(Schema(columns=tuple(columns)), body, max_values=10_000)
    assert fast is not None
    assert fast.numbers.tolist() == [[at / 7 for at in range(300)]] * 20
