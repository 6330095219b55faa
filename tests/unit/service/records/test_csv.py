from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.errors import RecordError
from vaegis.service.files.arrow_columns import columns_from_batch
from vaegis.service.files.record_files import open_records
from vaegis.service.records import csv as csv_stream
from vaegis.service.records.blocks import BLOCK_BYTES, BodyError, TooMuchHeldError
from vaegis.service.records.csv import CsvDecoder, row_fault
from vaegis.service.records.values import CSV_NULLS

HEADER = "amount,shop.country,express,placed_at,shop.id\n"
FULL = "1.5,DE,true,1970-01-02,x\n"


@pytest.fixture(scope="session")
def decoded(schema, streams):
    def run(body, parts=None, *, delimiter=",", **changes):
        return streams.blocks(CsvDecoder(schema, streams.limits(**changes), delimiter), body, parts)

    return run


@pytest.fixture(scope="session")
def rows(decoded, streams):
    return lambda *args, **options: streams.rows(decoded(*args, **options))


def test_a_record_fills_its_columns(rows):
    assert rows((HEADER + FULL).encode()) == [[1.5, 1.0, 86_400.0, "DE", True]]


@pytest.mark.parametrize(
    "body",
    [
        "\ufeff" + HEADER + FULL,
        "\n\ufeff\ufeff" + HEADER + "\ufeff" + FULL,
        (HEADER + FULL).replace("\n", "\r\n"),
        (HEADER + FULL).replace("\n", "\r"),
        "\n\n" + HEADER + "\n" + FULL + "\n\n",
        (HEADER + FULL).removesuffix("\n"),
        '"amount","shop.country","express","placed_at","shop.id"\n"1.5","DE","true","1970-01-02","a ""b"", c\nd"\n',
        "shop.id,placed_at,amount,express,shop.country\nx,86400,+1.50,TRUE,DE\n",
    ],
)
@pytest.mark.parametrize("parts", [None, 1, 7])
def test_csv_comes_in_many_ways(rows, body, parts):
    assert rows(body.encode(), parts=parts) == [[1.5, 1.0, 86_400.0, "DE", True]]


def test_values_may_be_parted_by_tabs(rows):
    body = (HEADER + FULL + FULL.replace("DE", "D,E")).replace(",", "\t").replace("D\tE", "D,E")
    found = rows(body.encode(), delimiter="\t")
    assert [row[3] for row in found] == ["DE", "D,E"]


@pytest.mark.parametrize("null", [*sorted(CSV_NULLS), '""', '"NA"'])
def test_a_null_is_written_in_the_ways_of_files(rows, null):
    (row,) = rows(f"{HEADER}{null},{null},{null},{null},\n".encode())
    assert np.isnan(row[:3]).all()
    assert row[3:] == ["", False]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("one,DE,true,1970-01-02,x", ("amount", "wrong_type")),
        ("1e400,DE,true,1970-01-02,x", ("amount", "too_large")),
        ("1,DE,2,1970-01-02,x", ("express", "wrong_type")),
        ("1,DE,1,soon,x", ("placed_at", "invalid_timestamp")),
        ("1,DE,1,1970-01-02", (None, "wrong_width")),
        ("1,DE,1,1970-01-02,x,y", (None, "wrong_width")),
        (r'1,"D\"E x",1,1970-01-02,x', (None, "invalid_csv")),
        (r'1,"D\"E\", x",1,1970-01-02,x', (None, "invalid_csv")),
    ],
)
def test_a_bad_record_is_reported_and_the_others_are_not_harmed(rows, line, fault):
    good = [1.5, 1.0, 86_400.0, "DE", True]
    assert rows(f"{HEADER}{FULL}{line}\n{FULL}".encode()) == [good, [fault], good]


