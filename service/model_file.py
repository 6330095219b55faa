"""The bytes of a model file: read up to a limit, and compared with the digest or the signature expected of them.

The digest inside a file finds accidents only, because whoever alters the file can write a new one. A digest that comes
from elsewhere, or a signature, tells that the file is the one that was meant. Both are checked before it is parsed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from vaegis.service.errors import ArtifactError, SettingsError, needs_extra
from vaegis.service.regular_files import read_regular

FORMAT_VERSION: Final = 2
"""Version of the file format that this code writes."""

READ_VERSIONS: Final = (1, 2)
"""Versions that it reads. Files of version 1 have no checks, so no record violates one."""

MAX_FILE_BYTES: Final = 2**30
DIGEST_PREFIX: Final = "sha256:"
SIGNATURE_SUFFIX: Final = ".sig"
_DIGEST_CHARACTERS: Final = 64
_MAX_KEY_BYTES: Final = 64 * 1024


class MetadataKey(StrEnum):
    """Keys of the metadata documents in `metadata_props`."""

    FORMAT = "vaegis.format"
    SCHEMA = "vaegis.schema"
    CALIBRATION = "vaegis.calibration"
    PROVENANCE = "vaegis.provenance"
    GENERATOR = "vaegis.generator"
    GOLDEN = "vaegis.golden"
    EVALUATION = "vaegis.evaluation"
    DIGEST = "vaegis.digest"


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a model file before it is read.

    Attributes:
        digest: Its digest as `vaegis inspect` shows it, `sha256:` and 64 hexadecimal digits; None for any.
        public_key: PEM file of the Ed25519 public key by which its signature must be good; None to need none.
    """

    digest: str | None = None
    public_key: Path | None = None

    def __post_init__(self) -> None:
        """Check the form of the digest.

        Raises:
            SettingsError: it is none.
        """
        if self.digest is not None and not _is_digest(self.digest):
            raise SettingsError(
                f"model digest: expected {DIGEST_PREFIX} and {_DIGEST_CHARACTERS} hexadecimal digits, "
                f"got {self.digest[:100]!r}"
            )


def read_model_file(path: Path, expected: Expected | None = None) -> bytes:
    """Return the content of a model file.

    Raises:
        ArtifactError: it cannot be read, is too large, or is not what was expected.
        SettingsError: the public key cannot be used.
        MissingExtraError: a signature is to be verified, and `cryptography` is not installed.
    """
    data = _read(path, MAX_FILE_BYTES)
    if expected is None:
        return data
    if expected.digest is not None:
        digest = DIGEST_PREFIX + content_digest(data)
        if digest != expected.digest.lower():
            raise ArtifactError(f"{path}: expected the digest {expected.digest}, got {digest}")
    if expected.public_key is not None:
        _verify_signature(path, data, expected.public_key)
    return data


def content_digest(data: bytes) -> str:
    """Return the SHA-256 of a file up to its digest entry, in hex."""
    return hashlib.sha256(memoryview(data)[: -len(digest_entry(b""))]).hexdigest()


def digest_entry(model: bytes) -> bytes:
    """Return the metadata entry that closes a file: the SHA-256 of all bytes before it.

    Two protobuf messages written one after the other are one merged message, so the result of ``model +
    digest_entry(model)`` is an ordinary ONNX file with one more metadata entry, of fixed length, at its end.
    """
    key, value = MetadataKey.DIGEST.encode(), hashlib.sha256(model).hexdigest().encode()
    entry = bytes([0x0A, len(key)]) + key + bytes([0x12, len(value)]) + value
    return bytes([0x72, len(entry)]) + entry  # 0x72: field 14 (metadata_props), length-delimited


def _is_digest(text: str) -> bool:
    digits = text.lower().removeprefix(DIGEST_PREFIX)
    return len(digits) == _DIGEST_CHARACTERS and len(text) > len(digits) and set(digits) <= set("0123456789abcdef")


def _read(path: Path, most: int) -> bytes:
    try:
        data = read_regular(path, most + 1)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise ArtifactError(f"{path}: expected a file of at most {most} bytes, got a larger one")
    return data


def _verify_signature(path: Path, data: bytes, public_key: Path) -> None:
    """Compare a file with the 64 bytes of Ed25519 (RFC 8032) in the file beside it."""
    with needs_extra("signature"):
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - of an extra that few need
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415
    try:
        key = load_pem_public_key(read_regular(public_key, _MAX_KEY_BYTES))
    except OSError as error:
        raise SettingsError(f"{public_key}: cannot be read: {error.strerror}") from error
    except Exception as error:  # cryptography raises several kinds for what is no key
        raise SettingsError(f"{public_key}: expected a public key in PEM, got something else") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"{public_key}: expected an Ed25519 public key, got another kind")
    signature = path.with_name(path.name + SIGNATURE_SUFFIX)
    try:
        key.verify(_read(signature, 64), data)
    except InvalidSignature:
        raise ArtifactError(f"{path}: the signature in {signature} does not verify with {public_key}") from None
