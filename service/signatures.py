"""The signature of an anomaly: a short key to group, alert and filter by, the same for anomalies of one cause.

`amount:above_range+country:unseen_category` names the checks that the record breaks. A record that breaks none has the
columns that lead, each with its reason. `docs/adr/0032` says why, with figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vaegis.service.reasons import Reason

LEADING_SHARE: Final = 0.5
"""A term leads when it is at least this share of the largest. Smaller ones vary among records with the same fault."""

_MOST_PARTS: Final = 2
_MORE: Final = "more"  # stands for all parts but the first


def signature(broken: Sequence[tuple[str, str]], leading: Sequence[tuple[str, str]], *, latent_leads: bool) -> str:
    """Return the signature of an anomaly.

    Args:
        broken: The columns that break a check, the largest contribution first, each with its check.
        leading: The columns that lead, in the same order, each with its reason.
        latent_leads: Whether the latent term leads.

    >>> signature([], [("price", "rare_value"), ("area", "rare_combination")], latent_leads=False)
    'area:rare_combination+price:rare_value'
    >>> signature([], [("price", "rare_value"), ("area", "rare_combination")], latent_leads=True)
    'price:rare_value+more'
    >>> signature([("state", "unseen_category")], [("price", "rare_value")], latent_leads=True)
    'state:unseen_category'
    """
    parts = [f"{column}:{why}" for column, why in broken or leading]
    if not parts or (latent_leads and not broken):
        parts.append(Reason.FAR_FROM_KNOWN)
    return "+".join(sorted(parts) if len(parts) <= _MOST_PARTS else (parts[0], _MORE))