def test_a_record_that_is_not_utf8_is_reported(rows):
    body = (HEADER + FULL).encode() + b"1,\xff,1,1970-01-02,x\n" + FULL.encode()
    assert rows(body)[1] == [(None, "invalid_utf8")]
    assert len(rows(body)) == 3


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        (b"\n\n", "empty_body"),
        (b"amount;express\n1;2\n", "invalid_csv"),
        (b'amount\n"1', "invalid_csv"),
        (b'"amount', "invalid_csv"),
        (b"\xff\n1\n", "invalid_utf8"),
        (b",".join(b"c%d" % i for i in range(101)) + b"\n", "too_wide"),
        pytest.param(b'amount\n"' + b"x" * 1_500_000, "invalid_csv", id="an endless value"),
    ],
)
def test_what_is_no_csv_is_refused(decoded, body, code):
    with pytest.raises(BodyError, match=r"^(body|header): expected") as caught:
        decoded(body, max_held_bytes=1 << 24)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("header", "faults"),
    [
        ("amount,amuont", [("amuont", "unknown_column")]),
        ("amount,amount", [("amount", "duplicate_key")]),
        ("shop.id", [(None, "no_known_column")]),
    ],
)
def test_a_header_that_does_not_fit_is_refused_as_a_whole(decoded, header, faults):
    with pytest.raises(RecordError) as caught:
        decoded(f"{header}\n1,2\n".encode())
    assert [(fault.column, fault.code) for fault in caught.value.faults] == faults
    assert {fault.row for fault in caught.value.faults} == {None}


def test_unknown_columns_can_be_ignored(rows):
    assert rows(b"colour,amount\nred,7\n", unknown_columns="ignore")[0][0] == 7.0


def test_a_body_of_a_header_alone_has_no_records(decoded):
    assert decoded(HEADER.encode()) == []


def test_a_long_body_comes_in_blocks_of_bounded_size(decoded):
    body = b"amount\n" + b"".join(b"%d\n" % i for i in range(200_000))
    blocks = decoded(body, parts=1 << 20)
    assert len(blocks) > 3
    assert max(block.records for block in blocks) <= BLOCK_BYTES / 2
    assert np.concatenate([block.columns.numbers[:, 0] for block in blocks]).tolist() == list(range(200_000))


def test_a_line_over_the_limit_is_refused_as_soon_as_it_is(schema, streams):
    decoder = CsvDecoder(schema, streams.limits())
    for _ in range(16):
        assert list(decoder.feed(b"x" * (1 << 16))) == []
    with pytest.raises(TooMuchHeldError, match="at most 1048576 bytes"):
        next(decoder.feed(b"x"))


def test_a_record_of_the_longest_kind_may_follow_on_any_other(rows):
    record = b'1,"' + b"x\n" * 600 + b'",1,1970-01-02,x\n'
    limit = len(record) - 1
    for others in (0, 1, 30):
        body = HEADER.encode() + FULL.encode() * others + record
        assert len(rows(body, parts=100, max_held_bytes=limit)) == others + 1
        with pytest.raises(TooMuchHeldError):
            rows(body, max_held_bytes=limit - 1)


def test_a_quote_that_stays_open_is_not_read_again_and_again(rows, monkeypatch):
    parsed = []
    rows_of = csv_stream.rows_of

    def counted(lines, delimiter):
        parsed.append(len(lines))
        return rows_of(lines, delimiter)

    monkeypatch.setattr(csv_stream, "rows_of", counted)
    body = HEADER.encode() + b'1,"' + b"x\n" * 400_000 + b'",1,1970-01-02,x\n'
    assert len(rows(body, parts=1 << 12, max_held_bytes=1 << 24, max_values=10**6)) == 1
    assert sum(parsed) < 5 * len(body)


CELLS = st.sampled_from(
    ["1", "0.25", "-3e2", "", "NA", "DE", 'a"b', "a,b", "a\nb", "true", "x\\", "2026-03-02", " 7", "\t"]
)


@given(
    st.lists(st.lists(CELLS, min_size=5, max_size=5), max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.integers(1, 60),
)
def test_any_part_of_a_body_at_a_time_gives_what_the_whole_does(rows, records, newline, quoting, parts):
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=newline, quoting=quoting)
    writer.writerow(HEADER.strip().split(","))
    writer.writerows(records)
    body = text.getvalue().encode()
    whole = rows(body)
    assert len(whole) == len(records)
    np.testing.assert_equal(rows(body, parts=parts), whole)


