from __future__ import annotations

import bz2
import gzip
import lzma
import pickle

import pytest

from vaegis.service.errors import FileError
from vaegis.service.files.record_files import open_records


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.ndjson"])
@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"PAR1\x15\x04\x15", "got Parquet: name it .parquet"),
        (b"ARROW1\0\0", "got Arrow: name it .arrow"),
        (b"\xff\xff\xff\xff\x78\0\0\0", "got Arrow: name it .arrow"),
        (b"PK\x03\x04\x14", "got a ZIP archive or an Excel workbook: unpack it, or save the sheet as CSV"),
        (gzip.compress(b"a\n1\n"), "got gzip: add .gz to its name"),
        (bz2.compress(b"a\n1\n"), "got bz2: add .bz2 to its name"),
        (lzma.compress(b"a\n1\n"), "unpack it first"),
        (b"Obj\x01\x04", "got Avro: convert it to Parquet first"),
        (pickle.dumps([1, 2]), "convert it to Parquet first"),
        (b" <!DOCTYPE html>\n<html>", "got HTML or XML: was the page of a login or an error saved instead"),
        (b"version https://git-lfs.github.com/spec/v1\n", "got a pointer of Git LFS"),
    ],
)
def test_a_file_of_text_with_another_content_is_refused_by_its_first_bytes(tmp_path, name, content, detail):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(FileError, match=detail):
        open_records(path)


@pytest.mark.parametrize("content", [b'{"a": 1}\n', b'\xef\xbb\xbf [\n{"a": 1}]'])
def test_json_named_as_csv_is_refused(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(FileError, match="expected CSV, got JSON; NDJSON, one object per line, is named"):
        open_records(tmp_path / "a.csv")


@pytest.mark.parametrize("name", [b"PAR1", b"ORCID", b"BZh91", b"[time]", b"{id}", b"<price>", b"Obj", b"%PDF"])
def test_names_that_begin_like_other_contents_are_names(tmp_path, name):
    (tmp_path / "a.csv").write_bytes(name + b",b\n1,2\n")
    (batch,) = open_records(tmp_path / "a.csv").batches()
    assert batch.batch.schema.names == [name.decode(), "b"]
