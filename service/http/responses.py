"""Answers as they are sent: whole, with their length told, so that nobody takes a part of one for all of it."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Send


async def send_answer(send: Send, parts: Iterable[bytes], length: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Send an answer of status 200: ``length`` bytes in ``parts``."""
    headers = [(b"content-length", b"%d" % length), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for part in parts:
        length -= len(part)
        await send({"type": "http.response.body", "body": part, "more_body": length > 0})
