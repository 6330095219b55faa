"""The socket that a service listens on."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Final

_BACKLOG: Final = 2048  # connections that wait to be accepted


def unix_socket(path: Path) -> socket.socket:
    """Return a socket that listens at a path, which an earlier process may have left there.

    Raises:
        OSError: there is something else at that path, another process listens there, or no socket can be made.
    """
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            if client.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, "another process listens here")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


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
