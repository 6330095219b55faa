"""API keys: how they are made and read, which ones are valid, and when the service may run without any."""

from __future__ import annotations

import hashlib
import logging
import math
import re
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, TypeAlias

from vaegis.service.errors import SettingsError
from vaegis.service.regular_files import read_regular
from vaegis.service.reloaded_files import ReloadedFiles

ReloadOutcome: TypeAlias = Literal["succeeded", "failed"]
"""Whether a changed keys file could be read."""

MAX_KEYS: Final = 1000
"""Most keys in one file or variable."""

_PREFIX: Final = "vaegis_"  # scanners for leaked secrets recognise it
_RANDOM_BYTES: Final = 32
_HASH: Final = "sha256:"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST: Final = re.compile(_HASH + r"([0-9a-f]{64})")
_LAYOUT: Final = "a name, scopes, a hash and optionally records per second"
_FIELDS: Final = (3, 4)
_LEAST_RATE: Final = 0.001
_GREATEST_RATE: Final = 1e7
_MAX_FILE_BYTES: Final = 2**20
_OPEN_TO_OTHERS: Final = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP
_LOG: Final = logging.getLogger("vaegis.keys")


class KeysError(SettingsError):
    """Keys that cannot be read. Its text never quotes the input, which might be a key."""


class Access(StrEnum):
    """An OAuth scope: what a key allows."""

    SCORE = "score"
    MODEL = "model"
    METRICS = "metrics"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Key:
    """A valid key.

    Attributes:
        name: Its name in logs.
        scopes: What it allows.
        digest: Its SHA-256. A key is 256 random bits, so nobody can find it from its hash. A slow hash such as bcrypt
            protects passwords that people choose, and would cost milliseconds for each request.
        records_per_s: Its own rate; None for the default rate.
    """

    name: str
    scopes: frozenset[Access]
    digest: bytes = field(repr=False)
    records_per_s: float | None = None

    def line(self) -> str:
        """Return its line for a keys file."""
        rate = [] if self.records_per_s is None else [f"{self.records_per_s:.15g}"]
        return " ".join([self.name, ",".join(sorted(self.scopes)), _HASH + self.digest.hex(), *rate])


