"""The listening socket: its protocol, and what it refuses."""

from __future__ import annotations

import socket

import pytest

from vaegis.service.http.listening import listening_socket


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
