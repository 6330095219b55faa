"""Where a connection is between two requests."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """What a connection waits for."""

    IDLE = "a request"
    HEAD = "the end of a request's headers"
    BODY = "the end of a request's body"
    ANSWER = "the end of an answer"
    LINGER = "the client to close, after an answer that came before the end of its request"
    CLOSED = "nothing"