class KeyStore:
    """Finds the key that a caller presents, and reloads the keys file when it changes. Not thread-safe.

    Keys are looked up by their hash. The time of a look-up can tell at most something about the hash, and nobody can
    find a key from its hash.
    """

    def __init__(
        self,
        inline: tuple[Key, ...],
        file: Path | None = None,
        *,
        on_reload: Callable[[ReloadOutcome], None] = lambda _: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the keys.

        Args:
            inline: Keys that do not change.
            file: A file with more keys.
            on_reload: Called each time after the file has changed.
            now: Clock, in seconds.

        Raises:
            KeysError: The file cannot be read, or repeats a name or a hash of ``inline``.
        """
        self._on_reload = on_reload
        files = () if file is None else (file,)
        self._keys = ReloadedFiles(files, partial(_keys_by_digest, inline, file), self._note_reload, now=now)

    def find(self, presented: bytes) -> Key | None:
        """Return the valid key that ``presented`` is, or None."""
        return self._keys.content().get(digest_of(presented))

    def _note_reload(self, error: SettingsError | None) -> None:
        if error is None:
            _LOG.info("keys reloaded", extra={"fields": {"keys": [key.name for key in self._keys.content().values()]}})
            self._on_reload("succeeded")
        else:
            _LOG.error("keys not reloaded, the old ones stay valid", extra={"fields": {"reason": str(error)}})
            self._on_reload("failed")


def new_key() -> str:
    """Return a new random key."""
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(key: bytes) -> bytes:
    """Return the SHA-256 of a key."""
    return hashlib.sha256(key).digest()


def parse_keys(text: str, source: str) -> tuple[Key, ...]:
    """Return the keys of a text, one per line. `#` begins a comment, and blank lines are ignored.

    Args:
        text: Content of a keys file.
        source: Its name in errors.

    Raises:
        KeysError: A line is not a key, a name or a hash is repeated, or there are no keys or too many.
    """
    keys: dict[str, Key] = {}
    digests: set[bytes] = set()
    for number, line in enumerate(text.split("\n"), 1):
        content = line.partition("#")[0].split()
        if not content:
            continue
        where = f"{source}, line {number}"
        key = _parse_line(content, where)
        if key.name in keys or key.digest in digests:
            raise KeysError(f"{where}: the name or hash repeats that of an earlier line")
        keys[key.name] = key
        digests.add(key.digest)
    if not 1 <= len(keys) <= MAX_KEYS:
        raise KeysError(f"{source}: expected 1 to {MAX_KEYS} keys, got {len(keys)}")
    return tuple(keys.values())


def parse_name(text: str) -> str:
    """Return the name of a key.

    Raises:
        KeysError: It is not a valid name.
    """
    if not _NAME.fullmatch(text):
        raise KeysError("name: expected 1 to 64 letters, digits, dots, hyphens and underscores, got something else")
    return text


def parse_scopes(text: str) -> frozenset[Access]:
    """Return the scopes in a comma-separated list.

    >>> sorted(parse_scopes("score,metrics"))
    [<Access.METRICS: 'metrics'>, <Access.SCORE: 'score'>]

    Raises:
        KeysError: A scope is unknown.
    """
    known = [access.value for access in Access]
    if not set(text.split(",")) <= set(known):
        raise KeysError(f"scopes: expected one or more of {','.join(known)}, separated by commas, got something else")
    return frozenset(map(Access, text.split(",")))


def parse_rate(text: str) -> float:
    """Return a rate in records per second.

    Raises:
        KeysError: It is not a number, or out of range.
    """
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not _LEAST_RATE <= rate <= _GREATEST_RATE:
        raise KeysError(f"records per second: expected {_LEAST_RATE:g} to {_GREATEST_RATE:g}, got something else")
    return rate


def require_keys_or_open(address: str, *, has_keys: bool, is_open: bool) -> None:
    """Refuse to start on an address that other machines can reach, unless there are keys or everyone may call.

    Args:
        address: IP address of the socket. Not a host name, which may resolve differently next time.
        has_keys: Whether keys are set.
        is_open: Whether everyone may call.

    Raises:
        SettingsError: Neither holds and ``address`` is not a loopback address, or both hold.
    """
    if has_keys and is_open:
        raise SettingsError("open: not allowed when keys are set; choose one of the two")
    if has_keys or is_open or ip_address(address).is_loopback:
        return
    raise SettingsError(
        f"host: other machines can reach {address}, and no keys are set. Set keys with --keys-file FILE "
        "(VAEGIS_KEYS_FILE), after `vaegis key NAME >> FILE`, or let everyone call with --open (VAEGIS_OPEN=true)"
    )


def _keys_by_digest(inline: tuple[Key, ...], file: Path | None) -> dict[bytes, Key]:
    keys = {key.digest: key for key in inline}
    names = {key.name for key in inline}
    for key in () if file is None else _read_file(file):
        if key.name in names or key.digest in keys:
            raise KeysError(f"{file}: {key.name}: its name or hash is also in VAEGIS_KEYS")
        keys[key.digest] = key
    return keys


def _parse_line(content: list[str], where: str) -> Key:
    if len(content) not in _FIELDS:
        raise KeysError(f"{where}: expected {_LAYOUT}, got {len(content)} words")
    digest = _DIGEST.fullmatch(content[2])
    if digest is None:
        raise KeysError(f"{where}: hash: expected {_HASH} and 64 hexadecimal digits, got something else")
    try:
        return Key(
            name=parse_name(content[0]),
            scopes=parse_scopes(content[1]),
            digest=bytes.fromhex(digest[1]),
            records_per_s=parse_rate(content[3]) if len(content) > _FIELDS[0] else None,
        )
    except KeysError as error:
        raise KeysError(f"{where}: {error}") from None


def _read_file(file: Path) -> tuple[Key, ...]:
    try:
        content = read_regular(file, _MAX_FILE_BYTES + 1)
        mode = file.stat().st_mode
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise KeysError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise KeysError(f"{file}: expected UTF-8, got other bytes") from None
    if len(content) > _MAX_FILE_BYTES:
        raise KeysError(f"{file}: expected at most {_MAX_FILE_BYTES} bytes, got more")
    keys = parse_keys(text, str(file))
    if mode & _OPEN_TO_OTHERS:
        fields = {"file": str(file), "mode": f"{mode & 0o777:o}"}
        _LOG.warning("other users can read or change the keys file", extra={"fields": fields})
    return keys
