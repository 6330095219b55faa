"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from vaegis.service.errors import FileError
from vaegis.service.files.formats import FileFormat
from vaegis.service.files.output import Output, opened, output_argument


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def fail(failure: BaseException, path: Path) -> None:
    with opened(path) as stream:
        stream.write(b"half")
        raise failure


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b.csv", FileFormat.CSV),
        ("b.PARQUET", FileFormat.PARQUET),
        ("b.arrow", FileFormat.ARROW),
        ("b.ndjson", FileFormat.NDJSON),
    ],
)
def test_the_extension_names_the_format(text, expected):
    assert output_argument(text) == Output(Path(text), expected)


def test_a_dash_is_ndjson_to_standard_output(capfdbinary):
    output = output_argument("-")
    with opened(output.path) as stream:
        stream.write(b"{}\n")
    assert capfdbinary.readouterr().out == b"{}\n"
    assert (output.format, str(output)) == (FileFormat.NDJSON, "standard output")


@pytest.mark.parametrize("text", ["out", "out.xlsx", "out.csv.gz", ".csv/out"])
def test_an_unknown_extension_is_refused(text):
    with pytest.raises(ArgumentTypeError, match=r"expected one of the extensions \.csv"):
        output_argument(text)


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "out.csv"
    with opened(path) as stream:
        stream.write(b"a\n1\n")
        assert not path.exists()
    assert path.read_bytes() == b"a\n1\n"
    assert names(tmp_path) == ["out.csv"]


def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        with opened(tmp_path / "out.csv"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o640


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ValueError(), SystemExit(1)])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, failure):
    path = tmp_path / "out.csv"
    path.write_text("before")
    with pytest.raises(type(failure)):
        fail(failure, path)
    assert path.read_text() == "before"
    assert names(tmp_path) == ["out.csv"]


def test_termination_leaves_nothing_behind(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, opened(tmp_path / "out.csv"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
    assert names(tmp_path) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_file_can_be_written_outside_the_main_thread(tmp_path):
    def write() -> None:
        with opened(tmp_path / "out.csv") as stream:
            stream.write(b"a\n")

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert (tmp_path / "out.csv").read_bytes() == b"a\n"


def test_a_link_keeps_pointing_to_the_file(tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "out.csv")
    with opened(tmp_path / "link.csv") as stream:
        stream.write(b"a\n")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "out.csv").read_bytes() == b"a\n"


def test_an_error_of_the_disk_names_the_file(tmp_path):
    with pytest.raises(FileError, match=r"out\.csv: cannot be written: No space left"):
        fail(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), tmp_path / "out.csv")
    assert names(tmp_path) == []


def test_a_folder_that_does_not_exist_is_reported(tmp_path):
    with pytest.raises(FileError, match="cannot be written: No such file or directory"):
        opened(tmp_path / "none" / "out.csv").__enter__()


def test_a_directory_is_no_output(tmp_path):
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(FileError, match="expected a file, got a directory"):
        opened(tmp_path / "out.csv").__enter__()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_root_leaves_the_file_to_its_owner(tmp_path):
    target = tmp_path / "out.csv"
    target.write_bytes(b"before")
    os.chown(target, 12345, 23456)
    target.chmod(0o640)
    with opened(target) as stream:
        stream.write(b"after")
    found = target.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 23456, 0o640)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
@pytest.mark.parametrize("is_link", [True, False])
def test_the_mode_of_what_stood_there_is_kept(tmp_path, mode, is_link):
    target, link = tmp_path / "secret.csv", tmp_path / "out.csv"
    target.write_bytes(b"before")
    target.chmod(mode)
    link.symlink_to(target)
    with opened(link if is_link else target) as stream:
        (temporary,) = set(tmp_path.iterdir()) - {target, link}
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600  # nobody else can read what is written, meanwhile
        stream.write(b"after")
    assert target.read_bytes() == b"after"
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert link.is_symlink()
