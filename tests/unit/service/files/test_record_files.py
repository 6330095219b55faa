from __future__ import annotations

import gzip
import io
import os
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from vaegis.service.errors import FileError
from vaegis.service.files import batches as record_batches
from vaegis.service.files import csv
from vaegis.service.files.formats import Dialect, FileFormat
from vaegis.service.files.readers import format_of
from vaegis.service.files.record_files import open_records
from vaegis.service.records import csv as csv_stream
from vaegis.service.records.faults import OnInvalid


def read(path: Path) -> list[dict[str, object]]:
    return [record for batch in open_records(path).batches() for record in batch.batch.to_pylist()]


def parquet(**columns: object) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


def ipc(table: pa.Table, *, stream: bool = False) -> bytes:
    sink = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_csv_values_stay_the_text_that_the_file_holds(write):
    path = write("a.csv", b'code,amount\n01234,1.50\n"two\nlines",NA\n"",nan\n')
    assert read(path) == [
        {"code": "01234", "amount": "1.50"},
        {"code": "two\nlines", "amount": None},
        {"code": None, "amount": None},
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"\xef\xbb\xbfa,b\r\n1,x\r\n"),
        ("a.tsv", b"a\tb\n1\tx\n"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,x\n")),
        ("A.CSV", b"a,b\n\n1,x"),
        ("a.csv", b"\n\xef\xbb\xbf\xef\xbb\xbfa,b\n\xef\xbb\xbf1,x\n"),
    ],
)
def test_csv_comes_in_many_ways(write, name, content):
    assert read(write(name, content)) == [{"a": "1", "b": "x"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ndjson", b'{"a": 1, "b": {"c": "2026-01-01"}}\n\n{"a": null, "b": null}\n'),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1, "b": {"c": "2026-01-01"}}\n{}\n')),
        ("a.parquet", parquet(a=[1, None], b=[{"c": "2026-01-01"}, None])),
        ("a.arrow", ipc(pa.table({"a": [1, None], "b": [{"c": "2026-01-01"}, None]}))),
        ("a.arrows", ipc(pa.table({"a": [1, None], "b": [{"c": "2026-01-01"}, None]}), stream=True)),
    ],
)
def test_typed_files_give_flat_records_and_leave_text_alone(write, name, content):
    assert read(write(name, content)) == [{"a": 1, "b.c": "2026-01-01"}, {"a": None, "b.c": None}]


def test_text_is_plain_however_a_file_encodes_it(write):
    columns = {
        "dictionary": pa.array(["x", None]).dictionary_encode(),
        "dictionary_of_views": pa.DictionaryArray.from_arrays([0, None], pa.array(["x"], pa.string_view())),
        "large": pa.array(["x", None], pa.large_string()),
        "view": pa.array(["x", None], pa.string_view()),
    }
    (batch,) = open_records(write("a.arrow", ipc(pa.table(columns)))).batches()
    assert set(batch.batch.schema.types) == {pa.string()}


def test_the_row_of_a_batch_counts_on_within_its_file(write, monkeypatch):
    monkeypatch.setattr(csv, "BLOCK_BYTES", 64)
    path = write("a.csv", b"a\n" + b"".join(b"%d\n" % i for i in range(100)))
    batches = list(open_records(path).batches())
    assert len(batches) > 1
    for batch in batches:
        assert batch.batch["a"][0].as_py() == str(batch.first_row - 1)


def test_a_mark_of_other_delimiters_may_stand_in_the_name_of_a_lone_column(write):
    assert read(write("a.csv", b"a|b\n1\n2\n")) == [{"a|b": "1"}, {"a|b": "2"}]


