"""The keys in force: those of the environment, and those of a file that is read again when it changes."""

from __future__ import annotations

import logging
import stat
import time
from collections.abc import Callable
from hmac import compare_digest
from pathlib import Path
from typing import Final, Literal, TypeAlias

from vaegis.service.auth.keys import Key, KeysError, digest_of, parse_keys

Outcome: TypeAlias = Literal["succeeded", "failed"]
"""Whether a file of keys that changed could be read."""

CHECK_INTERVAL_S: Final = 1.0
"""Least time between two looks at the file."""

_MAX_FILE_BYTES: Final = 2**20
_LOG: Final = logging.getLogger("vaegis.keys")
_OTHERS: Final = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP


class Keyring:
    """Finds the key that a caller presents. Not for use from several threads at a time.

    All keys are compared, in constant time each, so that the time tells nothing about any of them. What was found is
    remembered by its hash: how long a look-up by hash takes could at most tell of the hash, from which nobody finds
    the key, and whether a key is valid is told by the answer anyway.
    """

    def __init__(
        self,
        inline: tuple[Key, ...],
        file: Path | None = None,
        *,
        on_reload: Callable[[Outcome], None] = lambda _: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the keys.

        Args:
            inline: Keys that do not change.
            file: A file with more of them.
            on_reload: Called each time that the file has changed.
            now: The time, in seconds.

        Raises:
            KeysError: the file cannot be read, or has a name or a hash of ``inline``.
        """
        self._inline = inline
        self._file = file
        self._on_reload = on_reload
        self._now = now
        self._signature = self._sign()
        self._keys = self._read()
        self._found: dict[bytes, Key] = {}
        self._next_check = now() + CHECK_INTERVAL_S

    def find(self, presented: bytes) -> Key | None:
        """Return the key whose hash is that of ``presented``, if it is valid at this moment."""
        if self._file is not None and self._now() >= self._next_check:
            self._refresh()
        digest = digest_of(presented)
        found = self._found.get(digest)
        if found is None:
            for key in self._keys:
                if compare_digest(key.digest, digest):
                    found = key
            if found is not None:
                self._found[digest] = found
        return found

    def _refresh(self) -> None:
        """Read the file again if it changed; keep the keys as they are where it cannot be read."""
        self._next_check = self._now() + CHECK_INTERVAL_S
        signature = self._sign()
        if signature == self._signature:
            return
        self._signature = signature
        try:
            keys = self._read()
        except KeysError as error:
            _LOG.error("keys not read again, those before stay valid", extra={"fields": {"reason": str(error)}})
            self._on_reload("failed")
            return
        self._keys, self._found = keys, {}
        _LOG.info("keys read again", extra={"fields": {"keys": [key.name for key in keys]}})
        self._on_reload("succeeded")

    def _sign(self) -> tuple[int, int, int] | None:
        """Return what differs when the file does: also where a link, as Kubernetes keeps secrets, leads elsewhere."""
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> tuple[Key, ...]:
        if self._file is None:
            return self._inline
        keys = _keys_of(self._file)
        for key in keys:
            if any(key.name == other.name or compare_digest(key.digest, other.digest) for other in self._inline):
                raise KeysError(f"{self._file}: {key.name}: its name or hash is also in VAEGIS_KEYS")
        return self._inline + keys


def _keys_of(file: Path) -> tuple[Key, ...]:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_FILE_BYTES + 1)
            mode = file.stat().st_mode
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise KeysError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise KeysError(f"{file}: expected UTF-8, got other bytes") from None
    if len(content) > _MAX_FILE_BYTES:
        raise KeysError(f"{file}: expected at most {_MAX_FILE_BYTES} bytes, got more")
    keys = parse_keys(text, str(file))
    if mode & _OTHERS:
        _LOG.warning("file of keys open to others", extra={"fields": {"file": str(file), "mode": f"{mode & 0o777:o}"}})
    return keys