LONG_CELLS = CELLS | st.sampled_from(["x" * 9, "x\n" * 4, "\n" * 8, '"' * 4, "x" * 60])


@given(
    st.lists(st.lists(LONG_CELLS, min_size=2, max_size=2), max_size=6),
    st.sampled_from(["amount,shop.id", "amount,amuont", 'amount,"shop.id\n"', "\n\namount,shop.id"]),
    st.sampled_from(["", "\n\n", '"', '"x', '"\n\n', '"' + "x\n" * 12]),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_a_record_over_the_limit_is_refused_however_the_body_is_cut(decoded, streams, records, header, rest, cuts):
    lines = []
    for record in records:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow(record)
        lines.append(text.getvalue())
    body = (header + "\n" + "".join(lines) + rest).encode()
    outcome = streams.outcome(decoded, body, cuts, max_held_bytes=20)
    np.testing.assert_equal(outcome, streams.outcome(decoded, body, None, max_held_bytes=20))
    if "\n" not in header.strip() and "amuont" not in header:
        too_long = any(len(line) > 21 for line in lines) or len(rest) > 20
        assert (outcome is TooMuchHeldError) == too_long


@given(st.lists(st.lists(CELLS, min_size=5, max_size=5), min_size=1, max_size=5))
def test_a_body_gives_the_columns_that_a_file_gives(rows, schema, tmp_path_factory, records):
    path = tmp_path_factory.mktemp("csv") / "records.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER.strip().split(","))
        writer.writerows(records)
    (batch,) = open_records(path).batches()
    found = rows(path.read_bytes())
    for row, values in enumerate(found):
        one = batch.batch.slice(row, 1)
        if isinstance(values[0], tuple):
            with pytest.raises(Exception, match="expected"):
                columns_from_batch(one, schema, path=Path("x"), first_row=1)
        else:
            columns = columns_from_batch(one, schema, path=Path("x"), first_row=1)
            np.testing.assert_equal(values, [*columns.numbers[0], *columns.strings[0], *columns.strings_observed[0]])


BLANK_OR_NOT = ["\n", "\r\n", "\n\n\n", FULL, FULL.replace("x", '"x\n\n\ny"'), "2,FR,0,1970-01-02,\n"]


@given(st.lists(st.sampled_from(BLANK_OR_NOT), max_size=8))
def test_blank_lines_are_passed_over_but_within_quotes(rows, lines):
    body = HEADER + "".join(lines)
    kept = HEADER + "".join(line for line in lines if line.strip())
    assert rows(("\n\n" + body).encode()) == rows(kept.encode())


def test_blank_lines_take_less_time_than_records(decoded):
    def took(line):
        began = time.process_time()
        decoded(HEADER.encode() + line * (2**21 // len(line)), 2**16)
        return time.process_time() - began

    assert took(b"\n") < took(FULL.encode())


@pytest.mark.parametrize("head", [b"", HEADER.encode()])
def test_a_record_of_more_values_than_are_parsed_is_refused(decoded, head):
    with pytest.raises(TooMuchHeldError, match="at most 1000 values and lines"):
        decoded(head + b"," * 2**19 + b"\n")


def test_many_short_records_come_in_several_blocks(decoded):
    blocks = decoded(b"amount\n" + b"1\n" * 40_000)
    assert [block.records for block in blocks] == [16_384, 16_384, 7232]
    assert [block.first_row for block in blocks] == [0, 16_384, 32_768]


def test_a_quote_after_a_backslash_at_the_end_of_a_value_closes_it(rows):
    body = HEADER + '1.5,DE,true,1970-01-02,"c:\\"\n' + '1.5,DE,true,1970-01-02,"x ""y"" \\"\n'
    assert [row[0] for row in rows(body.encode())] == [1.5, 1.5]


def test_backslashes_before_delimiters_and_before_a_last_quote_are_named(decoded):
    with pytest.raises(BodyError, match="quotes within values are doubled, without backslashes"):
        decoded((HEADER + r'1,"D\"",1,1970-01-02,x').encode())
    assert "backslashes before delimiters" in row_fault(["a\\", "b", "c"], 2)[1]
