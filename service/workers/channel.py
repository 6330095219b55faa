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


class Channel:
    """One end of a connection between two processes that trust each other: lines of JSON, and empty lines as beats."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._rest = b""
        self.fileno = end.fileno
        self.close = end.close

    def send(self, message: Message) -> None:
        """Send a message, if the other side is there."""
        with contextlib.suppress(OSError):
            self._end.sendall(json.dumps(message).encode() + b"\n")

    def beat(self) -> None:
        """Send a sign of life, unless the other side has not taken the last ones."""
        with contextlib.suppress(OSError):
            self._end.send(_BEAT, socket.MSG_DONTWAIT)

    def receive(self) -> list[Message] | None:
        """Wait for something, and return the messages that are whole: none for a beat, None if the other side ended."""
        try:
            data = self._end.recv(_LONGEST_BYTES)
        except OSError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines if line]


def failure_message(error: ServiceError) -> Message:
    """Return the message that says why a worker does not start. Its kind decides on the exit code of the service."""
    if isinstance(error, AlphaError):  # an alpha that the model does not allow is a fault of the settings
        error = SettingsError(str(error))
    kind = next((kind for kind in (ArtifactError, SettingsError) if isinstance(error, kind)), ServiceError)
    return {"failed": kind.__name__, "reason": str(error)}


def failure_of(message: Message) -> ServiceError:
    """Return the error in a message of `failure_message`."""
    kinds = {kind.__name__: kind for kind in (ArtifactError, SettingsError, ServiceError)}
    return kinds[message["failed"]](message["reason"])
