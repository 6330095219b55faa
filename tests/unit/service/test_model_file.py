from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaegis.service import model_file
from vaegis.service.errors import ArtifactError, MissingExtraError, SettingsError
from vaegis.service.model_file import Expected, content_digest, read_model_file


@pytest.fixture
def model(golden_model: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(golden_model.read_bytes())
    return path


@pytest.fixture
def public_key(model: Path) -> Path:
    """Sign the model, and return the file of the key by which the signature is good."""
    private = Ed25519PrivateKey.generate()
    model.with_name("model.onnx.sig").write_bytes(private.sign(model.read_bytes()))
    path = model.with_name("key.pem")
    path.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def test_the_digest_is_the_one_that_the_model_is_known_by(model, artifact):
    assert content_digest(model.read_bytes()) == artifact.digest
    for digest in (f"sha256:{artifact.digest}", f"sha256:{artifact.digest.upper()}"):
        assert read_model_file(model, Expected(digest)) == model.read_bytes()


def test_a_model_of_another_digest_is_refused(model, artifact):
    with pytest.raises(ArtifactError, match=rf"expected the digest sha256:0+, got sha256:{artifact.digest}"):
        read_model_file(model, Expected("sha256:" + "0" * 64))


@pytest.mark.parametrize(
    "digest", ["", "0" * 64, "sha256:", "sha256:" + "0" * 63, "sha256:" + "g" * 64, "md5:" + "0" * 64]
)
def test_what_is_no_digest_is_refused(digest):
    with pytest.raises(SettingsError, match="model digest: expected sha256: and 64 hexadecimal digits"):
        Expected(digest)


def test_a_signed_model_is_read(model, public_key):
    assert read_model_file(model, Expected(public_key=public_key)) == model.read_bytes()


def test_a_model_that_was_changed_after_it_was_signed_is_refused(model, public_key):
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(ArtifactError, match=r"model\.onnx: the signature in .*model\.onnx\.sig does not verify with"):
        read_model_file(model, Expected(public_key=public_key))


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65)])
def test_what_is_no_signature_of_the_model_is_refused(model, public_key, signature):
    model.with_name("model.onnx.sig").write_bytes(signature)
    with pytest.raises(ArtifactError, match=r"does not verify|expected a file of at most 64 bytes"):
        read_model_file(model, Expected(public_key=public_key))


def test_a_model_without_a_signature_is_refused(model, public_key):
    model.with_name("model.onnx.sig").unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx\.sig: cannot be read"):
        read_model_file(model, Expected(public_key=public_key))


def test_a_key_that_cannot_be_used_is_a_fault_of_the_settings(model, public_key):
    other = generate_private_key(SECP256R1()).public_key()
    for content in (b"", b"no key", other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)):
        public_key.write_bytes(content)
        with pytest.raises(SettingsError, match=r"key\.pem: expected .* public key"):
            read_model_file(model, Expected(public_key=public_key))
    with pytest.raises(SettingsError, match="cannot be read"):
        read_model_file(model, Expected(public_key=public_key.with_name("absent.pem")))


def test_without_cryptography_a_signature_is_not_taken_for_good(model, public_key, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vaegis\[signature\]'"):
        read_model_file(model, Expected(public_key=public_key))


def test_a_file_that_is_too_large_is_refused_without_being_read_to_its_end(monkeypatch, tmp_path):
    monkeypatch.setattr(model_file, "MAX_FILE_BYTES", 2**20)
    path = tmp_path / "large.onnx"
    path.touch()
    os.truncate(path, 2**33)
    with pytest.raises(ArtifactError, match=r"large\.onnx: expected a file of at most 1048576 bytes, got a larger one"):
        read_model_file(path)


def test_a_signature_or_key_that_is_no_regular_file_is_refused_at_once(model, public_key):
    signature = model.with_name("model.onnx.sig")
    signature.unlink()
    os.mkfifo(signature)
    with pytest.raises(ArtifactError, match=r"\.sig: cannot be read: expected a regular file, got a named pipe"):
        read_model_file(model, Expected(public_key=public_key))
    public_key.unlink()
    os.mkfifo(public_key)
    with pytest.raises(SettingsError, match=r"key\.pem: cannot be read: expected a regular file, got a named pipe"):
        read_model_file(model, Expected(public_key=public_key))
