"""Where it is refused to start: on an address that others can reach, with neither keys nor the word that it is open."""

from __future__ import annotations

import ipaddress
import socket

from service.errors import SettingsError


def require_keys_or_open(host: str, *, has_keys: bool, is_open: bool) -> None:
    """Pass if everyone who can reach ``host`` is asked for a key, or may call without one.

    Args:
        host: Address to listen on, or a name for it.
        has_keys: Whether keys are set.
        is_open: Whether everyone may call.

    Raises:
        SettingsError: neither, on an address that is not this machine's own; or both.
    """
    if has_keys and is_open:
        raise SettingsError("open: expected it without keys, got both: with keys set, nobody calls without one")
    if has_keys or is_open or _is_loopback(host):
        return
    raise SettingsError(
        f"host: expected keys on {host}, which others can reach, got none. Either have them asked for a key, with "
        "--keys-file FILE (VAEGIS_KEYS_FILE) and `vaegis key NAME >> FILE`; or let everyone call, with --open "
        "(VAEGIS_OPEN=true)"
    )


def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address that listening on ``host`` would take."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return True  # it cannot be listened on, which is said elsewhere
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)
