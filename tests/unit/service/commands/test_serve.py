"""The listening socket: its protocol, and what it refuses."""

from __future__ import annotations

import socket

import pytest

from vaegis.service.commands.serve import listening_sockets, unix_socket


def _has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


def test_the_protocol_is_named_so_that_asyncio_turns_off_nagles_algorithm():
    (listening,) = listening_sockets("127.0.0.1", 0)
    with listening:
        assert listening.proto == socket.IPPROTO_TCP
        with socket.create_connection(listening.getsockname()) as client:
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.proto == socket.IPPROTO_TCP
                assert accepted.getsockname() == client.getpeername()


def test_a_taken_port_is_refused():
    (taken,) = listening_sockets("127.0.0.1", 0)
    with taken, pytest.raises(OSError, match="in use"):
        listening_sockets("localhost", taken.getsockname()[1])


def test_an_address_that_does_not_exist_is_refused():
    with pytest.raises(OSError, match=r".+"):
        listening_sockets("host.invalid", 0)


def test_localhost_means_both_loopback_addresses_on_one_port(request):
    sockets = listening_sockets("localhost", 0)
    request.addfinalizer(lambda: [listening.close() for listening in sockets])
    addresses = [listening.getsockname()[:2] for listening in sockets]
    port = addresses[0][1]
    expected = [("127.0.0.1", port), ("::1", port)]
    assert addresses == (expected if _has_ipv6() else expected[:1])


def test_a_port_that_is_taken_on_one_address_of_a_name_is_refused_and_none_is_left_open():
    if not _has_ipv6():
        pytest.skip("the system has no IPv6")
    (taken,) = listening_sockets("::1", 0)
    port = taken.getsockname()[1]
    with taken, pytest.raises(OSError, match="in use"):
        listening_sockets("localhost", port)
    for again in listening_sockets("localhost", port):
        again.close()


def test_a_unix_socket_replaces_one_that_nobody_listens_on_and_nothing_else(tmp_path):
    path = tmp_path / "vaegis.sock"
    with unix_socket(path), pytest.raises(OSError, match="another process listens"):
        unix_socket(path)
    with unix_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    path.unlink()
    path.write_text("a file")
    with pytest.raises(OSError, match="in use"):
        unix_socket(path)
    assert path.read_text() == "a file"
