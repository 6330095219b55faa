"""A file that ends within quotes is told from one with quotes that open nothing."""

from __future__ import annotations

import csv
import io
from argparse import ArgumentParser

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.errors import FileError
from vaegis.service.files.csv import may_have_stray_quotes, quote_fault
from vaegis.service.files.formats import Dialect, add_dialect_arguments, dialect_of_arguments
from vaegis.service.files.record_files import open_records
from vaegis.service.records.faults import OnInvalid


def stream(text: str) -> pa.NativeFile:
    return pa.input_stream(io.BytesIO(text.encode()))


PLAIN = Dialect()
OPEN = "expected closed quotes, got one that is open at the end"


def may_be_wrong(text: str) -> bool:
    return may_have_stray_quotes(stream(text), text.count("\n") - 1, PLAIN)


def fault_of(text: str) -> str | None:
    fault = quote_fault(stream(text), ",", PLAIN)
    return None if fault is None else f"{fault[0]}: {fault[1].partition(';')[0]}"


values = st.text(st.sampled_from('ab",\n\r 5\u00e9'), max_size=8)


@given(st.lists(st.lists(values, min_size=2, max_size=2), min_size=1, max_size=6))
def test_what_is_written_by_the_rules_is_whole_and_within_its_last_value_it_is_not(rows):
    sink = io.StringIO(newline="")
    csv.writer(sink, quoting=csv.QUOTE_ALL).writerows(rows)
    whole = sink.getvalue()
    assert fault_of(whole) is None
    within = whole.removesuffix('"\r\n')
    assert may_be_wrong(within)
    assert fault_of(within) == f"{len(rows) - 1}: {OPEN}"


@pytest.mark.parametrize("text", ['a,b\n1,5" pipe\n', 'a,b\n1,"x"y"\n2,z\n', 'a,b\n1,x"'])
def test_a_quote_that_opens_nothing_leaves_nothing_open(text):
    assert may_be_wrong(text)
    assert fault_of(text) is None


def test_a_long_value_of_many_lines_is_whole(tmp_path):
    (tmp_path / "a.csv").write_text('a,b\n1,"' + "x\n" * 100_000 + '"\n')
    assert read(tmp_path / "a.csv") == ["x\n" * 100_000]


def test_a_long_value_that_is_never_closed_is_open():
    assert fault_of('a,b\n1,"' + "x\n" * 200_000) == f"1: {OPEN}"


def read(path, **dialect):
    """Return the values of the last column."""
    return [
        v for b in open_records(path, dialect=Dialect(**dialect)).batches() for v in b.batch.columns[-1].to_pylist()
    ]


@pytest.fixture
def write(tmp_path):
    def written(content, name="a.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_quotes_that_open_values_by_mistake_never_swallow_lines(write, name):
    text = 'a,b\n"5 inch,1\nx,2\n"6 inch,3\ny,4\n'.replace(",", "\t" if name == "a.tsv" else ",")
    with pytest.raises(FileError, match=r"quote|values as in the header"):
        read(write(text, name))
    assert read(write(text, name), quote="") == ["1", "2", "3", "4"]


@pytest.mark.parametrize("text", ['a,b\n1,"x \\"y\\", z"\n', 'a,b\n1,"x \\"y\\" z"\n'])
def test_quotes_after_backslashes_are_reported_and_read_with_the_setting(write, text):
    with pytest.raises(FileError, match=r"set data\.escape"):
        read(write(text))
    assert read(write(text), escape="\\")[0].startswith('x "y"')
    (batch,) = open_records(write(text)).batches(OnInvalid.REPORT)
    assert "data.escape" in batch.refused[0].detail


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        pytest.param('a,b\n1,"x \\"y\\", z"\n2,C:\\new\n3,\n4,"p\nq"\n', None, id="Spark"),
        pytest.param('a,b\n"1","x \\"y\\", z"\n"2","C:\\\\new"\n"3",\\N\n"4","p\\\nq"\n', None, id="MySQL in quotes"),
        pytest.param('a,b\n1,x "y"\\, z\n2,C:\\\\new\n3,\\N\n4,p\\\nq\n', "", id="MySQL"),
    ],
)
@pytest.mark.parametrize("on_invalid", OnInvalid)
def test_exports_with_backslashes_are_read_with_the_setting(write, text, quote, on_invalid):
    records = open_records(write(text), dialect=Dialect(quote=quote, escape="\\"))
    read_values = [value for batch in records.batches(on_invalid) for value in batch.batch["b"].to_pylist()]
    assert read_values == ['x "y", z', "C:\\new", None, "p\nq"]


