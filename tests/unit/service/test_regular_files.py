"""Only regular files are read: whatever else has their name is refused at once, and said by its kind."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from vaegis.service.errors import ArtifactError
from vaegis.service.model_file import DIGEST_PREFIX, content_digest, read_model_file
from vaegis.service.model_folder import POINTER_FILE, promote, read_pointer, roll_back
from vaegis.service.regular_files import opened_regular, read_regular


def make(kind: str, path: Path) -> None:
    """Put something of a kind at a path."""
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            folder = os.open(path.parent, os.O_RDONLY)  # the path itself may be too long for a socket
            try:
                bound.bind(f"/proc/self/fd/{folder}/{path.name}")
            finally:
                os.close(folder)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")


KINDS = ("named pipe", "socket", "directory", "device")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "model.onnx"
    make(kind, path)
    with pytest.raises(ArtifactError, match=rf"model\.onnx: cannot be read: expected a regular file, got a {kind}$"):
        read_model_file(path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_takes_the_place_of_a_file_after_the_check_is_not_read_either(tmp_path, kind):
    make(kind, tmp_path / "file")
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with (
        pytest.raises(OSError, match=r"expected a regular file|No such device"),
        opened_regular(tmp_path / "file", os.O_RDONLY),
    ):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_regular_file_is_read_behind_a_link_and_up_to_a_limit(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 9) == b"12345"
    assert read_regular(tmp_path / "link", 4) == b"1234"


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_models_never_waits_for_what_is_no_regular_file(tmp_path, kind):
    (tmp_path / "orders").mkdir()
    files = [tmp_path / "orders" / f"{version}.onnx" for version in "12"]
    for file in files:
        file.write_bytes(file.name.encode() * 200)
        promote(tmp_path, "orders", file.stem, DIGEST_PREFIX + content_digest(file.read_bytes()))
    files[0].unlink()
    make(kind, files[0])
    expected = f"expected a regular file, got a {kind}"
    with pytest.raises(ArtifactError, match=expected):
        roll_back(tmp_path, "orders")
    with pytest.raises(ArtifactError, match=expected):
        promote(tmp_path, "orders", "1", f"{DIGEST_PREFIX}{'0' * 64}")
    pointer = tmp_path / "orders" / POINTER_FILE
    pointer.unlink()
    make(kind, pointer)
    with pytest.raises(ArtifactError, match=expected):
        read_pointer(tmp_path, "orders")
