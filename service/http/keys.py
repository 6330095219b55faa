"""Who may call: a bearer key (RFC 6750) that allows the route, where keys are set."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from vaegis.service.auth.keys import Access, Key, KeyStore
from vaegis.service.auth.rate_limits import RateLimits
from vaegis.service.errors import ServiceError
from vaegis.service.http.access import SCORING
from vaegis.service.http.call import Call, call_of
from vaegis.service.http.errors import KeyRequiredError, MissingScopeError, UnknownKeyError
from vaegis.service.http.metrics import OTHER
from vaegis.service.http.problems import answer_http_exception, answer_service_error

_SCHEME: Final = b"bearer "
_MAX_KEY_BYTES: Final = 256


class KeyCheck:
    """ASGI middleware, within `Instrumentation`: lets a request through if its route exists and its key allows it."""

    def __init__(self, app: ASGIApp, key_store: KeyStore | None, rate_limits: RateLimits) -> None:
        """Wrap ``app``; without a ``key_store`` everyone may call."""
        self._app = app
        self._key_store = key_store
        self._rate_limits = rate_limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered."""
        if scope["type"] == "http":
            call = call_of(scope)
            try:
                self._admit(call, scope["headers"])
            except ServiceError as error:
                refusal = await answer_service_error(Request(scope, receive), error)
                await refusal(scope, receive, send)
                return
            if call.route.template == OTHER:
                # Not left to the framework, whose patterns also match a path with a line end after it: the route would
                # be reached without its scope and its rate.
                unknown = await answer_http_exception(Request(scope, receive), HTTPException(404))
                await unknown(scope, receive, send)
                return
            try:
                await self._app(scope, receive, send)
            finally:
                call.settle()
        else:
            await self._app(scope, receive, send)

    def _admit(self, call: Call, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Note who calls. A caller with no room for one record is refused before its records are read.

        Raises:
            KeyRequiredError: a key is needed, and there is none.
            UnknownKeyError: there is one that is not valid.
            MissingScopeError: there is one that does not allow the route.
            RateLimitedError: the caller has no room for a record.
        """
        needs = call.route.needs
        if not needs:
            return
        key = None
        if self._key_store is not None:
            key = self._key_store.find(_presented(headers))
            if key is None:
                raise UnknownKeyError
            call.key = key.name
            _require_scope(key, needs)
            call.recheck_key = partial(self._recheck, key.digest, needs)
        if needs == SCORING:
            call.rate_limit = self._rate_limits.limit_of(key)
            call.require_room()

    def _recheck(self, digest: bytes, needs: frozenset[Access]) -> None:
        key = None if self._key_store is None else self._key_store.find_digest(digest)
        if key is None:
            raise UnknownKeyError
        _require_scope(key, needs)


def _require_scope(key: Key, needs: frozenset[Access]) -> None:
    if key.scopes.isdisjoint(needs):
        raise MissingScopeError(sorted(needs))


def _presented(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    values = [value for name, value in headers if name == b"authorization"]
    if not values or values[0][: len(_SCHEME)].lower() != _SCHEME:
        raise KeyRequiredError
    key = values[0][len(_SCHEME) :].strip(b" ")
    if len(values) > 1 or len(key) > _MAX_KEY_BYTES:
        raise UnknownKeyError
    return key
