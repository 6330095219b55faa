"""A folder of models: `NAME/VERSION.onnx`, and beside them a pointer file that names the version in use.

`NAME/live.json` is replaced as a whole by a rename, so that a reader sees the old pointer or the new one. Its history
lists the versions that were live before, the newest last; a rollback goes back to that one.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vaegis.service.errors import ModelFolderError
from vaegis.service.model_file import DIGEST_PREFIX, content_digest, read_model_file
from vaegis.service.regular_files import opened_regular, read_regular

POINTER_FILE: Final = "live.json"
MODEL_SUFFIX: Final = ".onnx"
MOST_MODELS: Final = 64
"""Most models in one folder. It bounds the label `model` of metrics."""
MOST_HISTORY: Final = 20
"""Most former versions that a pointer file lists."""
MOST_LISTED: Final = 1000
"""Most versions of a model that are listed."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LOCK_FILE: Final = ".live.lock"
_LONGEST_WAIT_S: Final = 30.0
"""For the lock; a promotion holds it while it reads a version's file."""
_PAUSE_S: Final = 0.05
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)  # Windows has none
_MAX_POINTER_BYTES: Final = 64 * 1024

Stamp = tuple[int, ...] | None
"""What tells one file from another of the same path: identity, size and times. None if there is no file."""


class Version(BaseModel):
    """A version that was promoted, or put into the shadow of the live one.

    Attributes:
        version: Its name.
        digest: Digest of its file when it was promoted; the file must still have it.
        since: When it was promoted.
        allow_schema_change: Whether its columns may differ from those of the version before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: str
    digest: str = Field(pattern=rf"^{DIGEST_PREFIX}[0-9a-f]{{64}}$")
    since: str
    allow_schema_change: bool = False


class Pointer(BaseModel):
    """The content of a pointer file.

    Attributes:
        live: The version in use.
        shadow: The version that scores a sample beside the live one, if any.
        history: Versions that were live before, the newest last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    live: Version
    shadow: Version | None = None
    history: tuple[Version, ...] = Field(default=(), max_length=MOST_HISTORY)


def model_names(folder: Path) -> list[str]:
    """Return the models in a folder: its folders with valid names, sorted.

    Raises:
        ModelFolderError: the folder cannot be read, or holds too many.
    """
    try:
        # Kubernetes mounts a volume as links into a hidden folder: links are followed, hidden folders are no models.
        names = sorted(entry.name for entry in folder.iterdir() if _NAME.fullmatch(entry.name) and entry.is_dir())
    except OSError as error:
        raise ModelFolderError(f"{folder}: cannot be read: {error.strerror}") from error
    if len(names) > MOST_MODELS:
        raise ModelFolderError(f"{folder}: expected at most {MOST_MODELS} models, got {len(names)}")
    return names


def version_names(folder: Path, name: str) -> list[str]:
    """Return the last versions of a model, 9 before 10; none if its folder cannot be read."""
    try:
        found = [
            entry.name.removesuffix(MODEL_SUFFIX)
            for entry in (folder / name).iterdir()
            if entry.name.endswith(MODEL_SUFFIX) and _NAME.fullmatch(entry.name.removesuffix(MODEL_SUFFIX))
        ]
    except OSError:
        return []
    return sorted(found, key=_natural_order)[-MOST_LISTED:]


def _natural_order(name: str) -> list[tuple[str, int]]:
    return [(text, int(digits or 0)) for text, digits in re.findall(r"([^0-9]*)([0-9]*)", name)]


def version_path(folder: Path, name: str, version: str) -> Path:
    """Return the file of a version.

    Raises:
        ModelFolderError: the name of the model or of the version is not valid; so no path leaves the folder.
    """
    for what, text in (("model", name), ("version", version)):
        if not _NAME.fullmatch(text):
            raise ModelFolderError(
                f"{what} name: expected 1 to 100 letters, digits, dots, hyphens and underscores, the first a letter or "
                f"a digit, got {text[:100]!r}"
            )
    return folder / name / (version + MODEL_SUFFIX)


