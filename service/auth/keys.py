"""A key: how one is made, and how the line that stands for it is read. Only its hash is ever kept."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from vaegis.service.errors import SettingsError

MAX_KEYS: Final = 1000
"""Most keys at a time; an unknown key is compared with each of them."""

_PREFIX: Final = "vaegis_"  # by which a scanner for leaked secrets knows a key
_RANDOM_BYTES: Final = 32
_HASH: Final = "sha256:"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST: Final = re.compile(_HASH + r"([0-9a-f]{64})")
_LAYOUT: Final = "a name, scopes, a hash and perhaps records a second"
_FIELDS: Final = (3, 4)
_LEAST_RATE: Final = 0.001
_GREATEST_RATE: Final = 1e7


class KeysError(SettingsError):
    """Keys that cannot be read. Its text never quotes what came, which might be a key."""


class Access(StrEnum):
    """What a key may allow: a scope, as OAuth has it."""

    SCORE = "score"
    MODEL = "model"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is valid.

    Attributes:
        name: What logs call it.
        scopes: What it allows.
        digest: SHA-256 of it. A key is 256 random bits, so that no search finds it from its hash; a hash made slow on
            purpose, such as bcrypt, protects what people can remember, and would cost each request milliseconds.
        records_per_s: Its own rate; None for the one that is set for all.
    """

    name: str
    scopes: frozenset[Access]
    digest: bytes = field(repr=False)
    records_per_s: float | None = None

    def line(self) -> str:
        """Return the line of a file that stands for it."""
        rate = [] if self.records_per_s is None else [f"{self.records_per_s:.15g}"]
        return " ".join([self.name, ",".join(sorted(self.scopes)), _HASH + self.digest.hex(), *rate])


def new_key() -> str:
    """Return a fresh key."""
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(key: bytes) -> bytes:
    """Return the hash by which a key is known."""
    return hashlib.sha256(key).digest()


def parse_keys(text: str, source: str) -> tuple[Key, ...]:
    """Return the keys of a text, one a line; `#` begins a comment, and blank lines are passed over.

    Args:
        text: As in a file of keys.
        source: What it is called in errors.

    Raises:
        KeysError: a line is not a key, a name or a hash stands twice, or there are none, or too many.
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
    """Return a key's name.

    Raises:
        KeysError: it is none.
    """
    if not _NAME.fullmatch(text):
        raise KeysError("name: expected 1 to 64 letters, digits, dots, hyphens and underscores, got something else")
    return text


def parse_scopes(text: str) -> frozenset[Access]:
    """Return the scopes of a list with commas.

    >>> sorted(parse_scopes("score,metrics"))
    [<Access.METRICS: 'metrics'>, <Access.SCORE: 'score'>]

    Raises:
        KeysError: one is unknown.
    """
    known = [access.value for access in Access]
    if not set(text.split(",")) <= set(known):
        raise KeysError(f"scopes: expected one or more of {','.join(known)}, separated by commas, got something else")
    return frozenset(map(Access, text.split(",")))


def parse_rate(text: str) -> float:
    """Return a number of records a second.

    Raises:
        KeysError: it is no number, or out of range.
    """
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not _LEAST_RATE <= rate <= _GREATEST_RATE:
        raise KeysError(f"records a second: expected {_LEAST_RATE:g} to {_GREATEST_RATE:g}, got something else")
    return rate


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
