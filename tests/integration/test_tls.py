"""`vaegis serve` with a certificate: HTTPS, and clients that never finish a handshake."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest
import trustme

RECORD = {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    write(authority, folder, "127.0.0.1")
    return folder


def write(authority, folder, name):
    issued = authority.issue_cert(name)
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
    (folder / "certificate.pem").write_bytes(issued.cert_chain_pems[0].bytes())


@pytest.fixture
def served(serve, files):
    flags = ("--tls-certificate", str(files / "certificate.pem"), "--tls-key", str(files / "key.pem"))
    return serve(*flags, "--header-timeout-s", "0.5")


@pytest.fixture
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_records_are_scored_over_https(served, trusting):
    assert served.url.startswith("https://")
    with httpx.Client(base_url=served.url, verify=trusting) as client:
        for _ in range(3):
            answer = client.post("/score", json=[RECORD] * 2000)
            assert (answer.status_code, len(answer.json()["results"])) == (200, 2000)
    assert served.stop() == 0


def test_a_new_certificate_is_shown_without_a_restart(served, authority, files, wait_until):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.check_hostname = False

    def name() -> str:
        with served.connect() as plain, context.wrap_socket(plain) as client:
            return client.getpeercert()["subjectAltName"][0][1]

    assert name() == "127.0.0.1"
    for written in ("renewed.example", "127.0.0.1"):
        write(authority, files, written)
        wait_until(lambda written=written: name() == written)  # the files are looked at once a second


@pytest.mark.parametrize("greeting", [b"", b"\x16\x03\x01", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_a_client_that_does_not_come_to_an_agreement_is_cut(served, trusting, greeting):
    with served.connect() as client:
        client.sendall(greeting)
        received = b""
        try:
            while part := client.recv(65536):
                received += part
        except ConnectionError:
            pass
    assert b"HTTP/1.1 200" not in received
    with httpx.Client(base_url=served.url, verify=trusting) as client:
        assert client.get("/livez").status_code == 200
        assert 'vaegis_connections_cut_total{reason="handshake"} 1.0' in client.get("/metrics").text


def test_a_client_that_reads_nothing_does_not_keep_the_service_from_stopping(served, trusting):
    with served.connect() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as client:
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert served.stop() == 0
