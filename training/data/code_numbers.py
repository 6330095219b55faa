"""Advise on columns of numbers whose names say that they are codes, such as postcodes and customer numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from vaegis.training.config import TrainConfig
from vaegis.training.data.kind_messages import setting_line
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.name_words import COUNTER_WORDS, ENTITY_WORDS, ID_WORDS, NUMBER_WORDS, words_of
from vaegis.training.data.sampling import Sample

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
_FEWEST_DISTINCT: Final = 3


def with_code_advice(plans: tuple[ColumnPlan, ...], sample: Sample, config: TrainConfig) -> tuple[ColumnPlan, ...]:
    """Return the plans with the kind to set for each quantity that is rather a code by its name and its values."""
    return tuple(plan if plan.name in config.columns else _advised(plan, sample, config) for plan in plans)


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


def _advised(plan: ColumnPlan, sample: Sample, config: TrainConfig) -> ColumnPlan:
    if plan.kind != "numeric" or plan.reading is not None or plan.leaves_range or not names_codes(plan.name):
        return plan
    values = sample.numbers(plan.name, plan.kind, plan.reading)
    distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    if distinct.size < _FEWEST_DISTINCT or distinct[0] < 0 or (distinct != np.floor(distinct)).any():
        return plan
    kept = np.sort(counts[counts > 1])[::-1][: config.kinds.max_categories]
    kind = "categorical" if kept.sum() >= config.kinds.min_category_share * counts.sum() else "text"
    advice = (
        "learned as quantities, so that 7 is near 8. If they are codes, as the name suggests, set "
        f"{setting_line(plan.name, kind)}"
    )
    return replace(plan, warnings=(*plan.warnings, advice))