def test_a_folder_is_read_in_order_without_hidden_files(write, tmp_path):
    for name in ("b/2.csv", "b/1.csv.gz", "a.csv", ".hidden.csv", "_temporary/x.csv", ".git/x.csv", "_SUCCESS"):
        content = b"a\n%s\n" % name.encode()
        write(name, gzip.compress(content) if name.endswith(".gz") else content)
    files = open_records(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in files.paths] == ["a.csv", "b/1.csv.gz", "b/2.csv"]
    assert files.format is FileFormat.CSV
    assert files.size_bytes == sum(path.stat().st_size for path in files.paths)
    assert [record["a"] for record in read(tmp_path)] == ["a.csv", "b/1.csv.gz", "b/2.csv"]
    assert [batch.first_row for batch in files.batches()] == [1, 1, 1]


def test_columns_of_a_folder_may_come_in_another_order(write, tmp_path):
    write("1.csv", b"a,b\n1,2\n")
    write("2.csv", b"b,a\n3,4\n")
    assert read(tmp_path) == [{"a": "1", "b": "2"}, {"a": "4", "b": "3"}]


def test_a_file_with_a_header_alone_has_no_records(write):
    assert read(write("a.csv", b"a,b\n")) == []
    assert read(write("a.ndjson", b"\n")) == []


def test_records_without_any_key_are_still_records(write):
    (batch,) = open_records(write("a.ndjson", b"{}\n{}\n")).batches()
    assert batch.batch.num_rows == 2


