from __future__ import annotations

import pytest

from vaegis.service.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amount", "amount"),
        ("caf\u00e9 \u4e2d", "caf\u00e9 \u4e2d"),
        ("a\x1b[2J\nb\tc\r", "a\\x1b[2J\\nb\\tc\\r"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("\u202eabc\u2028", "\\u202eabc\\u2028"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(text, shown):
    assert printable(text) == shown
