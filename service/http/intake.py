"""Letting in requests with a body: is there a model, is there room, what is declared, and then the body itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

from starlette.types import Receive, Scope

from vaegis.service.errors import ServiceError
from vaegis.service.http.admission import Admission, Ticket
from vaegis.service.http.body import read_body
from vaegis.service.http.formats import require_json
from vaegis.service.http.metrics import Metrics
from vaegis.service.http.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Intake:
    """Lets requests in and reads their bodies."""

    readiness: Readiness
    admission: Admission
    metrics: Metrics
    max_body_bytes: int

    async def read(self, scope: Scope, receive: Receive, ticket: Ticket) -> bytes:
        """Return the body of a request, or raise why the request is not let in."""
        self.readiness.require_model()
        self.admission.require_room()
        body = await read_body(
            scope["headers"],
            receive,
            max_bytes=self.max_body_bytes,
            hold=ticket.hold_bytes,
        )
        ticket.enter()
        return body

    def begin(self, ticket: Ticket) -> None:
        """Note that the work on a request begins, if its answer is still worth it; on any thread.

        Raises:
            DeadlineError: it is not.
        """
        self.metrics.queue_seconds.observe(ticket.waited_s())
        ticket.check()

    async def on_thread(self, work: Callable[[], bytes], receive: Receive, ticket: Ticket) -> bytes:
        """Return what blocking ``work`` gives.

        It is not waited for once the client is gone or the time is up; then `Ticket.check` fails, which ends it.

        Raises:
            DeadlineError: the time is up.
        """

        def begun() -> bytes:
            self.begin(ticket)
            return work()

        watch = asyncio.ensure_future(_abandon_when_gone(receive, ticket))
        try:
            async with asyncio.timeout(self.admission.timeout_s):
                return await self.admission.run(begun)
        except TimeoutError:
            raise ticket.late() from None
        finally:
            watch.cancel()

    async def answer(self, scope: Scope, receive: Receive, work: Callable[[bytes, Callable[[], None]], bytes]) -> bytes:
        """Return what blocking ``work`` makes of a JSON body; it is given `Ticket.check`, to call between parts."""
        with closing(Ticket(self.admission)) as ticket:
            require_json(scope["headers"])
            body = await self.read(scope, receive, ticket)
            return await self.on_thread(lambda: work(body, ticket.check), receive, ticket)


async def _abandon_when_gone(receive: Receive, ticket: Ticket) -> None:
    with suppress(ServiceError):  # what a server may raise to say that the connection cannot be used further
        while (await receive())["type"] != "http.disconnect":
            pass
    ticket.is_abandoned = True
