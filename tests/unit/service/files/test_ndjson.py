from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path

import pytest

from vaegis.service.errors import FileError
from vaegis.service.files import batches as record_batches
from vaegis.service.files import ndjson
from vaegis.service.files.formats import Dialect
from vaegis.service.files.record_files import open_records
from vaegis.service.records.faults import OnInvalid


def read(path: Path) -> list[dict[str, object]]:
    return [record for batch in open_records(path).batches() for record in batch.batch.to_pylist()]


def test_lines_of_ndjson_are_kept_whole_across_blocks(write, monkeypatch):
    monkeypatch.setattr(ndjson, "BLOCK_BYTES", 16)
    path = write("a.ndjson", b"".join(b'{"a": "%d"}\n' % i for i in range(1000)))
    rows = [
        (batch.first_row, record["a"]) for batch in open_records(path).batches() for record in batch.batch.to_pylist()
    ]
    assert [value for _, value in rows] == [str(i) for i in range(1000)]
    assert rows[-1][0] > 990


def test_numbers_texts_and_booleans_of_one_ndjson_column_are_text(write):
    lines = [{"a": 1, "b": 2.5, "c": None}, {"a": "x", "b": True, "c": math.nan}, {"a": 2.0, "c": 3}]
    path = write("a.ndjson", "".join(json.dumps(line) + "\n" for line in lines).encode())
    (batch,) = open_records(path).batches()
    expected = {"a": ["1", "x", "2.0"], "b": ["2.5", "true", None], "c": [None, None, 3]}
    assert batch.batch.to_pydict() == expected


