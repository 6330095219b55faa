"""A folder of models: names, the pointer file, and what two writers at once leave."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from vaegis.service import model_folder
from vaegis.service.errors import ArtifactError, ModelFolderError
from vaegis.service.model_file import DIGEST_PREFIX, content_digest
from vaegis.service.model_folder import (
    MOST_HISTORY,
    MOST_MODELS,
    POINTER_FILE,
    live_version,
    model_names,
    promote,
    read_pointer,
    roll_back,
    stamp_of,
    version_names,
)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with versions 1 to 3 of the model orders. Their content matters to nobody here."""
    (tmp_path / "orders").mkdir()
    for version in "123":
        (tmp_path / "orders" / f"{version}.onnx").write_bytes(version.encode() * 200)
    return tmp_path


def digest(folder: Path, version: str) -> str:
    return DIGEST_PREFIX + content_digest((folder / "orders" / f"{version}.onnx").read_bytes())


def put_live(folder: Path, version: str) -> None:
    promote(folder, "orders", version, digest(folder, version))


def test_rollbacks_go_back_through_all_promotions(folder):
    for version in ("1", "2", "3", "3"):
        put_live(folder, version)
    live = [roll_back(folder, "orders").live.version for _ in range(2)]
    assert live == ["2", "1"]
    with pytest.raises(ModelFolderError, match="no version was live before"):
        roll_back(folder, "orders")
    with pytest.raises(ModelFolderError, match=r"order: expected the folder of a model, got none; \S+ holds orders$"):
        roll_back(folder, "order")
    with pytest.raises(ModelFolderError, match=r"there is no folder \S+/none, which --models names$"):
        roll_back(folder / "none", "orders")
    assert live_version(folder, "orders")[0] == "1"


def test_a_rollback_to_a_file_that_is_gone_or_changed_is_refused(folder):
    put_live(folder, "1")
    put_live(folder, "2")
    file = folder / "orders" / "1.onnx"
    file.write_bytes(b"another" * 200)
    with pytest.raises(ModelFolderError, match=r"1\.onnx: expected the digest .*, got sha256:"):
        roll_back(folder, "orders")
    file.unlink()
    with pytest.raises(ArtifactError, match=r"1\.onnx: cannot be read"):
        roll_back(folder, "orders")
    assert live_version(folder, "orders")[0] == "2"


def test_the_history_is_bounded(folder):
    for i in range(MOST_HISTORY + 5):
        put_live(folder, str(i % 2 + 1))
    assert len(read_pointer(folder, "orders").history) == MOST_HISTORY