@pytest.mark.parametrize(
    ("name", "content", "row", "column", "detail"),
    [
        ("empty.csv", b"", None, None, "got an empty file"),
        ("ragged.csv", b"a,b\n1,2\n\n3\n", 2, None, "expected 2 values as in the header, got 1"),
        ("ragged.csv", b"a,b\n1,2,3\n", 1, None, "expected 2 values as in the header, got 3"),
        ("report.csv", b'a,b\n1,2\n"By Ann, 9:12"\n', 2, None, "if it is no record but text below or above the table"),
        ("twice.csv", b"a,b,a\n1,2,3\n", None, "a", "expected each column name once"),
        ("text.csv", b"a,b\nx,1\ny,\xff\n", 2, "b", "expected UTF-8 text"),
        ("header.csv", b"a\xff,b\n1,2\n", None, None, "expected UTF-8 in the header"),
        ("semicolon.csv", b"a;b\n1;2\n", None, None, r'separated by commas, got semicolons; set data\.delimiter = ";"'),
        ("pipe.csv", b"a|b\n", None, None, r'separated by commas, got "\|"; set data\.delimiter = "\|"'),
        ("comma.tsv", b"a,b\n1,2\n", None, None, r'separated by tabs, got commas; set data\.delimiter = ","'),
        ("quote.csv", b'a,b\n1,x\n2,"' + b"x\n" * 600_000, 2, "b", "a quote that is never closed"),
        ("open.csv", b'a,b\n1,"' + b"x\n" * 6_000_000, 1, None, "a quote that is never closed"),
        ("short.csv", b'a,b\n1,x\n2,"secret\n3,y\n', 2, None, r"open at the end; .* data\.quote"),
        ("last.csv.gz", gzip.compress(b'a,b\n1,x\n2,"secret'), 2, None, r"open at the end; .* data\.quote"),
        ("tabs.tsv", b'a\tb\n1\tx,y\n2\t"secret\n3\ty\n', 2, None, r"open at the end; .* data\.quote"),
        ("cut.csv.gz", gzip.compress(os.urandom(4096))[:-100], None, None, "not a valid CSV file"),
        ("broken.ndjson", b'{"a": 1}\n\n{"a": secret\n', 2, None, "expected JSON with a value at character 6"),
        ("list.ndjson", b'{"a": 1}\n[1]\n', 2, None, "expected a JSON object per line, got a list"),
        (
            "type.ndjson",
            b'{"a": {"b": 1}}\n{"a": {"b": [1]}}\n',
            2,
            "a.b",
            r'as in row 1, got a list; .* columns\."a\.b"\.kind = "ignore"',
        ),
        ("late.ndjson", b'{"a": 1}\n{}\n{"a": {"b": 1}}\n', 3, "a", "a value as in row 1, got an object"),
        ("twice.ndjson", b'{"a": 1, "a": 2}\n', 1, None, "expected each key once"),
        ("both.ndjson", b'{"a.b": 1, "a": {"b": 2}}\n', 1, None, "expected each column once"),
        ("deep.ndjson", b'{"a": 1}\n' + b'{"a":' * 99_999 + b"}" * 99_999, 2, None, "at most 32 levels"),
        ("text.ndjson", b'{"a": "x"}\n{"a": "\xff"}\n', 2, None, "expected UTF-8, got an invalid byte"),
        ("name.ndjson", b'{"\xff": 1}\n', 1, None, "expected UTF-8, got an invalid byte"),
        ("empty.parquet", b"", None, None, "not a valid Parquet file"),
        ("cut.parquet", parquet(a=[1, 2])[:-9], None, None, "not a valid Parquet file"),
        ("no.parquet", b"a,b\n1,2\n" * 9, None, None, "not a valid Parquet file"),
        ("zeros.parquet", parquet(a=["x"] * 99).replace(b"x", b"\0", 1)[:4] + bytes(400), None, None, "valid Parquet"),
        ("cut.arrow", ipc(pa.table({"a": [1]}))[:-30], None, None, "not a valid Arrow file"),
        ("cut.arrows", ipc(pa.table({"a": [1]}), stream=True)[:-30], None, None, "not a valid Arrow file"),
        ("empty.arrow", b"", None, None, "not a valid Arrow file"),
        ("single.csv", b"'a','b'\n'1','x'\n", None, None, r"all of them between single quotes; set data\.quote"),
        ("zeros.csv", b"a,b\n1,2\n" + bytes(9), 2, None, "the record has NUL bytes: was the file cut off"),
        ("plain.csv.gz", b"a,b\n1,2\n", None, None, "it seems to be text: name it without .gz"),
        ("text.parquet", b"a,b\n1,2\n" * 9, None, None, "[^.]; it seems to be text: name it .csv or .ndjson"),
        ("begun.parquet", parquet(a=[1, 2])[:-9], None, None, "it begins like Parquet: was it cut off"),
        ("orc.parquet", b"ORC" + bytes(99), None, None, "it seems to be ORC: convert it to Parquet first"),
        ("lines.ndjson", b'[\n{"a": 1}\n]\n', 1, None, "jq -c '.\\[\\]' writes one record a line"),
        ("object.json", b'{\n"a": 1\n}\n', 1, None, "a line of NDJSON is a whole record"),
        ("list.json", b'[{"a": 1}]\n', 1, None, "writes its objects as lines"),
        ("comma.ndjson", b'{"a": 1},\n{"a": 2}\n', 1, None, "got a comma at the end of the line"),
        ("a.tab", b"", None, None, "if it is CSV, name it .csv, or .tsv"),
        ("a.xlsx", b"", None, None, "expected one of the extensions"),
        ("a.geojson", b"{}", None, None, "NDJSON, one object per line, is named .ndjson"),
        ("a", b"", None, None, "got none"),
        ("000000_0", parquet(a=[1]), None, None, "got none; it seems to be Parquet: name it .parquet"),
        ("a.parquet.gz", b"", None, None, "expected one of the extensions"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",
)
def test_a_bad_file_is_reported_with_its_place_and_without_its_content(write, name, content, row, column, detail):
    path = write(name, content)
    with pytest.raises(FileError, match=detail) as caught:
        read(path)
    assert caught.value.path == path
    assert (caught.value.row, caught.value.column) == (row, column)
    assert "secret" not in str(caught.value)


def test_invalid_text_in_parquet_is_reported_with_its_row(write):
    text = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"x\xff")]
    )
    path = write("a.parquet", parquet(a=text))
    with pytest.raises(FileError, match="expected UTF-8 text") as caught:
        read(path)
    assert (caught.value.row, caught.value.column) == (2, "a")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(1)], ids=str)
def test_bytes_are_text_where_they_are_utf8(write, kind):
    path = write("a.arrow", ipc(pa.table({"a": pa.array([b"x", None], kind)})))
    assert read(path) == [{"a": "x"}, {"a": None}]


