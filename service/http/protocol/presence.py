"""What the protocol tells the app of a request's client beyond ASGI: that it is gone, whatever it sent before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple

from starlette.types import Scope

_EXTENSION: Final = "vaegis.presence"


class Presence(NamedTuple):
    """A client, to an app that has it wait.

    Attributes:
        excused: Returns what a time runs within in which the client is not to blame for sending nothing.
        until_gone: Returns once the client is gone. `receive` tells it only after all parts of the body that came.
    """

    excused: Callable[[], AbstractContextManager[None]]
    until_gone: Callable[[], Coroutine[Any, Any, None]]


def presence_of(scope: Scope) -> Presence:
    """Return what is told of a request's client; from another server than ours, it is nothing."""
    found: Presence | None = scope.get("extensions", {}).get(_EXTENSION)
    return _UNKNOWN if found is None else found


def with_presence(scope: Scope, presence: Presence) -> Scope:
    """Return a scope in which `presence_of` finds ``presence``."""
    return {**scope, "extensions": {_EXTENSION: presence}}


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


_UNKNOWN: Final = Presence(nullcontext, _never)
