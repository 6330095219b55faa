"""Messages between a worker and its parent, over a socket that closes when either of them ends."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any, Final

from vaegis.service.errors import AlphaError, ArtifactError, ServiceError, SettingsError

Message = dict[str, Any]

_BEAT: Final = b"\n"
_LONGEST_BYTES: Final = 2**20
_KINDS: Final[dict[str, type[ServiceError]]] = {
    "artifact": ArtifactError,
    "settings": SettingsError,
    "other": ServiceError,
}


class Channel:
    """One end of a connection between two processes that trust each other: lines of JSON, and empty lines as beats."""

    def __init__(self, end: socket.socket) -> None:
        """Talk over one end of a pair of sockets."""
        self._end = end
        self._rest = b""

    def fileno(self) -> int:
        """Return the descriptor, to wait on or to pass on."""
        return self._end.fileno()

    def tell(self, message: Message) -> None:
        """Send a message, if the other side is there."""
        with contextlib.suppress(OSError):
            self._end.sendall(json.dumps(message).encode() + b"\n")

    def beat(self) -> None:
        """Send a sign of life, unless the other side has not taken the last ones."""
        with contextlib.suppress(OSError):
            self._end.send(_BEAT, socket.MSG_DONTWAIT)

    def hear(self) -> list[Message] | None:
        """Wait for something, and return the messages that are whole: none for a beat, None if the other side ended."""
        try:
            data = self._end.recv(_LONGEST_BYTES)
        except OSError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines if line]

    def close(self) -> None:
        """End the channel."""
        self._end.close()


def told_error(error: ServiceError) -> Message:
    """Return the message that tells a parent why its worker does not start."""
    # An alpha that the model does not allow is a fault of the settings.
    kinds = {"artifact": ArtifactError, "settings": SettingsError | AlphaError}
    kind = next((name for name, types in kinds.items() if isinstance(error, types)), "other")
    return {"failed": kind, "reason": str(error)}


def heard_error(message: Message) -> ServiceError:
    """Return the error that a worker told of."""
    return _KINDS[message["failed"]](message["reason"])