def test_a_column_of_bytes_has_one_type(write, tmp_path):
    for name, values in (("1", [b"x"]), ("2", [b"y", b"\xff"])):
        write(f"{name}.parquet", parquet(a=pa.array(values, pa.binary())))
    with pytest.raises(FileError, match=r'expected UTF-8, .*columns\.a\.kind = "ignore"') as caught:
        read(tmp_path)
    assert (caught.value.path.name, caught.value.row, caught.value.column) == ("2.parquet", 2, "a")
    first, second = open_records(tmp_path).batches(OnInvalid.REPORT)
    assert (first.refused, second.refused[1].code) == ({}, "invalid_utf8")
    ignored = [batch.batch["a"].to_pylist() for batch in open_records(tmp_path, ignored=["a"]).batches()]
    assert ignored == [["x"], ["y", r"\xff"]]
    write("0.parquet", parquet(a=pa.array([b"\xff"], pa.binary())))
    assert [record["a"] for record in read(tmp_path)] == [b"\xff", b"x", b"y", b"\xff"]


def test_instants_of_older_parquet_may_be_far_away(tmp_path):
    times = [datetime(9999, 12, 31), datetime(1, 1, 1), datetime(2024, 3, 4, 5, 6, 7, 89)]  # noqa: DTZ001 - of no zone
    table = pa.table({"at": pa.array(times, pa.timestamp("us"))})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert [record["at"] for record in read(tmp_path / "a.parquet")] == times


def test_nested_columns_are_bounded(write):
    value: object = 1
    for _ in range(5):
        value = {"a": value}
    path = write("a.parquet", parquet(a=[value]))
    assert read(path) == [{"a.a.a.a.a.a": 1}]
    with pytest.raises(FileError, match="expected less nesting"):
        list(open_records(path, max_depth=3).batches())


@pytest.mark.parametrize(
    ("first", "second", "came"),
    [(b"a,b\n1,2\n", b"a\n1\n", "none of this name"), (b"a\n1\n", b"a,b\n1,2\n", "one more")],
)
def test_files_of_differing_columns_are_both_named(write, tmp_path, first, second, came):
    write("1.csv", first)
    write("2.csv", second)
    with pytest.raises(FileError, match=rf"2\.csv, column b: expected the columns of .*1\.csv, got {came}"):
        open_records(tmp_path)


def test_files_of_differing_formats_are_both_named(write, tmp_path):
    write("1.csv", b"a\n1\n")
    write("2.parquet", parquet(a=[1]))
    with pytest.raises(FileError, match=r"2\.parquet: expected CSV as in .*1\.csv, got Parquet"):
        open_records(tmp_path)


def test_a_file_that_is_not_there_is_reported(tmp_path):
    for name in ("none.csv", "none.parquet", "none.ndjson", "none.arrow"):
        with pytest.raises(FileError, match="no such file"):
            open_records(tmp_path / name)


def test_a_pattern_or_standard_input_is_no_file(tmp_path):
    with pytest.raises(FileError, match="no such file; a folder of files is read as one"):
        open_records(tmp_path / "*.csv")
    with pytest.raises(FileError, match="no such file; only `vaegis score` reads standard input"):
        open_records(Path("-"))


def test_a_pipe_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(FileError, match="expected a file or a folder, got a pipe or a device"):
        open_records(tmp_path / "a.csv")


