"""Words in the names of columns, and what they say of the values."""

from __future__ import annotations

import re
from typing import Final

ID_WORDS: Final = frozenset(
    ("id", "ids", "key", "pk", "seq", "sequence", "serial", "rowid", "row", "index", "idx", "uid")
)
COUNTER_WORDS: Final = frozenset(("seq", "sequence", "row", "index", "idx"))
"""Those of them that number records rather than things."""
NUMBER_WORDS: Final = frozenset(
    (
        *("no", "nr", "num", "number", "phone", "telephone", "tel", "mobile", "fax", "card", "account", "iban"),
        *("ean", "gtin", "upc", "isbn", "barcode", "sku", "imei", "ssn", "vin"),
    )
)
"""Last words of names of identifiers that may be written with digits alone."""
ENTITY_WORDS: Final = frozenset(
    ("account", "client", "customer", "device", "host", "machine", "patient", "subject", "user", "vehicle")
)
"""What identifiers identify."""
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a column's name, in order.

    >>> words_of("orderID"), words_of("order_id")
    (('order', 'id'), ('order', 'id'))
    """
    return tuple(word.lower() for word in _WORD.findall(name))


def names_identifiers(words: tuple[str, ...]) -> bool:
    """Tell whether the words of a name say that the values identify records or things."""
    return bool(ID_WORDS.intersection(words) or NUMBER_WORDS.intersection(words[-1:]))
