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
_CODES_OF_SOMETHING: Final = frozenset(("no", "num", "number", "ref"))
"""Last words of names of codes where another word comes before: NO alone is nitric oxide."""
_COUNTED: Final = frozenset(
    ("year", "quarter", "month", "week", "day", "hour", "date", "page", "line", "floor", "round", "step", "size")
)
"""Words that say before these that numbers count or measure, as in ``week_no``."""
_ENTITIES: Final = ENTITY_WORDS | {
    *("store", "shop", "branch", "department", "dept", "product", "article", "item", "material", "supplier", "vendor"),
    *("driver", "employee", "agent", "merchant", "terminal", "warehouse", "station", "site", "county", "country"),
    *("city", "team", "company", "agency", "school", "hospital", "route", "campaign", "card", "mobile", "kunde"),
    *("artikel", "filiale", "lieferant", "lager", "cliente", "produit", "producto", "prodotto", "magasin", "tienda"),
    *("fournisseur", "konto"),
}
"""Things that have numbers."""
_CODES: Final = (ID_WORDS | NUMBER_WORDS) - COUNTER_WORDS - _CODES_OF_SOMETHING - _ENTITIES | {
    *("code", "uuid", "guid", "fk", "nummer", "numero", "zip", "plz", "postcode", "postal", "postleitzahl", "cep"),
    *("telefon", "issn", "imsi", "npi", "duns", "fips", "naics", "icd", "mcc", "asn", "port", "vlan", "pid"),
    *("type", "typ", "category", "kategorie", "status", "state", "gender", "sex", "race", "region", "district"),
}
"""Last words of names of codes."""
_ALSO_QUANTITIES: Final = frozenset(("item", "material", "school", "hospital", "terminal", "card", "mobile", "city"))
"""Things that may be quantities where no other word tells, such as years at school and miles within a city."""
_COUNTING: Final = frozenset(("n", "nb", "num", "no", "number", "count", "total", "sum", "mean", "avg", "max", "min"))
"""First words of names of quantities, as in ``num_id``."""
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


def names_codes(name: str) -> bool:
    """Tell whether a column's name is that of codes that are written in digits.

    >>> [names_codes(name) for name in ("zip_code", "customerId", "Kundennummer", "customer", "phone")]
    [True, True, True, True, True]
    >>> [names_codes(name) for name in ("num_customers", "zip_population", "code_length", "paid", "NO", "MPG.city")]
    [False, False, False, False, False, False]
    """
    words = words_of(name.rpartition(".")[2])
    if not words or {"of", "per"}.intersection(words) or (len(words) > 1 and words[0] in _COUNTING):
        return False
    first, last = words[0], words[-1]
    if last in _CODES or last.endswith(("code", "nummer")):
        return True
    if len(words) > 1 and (first == "id" or (last in _CODES_OF_SOMETHING and words[-2] not in _COUNTED)):
        return True
    stem = last.removesuffix("id").removesuffix("nr")
    # A number after the name, as in item_07, says rather that such columns hold quantities of a kind.
    is_alone = len(words) == 1 and last not in _ALSO_QUANTITIES and not name[-1].isdigit()
    return stem in _ENTITIES and (stem != last or is_alone or first in ("code", "codigo", "codice", "numero"))
