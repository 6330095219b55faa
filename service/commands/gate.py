"""`--gate`: ask a running service what it measured of the version in shadow."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, Request, build_opener

import msgspec

from vaegis.service.errors import GateError, SettingsError
from vaegis.service.gate import MEASURES, not_in_shadow, parse_gate, require_conditions

_TIMEOUT_S: Final = 30.0
_MAX_ANSWER_BYTES: Final = 2**20


def add_gate_arguments(parser: ArgumentParser) -> None:
    """Add the gate, and the service that is asked."""
    parser.add_argument(
        "--gate",
        metavar="CONDITIONS",
        help="promote only if what a service measured of the version in shadow fits, as in "
        f"'flagged_ratio<1.5,disagreement<0.02,records>1000'; {', '.join(MEASURES)}",
    )
    parser.add_argument(
        "--url", default="http://127.0.0.1:8080", help="the service that the gate asks (default %(default)s)"
    )
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="file with a key of scope model for it")


def require_gate(args: Namespace, digest: str) -> None:
    """Pass if the gate of ``args`` is none, or holds for the version with ``digest``.

    Raises:
        GateError: the service cannot be asked, has another version in shadow, or a condition does not hold.
        SettingsError: the gate, the address or the key file cannot be read.
    """
    if args.gate is None:
        return
    conditions = parse_gate(args.gate)
    measured = _asked(args)
    if measured.digest != digest:
        raise not_in_shadow(args.name, args.version)
    require_conditions(conditions, measured)


class _Measured(msgspec.Struct, frozen=True):
    """The answer of GET /models/NAME/shadow, as far as a gate needs it."""

    digest: str
    records: int
    dropped: int = 0
    failed: int = 0
    flagged_ratio: float | None = None
    disagreement: float | None = None
    p_value_shift: float | None = None


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect, which could carry the key elsewhere."""

    def redirect_request(self, *_: Any) -> None:  # noqa: ANN401 - of urllib
        return None


def _asked(args: Namespace) -> _Measured:
    """Return the answer of GET /models/NAME/shadow."""
    if not args.url.startswith(("http://", "https://")):
        raise SettingsError(f"--url: expected http:// or https://, got {args.url[:100]!r}")
    url = f"{args.url.rstrip('/')}/models/{quote(args.name, safe='')}/shadow"
    headers = {}
    if args.key_file is not None:
        try:
            headers["Authorization"] = f"Bearer {args.key_file.read_text(encoding='ascii').strip()}"
        except (OSError, ValueError) as error:
            raise SettingsError(f"{args.key_file}: cannot be read: {type(error).__name__}") from error
    try:
        with build_opener(_NoRedirect).open(Request(url, headers=headers), timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return msgspec.json.decode(answer.read(_MAX_ANSWER_BYTES), type=_Measured)
    except HTTPError as error:
        with error:
            content = error.read(_MAX_ANSWER_BYTES)
        raise GateError(f"{url}: answered {error.code}: {_detail(content)}") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise GateError(f"{url}: expected the measures of a shadow, got another document: {error}") from error
    except (URLError, OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise GateError(f"{url}: cannot be asked: {reason}") from error


def _detail(content: bytes) -> str:
    try:
        return str(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "no problem document"