def read_pointer(folder: Path, name: str) -> Pointer | None:
    """Return the pointer of a model, None if it has no pointer file.

    Raises:
        ModelFolderError: the pointer file cannot be read or is not valid, or the model's name is not.
    """
    path = version_path(folder, name, name).with_name(POINTER_FILE)
    try:
        content = read_regular(path, _MAX_POINTER_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > _MAX_POINTER_BYTES:
        raise ModelFolderError(f"{path}: expected at most {_MAX_POINTER_BYTES} bytes, got more")
    try:
        pointer = Pointer.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "document"
        raise ModelFolderError(
            f"{path}: {place}: {first['msg']}; delete the file, and `vaegis promote` writes it anew"
        ) from error
    for named in filter(None, (pointer.live, pointer.shadow, *pointer.history)):
        version_path(folder, name, named.version)
    return pointer


def live_version(folder: Path, name: str) -> tuple[str, Version | None]:
    """Return the version of a model that is to be live, and its entry in the pointer file.

    Without a pointer file, a model's only version is live, and its entry is None.

    Raises:
        ModelFolderError: the pointer file cannot be used; or there is none, and not exactly one version.
    """
    pointer = read_pointer(folder, name)
    if pointer is not None:
        return pointer.live.version, pointer.live
    versions = version_names(folder, name)
    if not versions:
        raise ModelFolderError(f"{folder / name}: expected a version of the model, VERSION{MODEL_SUFFIX}, got none")
    if len(versions) != 1:
        raise ModelFolderError(
            f"{folder / name}: expected {POINTER_FILE}, or exactly one version, got {len(versions)}; "
            f"`vaegis promote {name} VERSION --models {folder}` chooses one"
        )
    return versions[0], None


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file; links are followed, so that a link that is switched changes it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def promote(folder: Path, name: str, version: str, digest: str, *, allow_schema_change: bool = False) -> Pointer:
    """Make a version live.

    Args:
        folder: The folder of models.
        name: The model.
        version: The version.
        digest: Digest of its file, which was checked.
        allow_schema_change: Whether its columns may differ from those of the version before.

    Returns:
        The new pointer. Promoting the version that is live already changes nothing.

    Raises:
        ModelFolderError: the pointer file cannot be used or written, or the file changed since ``digest`` was taken.
    """

    def change(pointer: Pointer | None) -> Pointer:
        named = _named(folder, name, version, digest, allow_schema_change=allow_schema_change)
        if pointer is None:
            return Pointer(live=named)
        if (pointer.live.version, pointer.live.digest) == (version, digest):
            return pointer
        history = (*pointer.history, pointer.live)[-MOST_HISTORY:]
        shadow = None if pointer.shadow is not None and pointer.shadow.version == version else pointer.shadow
        return Pointer(live=named, shadow=shadow, history=history)

    return _changed(folder, name, change)


def require_promoted(path: Path, data: bytes, digest: str) -> None:
    """Pass if the content of a version's file still has the digest that it had when it was promoted.

    Raises:
        ModelFolderError: it has another.
    """
    found = DIGEST_PREFIX + content_digest(data)
    if found != digest:
        raise ModelFolderError(
            f"{path}: expected the digest {digest} that {POINTER_FILE} has, got {found}; "
            "`vaegis promote` makes the file as it is now live, or another version"
        )


def roll_back(folder: Path, name: str) -> Pointer:
    """Make the version live that was live before, and return the new pointer.

    Raises:
        ArtifactError: its file cannot be read.
        ModelFolderError: there is none, its file was changed, or the pointer file cannot be used or written.
    """

    def change(pointer: Pointer | None) -> Pointer:
        if pointer is None or not pointer.history:
            raise ModelFolderError(f"{folder / name}: no version was live before; `vaegis promote` makes one live")
        before = pointer.history[-1]
        path = version_path(folder, name, before.version)
        require_promoted(path, read_model_file(path), before.digest)
        # Going back must not fail because the columns go back too.
        live = before.model_copy(update={"since": _now(), "allow_schema_change": True})
        return Pointer(live=live, shadow=pointer.shadow, history=pointer.history[:-1])

    return _changed(folder, name, change)


def set_shadow(folder: Path, name: str, version: str | None, digest: str = "") -> Pointer:
    """Have a version score in the shadow of the live one, or none if it is None; return the new pointer.

    Raises:
        ModelFolderError: no version is live, or the pointer file cannot be used or written.
    """

    def change(pointer: Pointer | None) -> Pointer:
        if pointer is None:
            raise ModelFolderError(f"{folder / name}: expected {POINTER_FILE}, got none; run `vaegis promote` first")
        shadow = None if version is None else _named(folder, name, version, digest)
        return pointer.model_copy(update={"shadow": shadow})

    return _changed(folder, name, change)


def _named(folder: Path, name: str, version: str, digest: str, *, allow_schema_change: bool = False) -> Version:
    path = version_path(folder, name, version)
    found = DIGEST_PREFIX + content_digest(read_model_file(path))
    if found != digest:
        raise ModelFolderError(f"{path}: it changed while it was checked; run the command again")
    return Version(version=version, digest=digest, since=_now(), allow_schema_change=allow_schema_change)


def _changed(folder: Path, name: str, change: Callable[[Pointer | None], Pointer]) -> Pointer:
    """Replace the pointer of a model by what ``change`` makes of it; others that do the same wait."""
    path = version_path(folder, name, name).with_name(POINTER_FILE)
    try:
        if not path.parent.is_dir():
            raise ModelFolderError(f"{path.parent}: expected the folder of a model, got none; {_found_models(folder)}")
        with _locked(path.with_name(_LOCK_FILE)):
            pointer = read_pointer(folder, name)
            changed = change(pointer)
            if changed != pointer:
                _replace(path, changed.model_dump_json(indent=2).encode() + b"\n")
            return changed
    except OSError as error:
        where = "; change the volume where it comes from" if error.errno == errno.EROFS else ""
        raise ModelFolderError(f"{path}: cannot be written: {error.strerror}{where}") from error


def _found_models(folder: Path) -> str:
    """Say which models a folder holds, as the end of a message."""
    try:
        names = model_names(folder)
    except ModelFolderError:
        return f"there is no folder {folder}, which --models names"
    return f"{folder} holds {', '.join(names) or 'no model'}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file that stays. The system releases it if this process ends."""
    flags = os.O_CREAT | os.O_CLOEXEC | _NO_LINK
    with ExitStack() as stack:
        try:  # some network file systems lock only what may be written
            file = stack.enter_context(opened_regular(path, os.O_RDWR | flags, 0o644))
        except PermissionError:  # another user made it; to lock it, elsewhere it is enough to read it
            file = stack.enter_context(opened_regular(path, os.O_RDONLY | flags, 0o644))
        with suppress(ImportError):  # Windows has no such lock; there, the last of two promotions at once stays
            import fcntl  # noqa: PLC0415 - as above

            _lock(path, partial(fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB))
        yield


def _lock(path: Path, lock: Callable[[], object]) -> None:
    """Lock a file once nobody else does. Whoever may read the file can lock it for ever, so the wait has an end."""
    deadline = time.monotonic() + _LONGEST_WAIT_S
    while True:
        try:
            lock()
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                detail = f"another process has locked {path} for {_LONGEST_WAIT_S:g} s"
                raise OSError(error.errno, detail, str(path)) from None
            time.sleep(_PAUSE_S)
        else:
            return


def _replace(path: Path, content: bytes) -> None:
    """Replace a file as a whole, also if the machine stops meanwhile."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # not every system can sync a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
