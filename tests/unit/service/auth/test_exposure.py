"""On an address that others can reach, the service asks for keys, or was told not to."""

from __future__ import annotations

import pytest

from vaegis.service.auth.exposure import require_keys_or_open
from vaegis.service.errors import SettingsError


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_on_this_machine_s_own_address_nothing_is_needed(address):
    require_keys_or_open(address, has_keys=False, is_open=False)


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "::", "10.0.0.1", "192.168.1.1", "fe80::1", "fe80::1%2", "2001:db8::1", "128.0.0.1"]
)
def test_on_any_other_keys_or_openness_are(address):
    with pytest.raises(SettingsError, match=r"--keys-file FILE .* --open"):
        require_keys_or_open(address, has_keys=False, is_open=False)
    require_keys_or_open(address, has_keys=True, is_open=False)
    require_keys_or_open(address, has_keys=False, is_open=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_keys_and_openness_are_a_contradiction(address):
    with pytest.raises(SettingsError, match="not allowed when keys are set"):
        require_keys_or_open(address, has_keys=True, is_open=True)
