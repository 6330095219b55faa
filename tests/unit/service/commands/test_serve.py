"""The listening socket: its protocol, and what it refuses."""

from __future__ import annotations

import socket

import pytest

from vaegis.service.commands.serve import listening_socket, unix_socket


def test_the_protocol_is_named_so_that_asyncio_turns_off_nagles_algorithm():
    with listening_socket("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP
        with socket.create_connection(listening.getsockname()) as client:
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.proto == socket.IPPROTO_TCP
                assert accepted.getsockname() == client.getpeername()


def test_a_taken_port_is_refused():
    with listening_socket("127.0.0.1", 0) as taken, pytest.raises(OSError, match="in use"):
        listening_socket("127.0.0.1", taken.getsockname()[1])


def test_an_address_that_does_not_exist_is_refused():
    with pytest.raises(OSError, match=r".+"):
        listening_socket("host.invalid", 0)


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
