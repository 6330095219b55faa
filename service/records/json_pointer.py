"""JSON pointers (RFC 6901) to the record in an envelope: their form, and the names in them."""

from __future__ import annotations

import re
from typing import Final

POINTER: Final = r"^(/([^~/]|~[01])+){1,8}$"
"""Up to eight names."""
_NAME: Final = re.compile("/([^/]+)")


def names_of(pointer: str) -> list[str]:
    """Return the names that a pointer follows.

    >>> names_of("/a~1b/c~0d")
    ['a/b', 'c~d']
    """
    return [name.replace("~1", "/").replace("~0", "~") for name in _NAME.findall(pointer)]