def test_promotions_at_once_are_all_in_the_history(folder):
    versions = [f"v{i}" for i in range(8)]
    for version in versions:
        (folder / "orders" / f"{version}.onnx").write_bytes(version.encode() * 100)
    start = threading.Barrier(len(versions))

    def promote_one(version: str) -> None:
        start.wait()
        put_live(folder, version)

    threads = [threading.Thread(target=promote_one, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pointer = read_pointer(folder, "orders")
    assert sorted([*(before.version for before in pointer.history), pointer.live.version]) == versions


def test_no_link_in_the_folder_makes_a_promotion_write_elsewhere(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (folder / "orders" / ".live.lock").symlink_to(elsewhere)
    with pytest.raises(ModelFolderError, match="cannot be written"):
        put_live(folder, "1")
    assert not elsewhere.exists()


def test_a_file_that_changes_while_it_is_checked_is_not_promoted(folder):
    before = digest(folder, "1")
    (folder / "orders" / "1.onnx").write_bytes(b"x" * 200)
    with pytest.raises(ModelFolderError, match="changed while it was checked"):
        promote(folder, "orders", "1", before)
    assert read_pointer(folder, "orders") is None


@pytest.mark.parametrize("name", ["..", "../orders", "a/b", "", ".hidden", "a" * 101, "a\x00b", "a\n"])
def test_names_that_could_leave_the_folder_are_refused(folder, name):
    with pytest.raises(ModelFolderError, match="model name: expected 1 to 100"):
        read_pointer(folder, name)
    with pytest.raises(ModelFolderError, match="version name: expected 1 to 100"):
        promote(folder, "orders", name, DIGEST_PREFIX + "0" * 64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Invalid JSON.*delete the file"),
        (b'{"live": {"version": "1"}}', "live.digest"),
        (b'{"live": {"version": "../1", "digest": "sha256:%s", "since": ""}}' % (b"0" * 64), "version name"),
        (b" " * 70_000, "at most 65536 bytes"),
    ],
)
def test_a_pointer_file_that_cannot_be_used_says_why(folder, content, message):
    (folder / "orders" / POINTER_FILE).write_bytes(content)
    with pytest.raises(ModelFolderError, match=message):
        live_version(folder, "orders")


def test_without_a_pointer_the_only_version_is_live_and_of_several_none(folder):
    with pytest.raises(ModelFolderError, match="exactly one version, got 3"):
        live_version(folder, "orders")
    (folder / "orders" / "1.onnx").unlink()
    (folder / "orders" / "2.onnx").unlink()
    assert live_version(folder, "orders") == ("3", None)
    (folder / "orders" / "3.onnx").unlink()
    with pytest.raises(ModelFolderError, match="expected a version of the model"):
        live_version(folder, "orders")


def test_models_are_folders_with_valid_names_also_behind_links(folder):
    (folder / "a file").touch()
    (folder / "..data").symlink_to(folder / "orders")
    (folder / "linked").symlink_to("..data")
    assert model_names(folder) == ["linked", "orders"]
    assert version_names(folder, "linked") == ["1", "2", "3"]
    for i in range(MOST_MODELS):
        (folder / f"m{i}").mkdir()
    with pytest.raises(ModelFolderError, match="at most 64 models"):
        model_names(folder)


def test_versions_are_listed_in_the_order_of_their_numbers(folder):
    for version in ("10", "2024-9", "2024-10", "v2", "v10", "1.2", "1.10"):
        (folder / "orders" / f"{version}.onnx").touch()
    listed = version_names(folder, "orders")
    assert listed == ["1", "1.2", "1.10", "2", "3", "10", "2024-9", "2024-10", "v2", "v10"]


def test_a_stamp_follows_the_link_of_a_kubernetes_volume(tmp_path):
    for volume in ("..1", "..2"):
        (tmp_path / volume).mkdir()
        (tmp_path / volume / POINTER_FILE).write_text("{}")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / POINTER_FILE).symlink_to(f"..data/{POINTER_FILE}")
    before = stamp_of(tmp_path / POINTER_FILE)
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert before is not None
    assert stamp_of(tmp_path / POINTER_FILE) not in (before, None)
    assert stamp_of(tmp_path / "none") is None


def test_a_lock_that_another_user_made_can_be_held(folder):
    put_live(folder, "1")
    (folder / "orders" / ".live.lock").chmod(0o444)
    put_live(folder, "2")
    assert live_version(folder, "orders")[0] == "2"


def test_what_another_user_puts_in_place_of_the_lock_does_not_hold_up_promotions(folder, monkeypatch):
    lock = folder / "orders" / ".live.lock"
    os.mkfifo(lock)
    with pytest.raises(ModelFolderError, match=r"cannot be written: expected a regular file, got a named pipe$"):
        put_live(folder, "1")
    lock.unlink()
    monkeypatch.setattr(model_folder, "_LONGEST_WAIT_S", 0.1)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ModelFolderError, match=r"another process has locked \S+/\.live\.lock for 0\.1 s$"):
            put_live(folder, "1")
    put_live(folder, "1")
    assert live_version(folder, "orders")[0] == "1"


def test_a_folder_that_cannot_be_written_says_so(folder):
    (folder / "orders" / ".live.lock").mkdir()  # root may write everywhere, but not here
    with pytest.raises(ModelFolderError, match=r"live.json: cannot be written: Is a directory"):
        put_live(folder, "1")
