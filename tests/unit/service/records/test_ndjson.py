from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.errors import RecordError
from vaegis.service.records.blocks import BLOCK_BYTES, BodyError, TooMuchHeldError
from vaegis.service.records.json_fast import TypedJson
from vaegis.service.records.ndjson import NdjsonDecoder, line_fault
from vaegis.service.records.python_records import columns_from_records

FULL = {"amount": 1.5, "shop": {"country": "DE", "id": "x"}, "express": True, "placed_at": "1970-01-02"}
ROW = [1.5, 1.0, 86_400.0, "DE", True]
LINE = json.dumps(FULL) + "\n"


@pytest.fixture(scope="session")
def decoded(schema, streams):
    def run(body, parts=None, **changes):
        limits = streams.limits(**changes)
        typed = TypedJson(schema, max_depth=limits.max_depth, max_values=limits.max_values, max_records=1)
        return streams.blocks(NdjsonDecoder(schema, limits, typed), body, parts)

    return run


@pytest.mark.parametrize(
    "body",
    [
        LINE * 2,
        LINE + LINE.strip(),
        "\ufeff\ufeff" + LINE + "\ufeff" + LINE,
        "\ufeff\n" + LINE * 2,
        ("\n" + LINE + " \r\n" + LINE).replace("\n", "\r\n"),
        json.dumps({key: FULL[key] for key in reversed(FULL)}) + "\n" + LINE,
        LINE + '{"amount": "1.5", "shop.country": "DE", "express": 1, "placed_at": 86400}',
    ],
)
@pytest.mark.parametrize("parts", [None, 1, 50])
def test_every_line_is_a_record(decoded, streams, body, parts):
    assert streams.rows(decoded(body.encode(), parts)) == [ROW, ROW]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"amount": 1', (None, "invalid_json")),
        (b'{"amount": 1} {"amount": 2}', (None, "invalid_json")),
        (b'{"amount": 1},{"amount": 2}', (None, "invalid_json")),
        (b'{"amount": 1, "amount": 2}', (None, "duplicate_key")),
        (b'{"amount": NaN}', (None, "not_finite")),
        (b'{"amount": ' + b"1" * 5000 + b"}", (None, "too_large")),
        (b'{"amount": "\xff"}', (None, "invalid_utf8")),
        (b"[" * 9 + b"]" * 9, (None, "too_deep")),
        (b"[" + b"1," * 1000 + b"1]", (None, "too_many_values")),
        (b"[{}]", (None, "not_an_object")),
        (b"7", (None, "not_an_object")),
        (b"{}", (None, "no_known_column")),
        (b'{"amount": "one"}', ("amount", "wrong_type")),
        (b'{"amuont": 1}', ("amuont", "unknown_column")),
    ],
)
def test_a_bad_line_is_a_bad_record_and_the_others_are_not_harmed(decoded, streams, line, fault):
    body = LINE.encode() + line + b"\n" + LINE.encode()
    assert streams.rows(decoded(body)) == [ROW, [fault], ROW]


def test_an_object_over_two_lines_makes_two_bad_records(decoded, streams):
    rows = streams.rows(decoded(b'{"amount": 1,\n"express": true}\n{"amount":1}\n'))
    assert [row[0][1] for row in rows[:2]] == ["invalid_json"] * 2
    assert rows[2][0] == 1.0


def test_a_fault_names_the_place_of_its_record_in_the_body_but_no_value(decoded):
    body = LINE.encode() * 3 + b'{"amount": "secret"}\n{"secret'
    faults = [fault for block in decoded(body, 1) for found in block.faults.values() for fault in found]
    assert [fault.message.split(":")[0] for fault in faults] == ["records[3].amount", "records[4]"]
    assert not any("secret" in fault.message for fault in faults)


def test_faults_of_one_record_are_reported_up_to_the_limit(decoded):
    body = json.dumps({f"c{i}": i for i in range(100)}).encode() + b"\n" + LINE.encode()
    (block,) = decoded(body, max_faults=3)
    assert [len(faults) for faults in block.faults.values()] == [3]


@pytest.mark.parametrize("body", [b"", b"\n \r\n"])
def test_nothing_but_blank_lines_is_refused(decoded, body):
    with pytest.raises(BodyError) as caught:
        decoded(body)
    assert caught.value.code == "empty_body"


def test_a_long_body_comes_in_blocks_of_bounded_size(decoded):
    body = b"".join(b'{"amount": %d}\n' % i for i in range(50_000))
    blocks = decoded(body)
    assert max(block.records for block in blocks) <= BLOCK_BYTES / 13
    assert np.concatenate([block.columns.numbers[:, 0] for block in blocks]).tolist() == list(range(50_000))


def test_a_line_over_the_limit_is_refused_before_its_end(decoded):
    with pytest.raises(TooMuchHeldError):
        decoded(b"[" * 3_000_000, 1 << 16)


@given(
    st.lists(st.sampled_from([b"", b"{}", b'{"amount": 1}', b"7" * 19, b"7" * 20, b"7" * 21, b"7" * 50]), max_size=8),
    st.booleans(),
    st.lists(st.integers(0, 120), max_size=6),
)
def test_a_line_over_the_limit_is_refused_however_the_body_is_cut(decoded, streams, lines, has_end, cuts):
    body = b"\n".join(lines) + b"\n" * has_end
    outcome = streams.outcome(decoded, body, cuts, max_held_bytes=20)
    assert (outcome is TooMuchHeldError) == any(len(line) > 20 for line in lines)
    np.testing.assert_equal(outcome, streams.outcome(decoded, body, None, max_held_bytes=20))


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
RECORDS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("amount", "express", "placed_at", "shop.country", "shop.id", "other"), VALUES)
)


@given(st.lists(RECORDS, min_size=1, max_size=6), st.integers(1, 40))
def test_a_line_gives_what_its_record_gives_in_a_json_body(decoded, streams, schema, records, parts):
    body = "".join(json.dumps(record).replace("Infinity", "1e999") + "\n" for record in records).encode()
    rows = streams.rows(decoded(body))
    np.testing.assert_equal(streams.rows(decoded(body, parts)), rows)
    for record, row in zip(records, rows, strict=True):
        if isinstance(row[0], tuple):
            with pytest.raises(RecordError) as caught:
                columns_from_records([record], schema)
            assert [(fault.column, fault.code) for fault in caught.value.faults] == row
        else:
            columns = columns_from_records([record], schema)
            np.testing.assert_equal(row, [*columns.numbers[0], *columns.strings[0], *columns.strings_observed[0]])


def test_blank_lines_take_less_time_than_records(decoded):
    def took(line):
        began = time.process_time()
        decoded(LINE.encode() + line * (2**21 // len(line)), 2**16)
        return time.process_time() - began

    assert took(b" \n") < took(LINE.encode())


def test_many_short_records_come_in_several_blocks(decoded):
    blocks = decoded(b'{"amount":1}\n' * 20_000, max_values=10**6)
    assert [block.first_row for block in blocks] == [0, 16_384, 20_000 - blocks[-1].records][: len(blocks)]
    assert sum(block.records for block in blocks) == 20_000
    assert max(block.records for block in blocks) <= 16_384


def test_a_line_of_a_form_feed_is_not_taken_for_part_of_a_record():
    assert line_fault(b"\x0c", BodyError("invalid_json", "body: expected JSON")) == "expected JSON"
