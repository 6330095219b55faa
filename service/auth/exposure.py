"""Where it is refused to start: on an address that others can reach, with neither keys nor the word that it is open."""

from __future__ import annotations

from ipaddress import ip_address

from vaegis.service.errors import SettingsError


def require_keys_or_open(address: str, *, has_keys: bool, is_open: bool) -> None:
    """Pass if everyone who can reach ``address`` is asked for a key, or may call without one.

    Args:
        address: IP address that is listened on. Not a name for it, which may stand for another at the next look.
        has_keys: Whether keys are set.
        is_open: Whether everyone may call.

    Raises:
        SettingsError: neither, on an address that is not this machine's own; or both.
    """
    if has_keys and is_open:
        raise SettingsError("open: not allowed when keys are set; choose one of the two")
    if has_keys or is_open or ip_address(address).is_loopback:
        return
    raise SettingsError(
        f"host: other machines can reach {address}, and no keys are set. Set keys with --keys-file FILE "
        "(VAEGIS_KEYS_FILE), after `vaegis key NAME >> FILE`, or let everyone call with --open (VAEGIS_OPEN=true)"
    )