def test_a_line_end_after_a_backslash_is_named_where_it_splits_a_record(write):
    with pytest.raises(FileError, match=r"row 2: .* the line above ends with a backslash\. .* set data\.escape"):
        read(write("a\tb\n1\tx\\\ny\n2\tz\n", "a.tsv"))


FLAGS = [(r"\t", "\t"), (r"\\", "\\"), (r"\u0001", "\x01"), (";", ";"), ("\\", "\\")]


@pytest.mark.parametrize(("flag", "character"), FLAGS)
def test_a_flag_takes_characters_as_toml_writes_them(flag, character):
    parser = ArgumentParser()
    add_dialect_arguments(parser)
    assert dialect_of_arguments(parser.parse_args(["--delimiter", flag])).delimiter == character


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_other_encodings_are_reported_and_read_with_the_setting(write, encoding):
    path = write("a,b\n1,k\u00f6ln\n".encode(encoding))
    with pytest.raises(FileError, match=r"encoding|header"):
        read(path)
    assert read(path, encoding=encoding) == ["k\u00f6ln"]


def test_another_delimiter_is_reported_and_read_with_the_setting(write):
    with pytest.raises(FileError, match=r'set data\.delimiter = ";"'):
        read(write("a;b\n1;2,5\n"))
    assert read(write("a;b\n1;2,5\n"), delimiter=";") == ["2,5"]


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "\ufeffSEP=;\n"])
@pytest.mark.parametrize("on_invalid", OnInvalid)
def test_a_first_line_that_names_the_separator_is_followed(write, first, on_invalid):
    records = open_records(write(f"{first}a;b\n1;2,5\n"))
    (batch,) = records.batches(on_invalid)
    assert (batch.first_row, batch.batch.to_pylist()) == (1, [{"a": "1", "b": "2,5"}])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_names_the_encoding(write, tmp_path, encoding):
    assert read(write("a,b\n1,k\u00f6ln\n".encode(encoding))) == ["k\u00f6ln"]
    lines = tmp_path / "a.ndjson"
    lines.write_bytes('{"b": "k\u00f6ln"}\n'.encode(encoding))
    assert read(lines) == ["k\u00f6ln"]


def test_marks_in_the_middle_of_a_joined_file_are_skipped_or_reported(write):
    assert read(write("\ufeffb\nx\n\ufeffx\n")) == ["x", "x"]
    for text in ("y", "y, z"):
        joined = write(f'\ufeff"b","a"\n"x","1"\n\ufeff"{text}","2"\n')
        with pytest.raises(FileError, match=r"row 2: .* files seem to be joined"):
            read(joined)
        (batch,) = open_records(joined).batches(OnInvalid.REPORT)
        assert batch.batch["b"].to_pylist() == ["x", text]


def test_an_encoding_that_a_mark_contradicts_is_refused(write):
    with pytest.raises(FileError, match=r"got a byte order mark of UTF-8; leave out data\.encoding"):
        read(write("\ufeffa,b\n1,2\n"), encoding="cp1252")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a,b\n1,2,\n", r"row 1: .* got 3; there seems to be a delimiter too many at the end of the records"),
        ("a,b,\n1,2\n", r"row 1: .* got 2; there seems to be a delimiter too many at the end of the header"),
        ("made by x\n\na,b\n1,2\n", "remove the lines above the names of the columns"),
        ('"IBAN","DE12"\n"Balance","1.2"\n\n"day","who","why","eur"\n"1","a","b","2"\n', "remove the lines above"),
        ("a,b\n1,x\\,y\n", r"escaped by backslashes: set data\.escape"),
        ("a,b\n1,'x, y'\n", r"""set data\.quote = "'" in"""),
        ("a,b\nrow 1,2,3\n", "name that column in the header"),
    ],
)
def test_the_likely_cause_of_a_wrong_width_is_reported(write, text, cause):
    with pytest.raises(FileError, match=cause):
        read(write(text))


@pytest.mark.parametrize("dialect", [{"delimiter": ""}, {"quote": "ab"}, {"escape": "\n"}, {"encoding": "klingon"}])
def test_a_dialect_that_cannot_be_is_refused(write, dialect):
    with pytest.raises(FileError, match="expected one"):
        read(write("a,b\n1,2\n"), **dialect)
