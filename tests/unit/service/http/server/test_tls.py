"""Certificates: what is shown to clients, what is refused, and that new files are read."""

from __future__ import annotations

import itertools
import logging
import os
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from vaegis.service.http.server.tls import CertificateError, tls_context, warn_if_exposed


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def files(tmp_path, authority):
    """Write a certificate and its key, and return the two files."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    write(authority, certificate, key)
    return certificate, key


def write(authority, certificate, key, name="one.example"):
    issued = authority.issue_cert(name)
    certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())


def shown(context: ssl.SSLContext, authority) -> tuple[set[str], str | None]:
    """Return the names of the certificate that a client is shown, and the protocol agreed on."""
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    client_context.check_hostname = False
    client_context.set_alpn_protocols(["h2", "http/1.1"])
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server)
    for _ in range(3):
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return {name for _, name in client.getpeercert()["subjectAltName"]}, client.selected_alpn_protocol()


def checked_each_time(certificate, key):
    """Return a context that looks at its files at each call."""
    seconds = itertools.count()
    return tls_context(certificate, key, now=lambda: next(seconds))


def test_clients_are_shown_the_certificate_and_offered_http_1_1(files, authority):
    assert shown(checked_each_time(*files).content(), authority) == ({"one.example"}, "http/1.1")


def test_nothing_older_than_tls_1_2_is_spoken(files):
    assert checked_each_time(*files).content().minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.fixture
def logged():
    """Collect what the service logs."""
    logger, handler, records = logging.getLogger("vaegis.http"), logging.Handler(), []
    handler.emit = records.append
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def test_new_files_are_read_and_bad_ones_are_logged_once_and_not_used(files, authority, logged):
    certificate = checked_each_time(*files)
    write(authority, *files, name="another.example")
    assert shown(certificate.content(), authority)[0] == {"another.example"}
    for spoil in (lambda: files[1].write_text("nonsense"), files[0].unlink):
        spoil()
        for _ in range(3):
            assert shown(certificate.content(), authority)[0] == {"another.example"}
    assert [record.levelname for record in logged if record.levelname == "ERROR"] == ["ERROR", "ERROR"]
    write(authority, *files, name="a.third.example")
    assert shown(certificate.content(), authority)[0] == {"a.third.example"}


def test_files_that_could_not_be_used_are_tried_again_although_they_did_not_change(
    files, authority, monkeypatch, logged
):
    certificate = checked_each_time(*files)
    write(authority, *files, name="another.example")
    load = ssl.SSLContext.load_cert_chain

    def denied(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", denied)
    for _ in range(3):
        assert shown(certificate.content(), authority)[0] == {"one.example"}
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load)
    assert shown(certificate.content(), authority)[0] == {"another.example"}
    assert [record.levelname for record in logged].count("ERROR") == 1


def test_a_change_that_leaves_sizes_and_modification_times_as_they_were_is_a_change(files):
    certificate = checked_each_time(*files)
    before = files[0].stat()
    first = certificate.content()
    with files[0].open("r+b") as opened:
        opened.write(b"-")
    os.utime(files[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert certificate.content() is not first


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True)])
def test_a_private_key_that_others_may_read_or_change_is_warned_of(files, logged, mode, warned):
    files[1].chmod(mode)
    warn_if_exposed(files[1])
    assert [record.fields["mode"] for record in logged] == ([f"{mode:o}"] if warned else [])


def test_files_that_stay_as_they_are_are_read_once(files):
    certificate = checked_each_time(*files)
    assert certificate.content() is certificate.content()


def test_no_files_are_no_certificate():
    assert tls_context(None, None) is None


@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        ("a", None, "tls_key: must be set together with tls_certificate"),
        (None, "a", "tls_certificate: must be set together with tls_key"),
        ("/nowhere/a", "/nowhere/b", "/nowhere/a: cannot be read: No such file or directory"),
    ],
)
def test_a_pair_that_is_not_whole_is_refused(certificate, key, message):
    with pytest.raises(CertificateError) as caught:
        tls_context(certificate and Path(certificate), key and Path(key))
    assert str(caught.value) == message


def test_files_that_do_not_belong_together_are_refused(files, authority, tmp_path):
    other = tmp_path / "other.pem"
    write(authority, tmp_path / "unused.pem", other)
    with pytest.raises(
        CertificateError, match="expected a certificate and its key in PEM, without a password, got: key"
    ):
        tls_context(files[0], other)
    with pytest.raises(CertificateError):
        tls_context(files[1], files[0])


def test_a_key_that_needs_a_password_is_refused_and_nobody_is_asked_for_it(files):
    key = load_pem_private_key(files[1].read_bytes(), None)
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(CertificateError, match="without a password"):
        checked_each_time(*files)
