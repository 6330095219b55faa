"""Refusal of requests that web pages of other sites make a browser send: across sites, or by DNS rebinding.

Without keys, every page that is open in a browser on this machine could otherwise call the service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from starlette.types import Scope

from vaegis.service.errors import SettingsError
from vaegis.service.http.errors import CrossSiteError, MediaTypeError, UnknownHostError
from vaegis.service.http.negotiation import EVENT_ID, HEADER_LENGTH
from vaegis.service.http.request_context import CONTEXT, RequestContext
from vaegis.service.http.routes import SCORING

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(?::[0-9]*)?")
_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?)(:[1-9][0-9]{0,4})?")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
_SAME: Final = (b"same-origin", b"none")
_READING: Final = ("GET", "HEAD")
_LONGEST_HOST: Final = 300  # a name of DNS has at most 253 characters
_OF_PROGRAMS: Final = (HEADER_LENGTH, EVENT_ID)
"""Headers that a browser sends across sites only after a preflight request, which is refused. Clients that send them,
Triton's and old SDKs of CloudEvents, declare no Content-Type."""
_LOOKED_AT: Final = frozenset(
    {b"host", b"content-type", b"origin", b"sec-fetch-site", b"sec-fetch-mode", *_OF_PROGRAMS}
)


def parse_hosts(text: str, source: str) -> frozenset[str]:
    """Return the host names and addresses of a list with commas.

    >>> sorted(parse_hosts("scores.example, ::1", "here"))
    ['::1', 'scores.example']

    Raises:
        SettingsError: one is neither a name nor an address, or has a port or a scheme.
    """
    hosts = [part.strip().lower().rstrip(".") for part in text.split(",")]
    for host in hosts:
        if not (_is_address(host) or all(map(_LABEL.fullmatch, host.split(".")))):
            raise SettingsError(f"{source}: expected host names and addresses with commas between, got {host!r}")
    return frozenset(hosts)


def parse_origins(text: str, source: str) -> frozenset[bytes]:
    """Return the origins of a list with commas, as browsers write them.

    >>> sorted(parse_origins("https://App.example, http://localhost:3000", "here"))
    [b'http://localhost:3000', b'https://app.example']

    Raises:
        SettingsError: one has no scheme, or more than a scheme, a host and a port.
    """
    origins = [part.strip().lower() for part in text.split(",")]
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"{source}: expected origins such as https://app.example with commas between, got {origin!r}"
            )
    return frozenset(origin.encode() for origin in origins)


class CrossSiteCheck:
    """Refuses requests that a page of another site makes a browser send.

    Routes that need no key are exempt: probes reveal nothing, and orchestrators call them by any address.
    """

    def __init__(
        self, hosts: frozenset[str] | None, *, has_keys: bool, origins: frozenset[bytes] = frozenset()
    ) -> None:
        """Let the service be called by ``hosts`` and this machine's own names, or by any if None.

        If callers are asked for a key, only these names matter: a page of another site has none, and a browser does not
        attach one by itself. Pages of ``origins`` may call.
        """
        self._hosts = hosts
        self._has_keys = has_keys
        self._origins = origins
        self._is_known = lru_cache(64)(self._is_host_known)

    def __call__(self, scope: Scope) -> None:
        """Pass if no page of another site can have made a browser send this.

        Raises:
            UnknownHostError: it was sent to a name that is not the service's.
            CrossSiteError: it comes from another site, or says twice where it comes from.
            MediaTypeError: it has no Content-Type, a blank one or two; a browser may send such a request across sites
                without asking.
        """
        context: RequestContext = scope[CONTEXT]
        needs = context.route.scopes
        if needs:
            self._require_own(scope["method"], scope["headers"], scores=needs == SCORING)

    def _require_own(self, method: str, headers: Sequence[tuple[bytes, bytes]], *, scores: bool) -> None:
        found: dict[bytes, bytes] = {}
        repeated = None
        for name, value in headers:
            if name in _LOOKED_AT:
                repeated = name if name in found else repeated
                found[name] = value
        host = found.get(b"host")
        if host is not None and not self._is_known(host):
            raise UnknownHostError
        if self._has_keys:
            return
        if repeated is not None:  # no browser does, and what reads them before the service may believe the other one
            if repeated == b"content-type":
                raise MediaTypeError("Content-Type: expected one, got several")
            raise CrossSiteError
        # A link to a page of the service is followed: whoever follows it sees the answer, the other site does not.
        is_followed = method in _READING and found.get(b"sec-fetch-mode") == b"navigate"
        if not is_followed and self._is_foreign(found):
            raise CrossSiteError
        media_type = found.get(b"content-type", b"").partition(b";")[0].strip()
        if scores and method == "POST" and not media_type and not any(name in found for name in _OF_PROGRAMS):
            raise MediaTypeError("Content-Type: expected one, such as application/json, got none; curl's -H sets it")

    def _is_foreign(self, found: Mapping[bytes, bytes]) -> bool:
        """Whether a request comes from a page of another origin. Scripts can forge neither header."""
        if found.get(b"origin") in self._origins:
            return False
        site = found.get(b"sec-fetch-site")
        if site is not None:  # a proxy before the service may have put another Host
            return site not in _SAME
        origin = found.get(b"origin")
        if origin is None:  # no browser, or one that would name another site
            return False
        authority = origin.partition(b"://")[2]
        if authority == found.get(b"host"):
            return False
        host = _host_of(authority)
        return _is_loopback(host) or host not in (self._hosts or ())

    def _is_host_known(self, value: bytes) -> bool:
        if self._hosts is None:
            return True
        host = _host_of(value)
        return host in self._hosts or _is_loopback(host)


def _host_of(authority: bytes) -> str:
    """Return a host without its port, in lower case; blank if it is none."""
    text = authority[:_LONGEST_HOST].decode("latin-1").lower()
    match = _HOST.fullmatch(text)
    return "" if match is None else match[1].strip("[]")


def _is_loopback(host: str) -> bool:
    """Return whether a host is this machine, where another port is another program, and its pages another site's."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
