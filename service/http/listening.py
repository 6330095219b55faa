"""The socket that a service listens on."""

from __future__ import annotations

import socket
from typing import Final

_BACKLOG: Final = 2048  # connections that wait to be accepted


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the first address that ``host`` names.

    Raises:
        OSError: there is no such address, or it is taken.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # so that :: takes IPv4 as well
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