def test_an_empty_folder_is_reported(tmp_path):
    with pytest.raises(FileError, match="found none"):
        open_records(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_reported(write):
    path = write("a.csv", b"a\n1\n")
    path.chmod(0)
    with pytest.raises(FileError, match="got no permission"):
        open_records(path)


def test_the_extension_names_the_format():
    assert format_of(Path("orders.2026.csv.zst")) is FileFormat.CSV
    assert format_of(Path("ORDERS.PQ")) is FileFormat.PARQUET


def read_past_faults(path: Path) -> tuple[list[object], dict[int, str]]:
    """Return the first value of each record, and the codes of those refused by row, from 1."""
    values: list[object] = []
    refused = {}
    for batch in open_records(path).batches(OnInvalid.REPORT):
        assert batch.first_row == len(values) + 1
        refused |= {batch.first_row + at: refusal.code for at, refusal in batch.refused.items()}
        values += [next(iter(record.values()), None) for record in batch.batch.to_pylist()]
    return values, refused


@pytest.mark.parametrize("block_bytes", [64, 1000, 4 << 20])
def test_reading_goes_on_past_records_of_csv_with_another_width(write, monkeypatch, block_bytes):
    monkeypatch.setattr(csv, "BLOCK_BYTES", block_bytes)
    lines = [f"{row},1,2" if row % 7 in (0, 1) else f'"{row}",1' for row in range(1, 301)]
    path = write("a.csv", "\n".join(["a,b", *lines[:150], "", *lines[150:]]).encode())
    values, refused = read_past_faults(path)
    wrong = [row for row in range(1, 301) if row % 7 in (0, 1)]
    assert values == [None if row in wrong else str(row) for row in range(1, 301)]
    assert refused == dict.fromkeys(wrong, "wrong_width")


@pytest.mark.parametrize(
    ("name", "content", "values", "refused"),
    [
        ("only.csv", b"a,b\n1\n2\n", [None, None], {1: "wrong_width", 2: "wrong_width"}),
        ("last.csv", b"a,b\n1,2\n2\n", ["1", None], {2: "wrong_width"}),
        ("bytes.csv", b"a,b\nx,1\n\xff,2\ny,\xfe\n", ["x", None, "y"], dict.fromkeys([2, 3], "invalid_utf8")),
        ("bytes.ndjson", b'{"a":"x"}\n{"a":"\xff"}\n', ["x", None], {2: "invalid_utf8"}),
        ("broken.ndjson", b'{"a":1}\n\n{"a":\n{"a":2}', [1, None, 2], {2: "invalid_json"}),
        ("deep.ndjson", b'{"a":1}\n{"a":' + b"[" * 99 + b"]" * 99 + b"}\n", [1, None], {2: "too_deep"}),
        ("twice.ndjson", b'{"a":1,"a":2}\n{"a":3}\n', [None, 3], {1: "duplicate_key"}),
        ("mixed.ndjson", b'{"a":1}\n{"a":"b"}\n{"a":true}\n{"a":[1]}\n', ["1", "b", "true", "[1]"], {}),
        ("large.ndjson", b'{"a":1}\n{"a":1' + b"0" * 30 + b"}\n", ["1", "1" + "0" * 30], {}),
        ("surrogate.ndjson", b'{"a":"\\ud800"}\n[]\n', ["\\ud800", None], {}),
        ("none.ndjson", b"a\nb\n", [None, None], dict.fromkeys([1, 2], "invalid_json")),
    ],
)
def test_reading_goes_on_past_records_that_are_none(write, name, content, values, refused):
    assert read_past_faults(write(name, content)) == (values, refused)


def test_reading_goes_on_past_text_of_parquet_that_is_not_utf_8(write):
    text = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xff", None]).buffers())
    values, refused = read_past_faults(write("a.parquet", parquet(text=text)))
    assert (values, refused) == (["a", None, None], {2: "invalid_utf8"})


def text_of_bytes(kind: pa.DataType, values: list[bytes | None]) -> pa.Array:
    """Return bytes as they stand, valid or not, in an array of text."""
    of_bytes = pa.array(values, pa.binary_view() if kind == pa.string_view() else pa.binary())
    return pa.Array.from_buffers(kind, len(values), of_bytes.buffers())


VIEW = text_of_bytes(pa.string_view(), [b"a", b"\xff", None, b"a", b"\xff"])
DICTIONARY = pa.DictionaryArray.from_arrays(
    pa.array([1, 0, None, 1, 0]), text_of_bytes(pa.string(), [b"\xff", b"a", b"\xfe"])
)


@pytest.mark.parametrize(("text", "row"), [(VIEW, 2), (DICTIONARY, None)], ids=["view", "dictionary"])
def test_text_of_arrow_that_is_not_utf_8_is_reported_or_skipped_however_it_is_encoded(write, text, row):
    path = write("a.arrow", ipc(pa.table({"text": text})))
    assert read_past_faults(path) == (["a", None, None, "a", None], dict.fromkeys([2, 5], "invalid_utf8"))
    with pytest.raises(FileError, match="expected UTF-8 text") as ended:
        read(path)
    assert (ended.value.row, ended.value.column) == (row, "text")


def test_a_list_with_text_that_is_not_utf_8_ends_the_reading_nevertheless(write):
    lists = pa.ListArray.from_arrays(pa.array([0, 0, 1], pa.int32()), text_of_bytes(pa.string(), [b"\xff"]))
    with pytest.raises(FileError, match="column lists: expected UTF-8 text") as ended:
        read_past_faults(write("a.arrow", ipc(pa.table({"lists": lists}))))
    assert ended.value.row is None


def test_an_index_outside_a_dictionary_ends_the_reading_although_its_text_is_not_utf_8_either(write):
    text = pa.DictionaryArray.from_arrays(pa.array([0, 9]), text_of_bytes(pa.string(), [b"\xff"]), safe=False)
    with pytest.raises(FileError, match="expected indices within their dictionary"):
        read_past_faults(write("a.arrow", ipc(pa.table({"text": text}))))


@pytest.mark.parametrize("lines", [b"1,2,\n" * 50, b"1,2,\n" * 30 + b"1,2\n" + b"1,2,\n" * 19, b"1,2\n1\n" * 25])
def test_records_of_another_width_come_in_bounded_batches_and_share_their_refusal(write, monkeypatch, lines):
    monkeypatch.setattr(record_batches, "MAX_BATCH_CELLS", 14)
    path = write("a.csv", b"a,b\n" + lines)
    wrong = [row for row, line in enumerate(lines.splitlines(), 1) if line != b"1,2"]
    assert read_past_faults(path) == (
        [None if row in wrong else "1" for row in range(1, 51)],
        dict.fromkeys(wrong, "wrong_width"),
    )
    parsed = list(csv.CsvFile(path, path, pa.input_stream, Dialect()).batches_past_faults())
    assert max(batch.num_rows for batch, _ in parsed) == 7
    assert len({id(refusal) for _, refused in parsed for refusal in refused.values()}) == 1


def test_any_number_of_records_of_another_width_may_come_before_the_first_sound_one(write, monkeypatch):
    monkeypatch.setattr(csv, "BLOCK_BYTES", 16)
    path = write("a.csv", b"a,b\n" + b"1,2,\n" * 500 + b"1,2\n" + b"1\n" * 50)
    values, refused = read_past_faults(path)
    assert values == [*[None] * 500, "1", *[None] * 50]
    assert len(refused) == 550


def test_a_file_that_ends_within_quotes_is_refused_where_faults_are_reported_too(write):
    for content in (b'a,b\n1,x\n2,"secret\n3,y\n', b'a,b\nx"y,1\n2,"', b'a,b\n1,2\n"'):
        with pytest.raises(FileError, match="expected closed quotes"):
            read_past_faults(write("a.csv", content))


def test_a_value_of_csv_that_is_far_too_long_ends_the_reading_nevertheless(write, monkeypatch):
    monkeypatch.setattr(csv, "MAX_VALUE_BYTES", 10)
    monkeypatch.setattr(csv_stream, "MAX_VALUE_CHARACTERS", 10)
    path = write("a.csv", b"a\n" + b"x" * 11 + b"\n")
    with pytest.raises(FileError, match="expected values of at most 10 bytes"):
        read_past_faults(path)


def test_an_ignored_object_stays_whole(write):
    path = write("a.parquet", parquet(a=[{"b": 1}, None], c=[{"d": 1}, None]))
    (batch,) = open_records(path, ignored=["a"]).batches()
    assert batch.batch.to_pylist() == [{"a": {"b": 1}, "c.d": 1}, {"a": None, "c.d": None}]
