"""POST /score, answered ahead of the framework, whose routing and validation would cost as much as the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from vaegis.service.errors import ServiceError
from vaegis.service.http.admission import Ticket
from vaegis.service.http.batches import Batches
from vaegis.service.http.bodies import AnyBody
from vaegis.service.http.call import Call, call_of
from vaegis.service.http.formats import BodyFormat, negotiated
from vaegis.service.http.intake import Intake
from vaegis.service.http.problems import response_to
from vaegis.service.http.score_query import ScoreQuery, parse_query
from vaegis.service.http.scoring import Asked, Scoring
from vaegis.service.records.faults import OnInvalid
from vaegis.service.verdicts import Explain

PATH: Final = "/score"

_HEADERS: Final = [(b"content-type", b"application/json")]


@dataclass(frozen=True, slots=True)
class ScoreEndpoint:
    """Answers POST /score.

    Attributes:
        intake: Lets requests in.
        scoring: Answers their bodies.
        batches: Scores small ones together.
        alpha: Share of normal records that may be flagged, where a request does not say.
        explain: Which results carry contributions, where it does not say.
        inline_bytes: Bodies up to this size, of no more records than a batch may have, are scored on the event loop,
            which takes little longer than handing them to a thread; others on a thread, where they hold nobody up.
        any_body: Answers what is not JSON on both sides, or has faults answered in the place of records.
    """

    intake: Intake
    scoring: Scoring
    batches: Batches
    alpha: float
    explain: Explain
    inline_bytes: int
    any_body: AnyBody

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        ticket = Ticket(self.intake.admission)
        try:
            formats, query = negotiated(scope["headers"]), parse_query(scope["query_string"])
            if formats.body is not BodyFormat.JSON:
                await self.any_body.answer_stream(scope, receive, send, ticket, formats, query)
                return
            if formats.is_plain_json and query.on_invalid is not OnInvalid.REPORT:
                answer, headers = await self._answer(scope, receive, ticket, query), _HEADERS
            else:
                answer, headers = await self.any_body.answer_document(scope, receive, ticket, formats, query)
        except ServiceError as error:
            if ticket.is_abandoned:
                return  # nobody is there to be answered
            await response_to(scope, error)(scope, receive, send)
            return
        finally:
            ticket.close()
        headers = [(b"content-length", b"%d" % len(answer)), *headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, scope: Scope, receive: Receive, ticket: Ticket, query: ScoreQuery) -> bytes:
        call = call_of(scope)
        body = await self.intake.read(scope, receive, ticket)
        if len(body) > self.inline_bytes:
            return await self.intake.on_thread(
                lambda: self._answer_bulk(self._asked(body, call, query, ticket), call, ticket), receive, ticket
            )
        asked = self._asked(body, call, query, ticket)
        if len(asked.columns) > self.batches.size.most_records:  # by column, a record may take two bytes
            return await self.intake.on_thread(lambda: self._answer_bulk(asked, call, ticket), receive, ticket)

        def begin() -> None:
            self.intake.begin(ticket)
            call.charge(len(asked.columns))

        with call.step("infer"):
            results, seconds = await self.batches.judged(asked, begin)
        return self.scoring.answer_to(results, call, alpha=asked.alpha, seconds=seconds)

    def _answer_bulk(self, asked: Asked, call: Call, ticket: Ticket) -> bytes:
        ticket.hold_records(len(asked.columns))
        call.charge(len(asked.columns))
        return self.scoring.answer(asked, call, ticket.check)

    def _asked(self, body: bytes, call: Call, query: ScoreQuery, ticket: Ticket) -> Asked:
        alpha = self.alpha if query.alpha is None else query.alpha
        self.scoring.require_alpha(alpha)
        with call.step("decode"):
            columns = self.scoring.columns(body, ticket.check)
        return Asked(columns, alpha, self.explain if query.explain is None else query.explain)


class Service(FastAPI):
    """The framework's app, but for POST /score, of which the framework only knows the description."""

    def __init__(self, score: ASGIApp, **options: Any) -> None:  # noqa: ANN401 - the framework's
        """Have POST /score answered by ``score``."""
        super().__init__(**options)
        self._score = score

    def surround(self, middleware: Callable[..., ASGIApp], **options: Any) -> None:  # noqa: ANN401 - its own
        """Have every request pass through a middleware, ahead of those so far."""
        self._score = middleware(self._score, **options)
        self.add_middleware(middleware, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST":
            await self._score(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