def test_objects_of_ndjson_give_the_same_columns_line_by_line(write):
    lines = [
        {"a": 1, "b": {"c": {"d": "x"}, "e": [1, {"f": 2}]}},
        {"b": {"c": None, "g": True}, "a": 2},
        {"b": None},
        {"h": {}, "b": {"e": []}},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    expected = [
        {"a": 1, "b.c.d": "x", "b.e": '[1, {"f": 2}]', "b.g": None},
        {"a": 2, "b.c.d": None, "b.e": None, "b.g": True},
        {"a": None, "b.c.d": None, "b.e": None, "b.g": None},
        {"a": None, "b.c.d": None, "b.e": "[]", "b.g": None},
    ]
    for more in ("", '{"a": NaN}\n'):  # NaN sends the block to the parser of single lines
        files = open_records(write("a.ndjson", (text + more).encode()), ignored=["b.e"])
        assert [record for batch in files.batches() for record in batch.batch.to_pylist()][:4] == expected


@pytest.mark.parametrize(
    ("pointer", "lines"),
    [
        ("/payload/after", ['{"payload": {"after": {"a": 1, "b": {"c": "x"}}}}', '{"payload": {"after": {"a": 2}}}']),
        ("/value", ['[{"value": {"a": 1, "b": {"c": "x"}}}, {"value": {"a": 2}}]', "[]"]),
        ("/hits/hits/_source", ['{"hits": {"hits": [{"_source": {"a": 1, "b": {"c": "x"}}}, {"_source": {"a": 2}}]}}']),
    ],
)
def test_a_pointer_leads_to_the_records_of_ndjson(write, pointer, lines):
    path = write("a.ndjson", "".join(f"{line}\n" for line in lines).encode())
    files = open_records(path, dialect=Dialect(unwrap=pointer))
    records = [record for batch in files.batches() for record in batch.batch.to_pylist()]
    assert records == [{"a": 1, "b.c": "x"}, {"a": 2, "b.c": None}]


def test_envelopes_without_a_record_are_refused_and_those_of_a_null_may_be_skipped(write):
    record, deletion, other = b'{"payload": {"after": {"a": 1}}}\n', b'{"payload": {"after": null}}\n', b'{"x": 1}\n'
    dialect = Dialect(unwrap="/payload/after")
    deleted = write("deleted.ndjson", record + deletion + b"null\n" + b'{"payload": null}\n' + record)
    with pytest.raises(FileError, match=r"row 2: .*got null at /payload/after, where unwrap points"):
        list(open_records(deleted, dialect=dialect).batches())
    (reported,) = open_records(deleted, dialect=dialect).batches(OnInvalid.REPORT)
    assert reported.parsed == [{"a": 1}, None, None, None, {"a": 1}]
    (kept,) = open_records(deleted, dialect=dialect, skips_nulls=True).batches()
    assert kept.batch.to_pylist() == [{"a": 1}] * 2
    with pytest.raises(FileError, match=r"row 2: .*got null at /payload/after"):
        list(open_records(write("mixed.ndjson", record + other), dialect=dialect, skips_nulls=True).batches())


def test_only_ndjson_has_envelopes(write):
    path = write("a.csv", b"a\n1\n")
    with pytest.raises(FileError, match="unwrap: expected NDJSON"):
        open_records(path, dialect=Dialect(unwrap="/value"))
    with pytest.raises(FileError, match="unwrap: expected a JSON pointer"):
        open_records(path, dialect=Dialect(unwrap="value"))


def test_the_columns_of_a_line_of_ndjson_are_bounded(write, monkeypatch):
    monkeypatch.setattr(ndjson, "MAX_COLUMNS", 3)
    assert len(read(write("a.ndjson", b'{"a": 1}\n{"a": 1, "b": {"c": 2, "d": 3}}\n'))) == 2
    with pytest.raises(FileError, match="row 2: expected at most 3 columns, got 4"):
        read(write("b.ndjson", b'{"a": 1}\n{"a": 1, "b": 2, "c": 3, "d": 4}\n'))


def test_a_line_of_ndjson_is_bounded(write, monkeypatch):
    monkeypatch.setattr(ndjson, "BLOCK_BYTES", 100)
    monkeypatch.setattr(record_batches, "MAX_LINE_BYTES", 1000)
    with pytest.raises(FileError, match="a line of more than 1000 bytes"):
        read(write("a.ndjson", b'{"a": "' + b"x" * 5000 + b'"}'))


def test_values_of_ndjson_with_many_names_come_in_bounded_batches(write, monkeypatch):
    monkeypatch.setattr(record_batches, "MAX_BATCH_CELLS", 100)
    lines = [f'{{"k{at}":{at}}}' if at % 9 else "[" for at in range(50)]
    batches = list(open_records(write("a.ndjson", "\n".join(lines).encode())).batches(OnInvalid.REPORT))
    assert 90 < max(batch.batch.num_rows * batch.batch.num_columns for batch in batches) <= 100
    records = [record for batch in batches for record in batch.parsed]
    assert records == [{f"k{at}": at} if at % 9 else None for at in range(50)]
    ends = [batch.first_row + batch.batch.num_rows for batch in batches]
    assert [batch.first_row for batch in batches] == [1, *ends[:-1]]
    refused = [batch.first_row + at for batch in batches for at in batch.refused]
    assert refused == [at + 1 for at in range(0, 50, 9)]


def test_objects_with_many_names_come_in_bounded_batches(write, monkeypatch):
    monkeypatch.setattr(record_batches, "MAX_BATCH_CELLS", 100)
    records = [{"a": {f"k{at % 10}": at}} for at in range(50)]
    path = write("a.ndjson", "".join(json.dumps(record) + "\n" for record in records).encode())
    batches = list(open_records(path).batches())
    assert 16 < max(batch.batch.num_rows * batch.batch.num_columns for batch in batches) <= 100
    assert [record for batch in batches for record in batch.parsed] == records


def test_empty_objects_count_like_columns_in_batches(write, monkeypatch):
    monkeypatch.setattr(record_batches, "MAX_BATCH_CELLS", 100)
    records = [{"a": {f"b{at}": {f"c{inner}": {} for inner in range(3)} for at in range(3)}}, *({} for _ in range(19))]
    path = write("a.ndjson", "".join(json.dumps(record) + "\n" for record in records).encode())
    batches = list(open_records(path).batches())
    assert [record for batch in batches for record in batch.parsed] == records
    assert max(batch.batch.num_rows for batch in batches) == 100 // (1 + 3 + 9)


def test_a_block_of_ndjson_is_not_held_by_column_where_records_have_few_of_the_columns(write, monkeypatch):
    monkeypatch.setattr(record_batches, "MAX_BATCH_CELLS", 10_000)
    lines = [json.dumps({f"k{at}": at for at in range(100)}), *["{}"] * 99] * 100
    files = open_records(write("a.ndjson", "\n".join(lines).encode()))

    def cells():
        return sum(batch.batch.num_rows * batch.batch.num_columns for batch in files.batches())

    pointers = 8 * cells()  # the first reading also imports modules, whose memory is not to count
    tracemalloc.start()
    try:
        cells()
        assert tracemalloc.get_traced_memory()[1] < pointers
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("on_invalid", OnInvalid)
def test_long_names_of_a_short_line_take_little_memory(tmp_path, on_invalid):
    (tmp_path / "dots.ndjson").write_text('{"' + "." * 20_000 + '": 1}\n')
    names = ", ".join(f'"c{number}": 1' for number in range(2000))
    (tmp_path / "nested.ndjson").write_text('{"a": 1}\n{"' + "x" * 20_000 + '": {' + names + "}}\n")
    tracemalloc.start()
    try:
        [batch] = open_records(tmp_path / "dots.ndjson").batches(on_invalid)
        with pytest.raises(FileError, match=r"row 2: expected names of objects of at most 1000 characters"):
            list(open_records(tmp_path / "nested.ndjson").batches(on_invalid))
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
    assert batch.batch.num_columns == 1
