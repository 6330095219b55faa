"""Suggest to split whole groups of records, such as customers, where a column seems to name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from vaegis.service.records.column_names import quoted
from vaegis.training.config import TIME_KIND, TrainConfig
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.name_words import COUNTER_WORDS, ENTITY_WORDS, ID_WORDS, words_of
from vaegis.training.data.sampling import Sample

_FEWEST_GROUPS: Final = 20
_FEWEST_RECORDS: Final = 5
"""Mean number of records of a value, from which the values are taken for groups of records."""
_WORDS: Final = ID_WORDS - COUNTER_WORDS - {"rowid"} | ENTITY_WORDS | {"member", "person", "sensor"}


def group_column_hint(plans: Sequence[ColumnPlan], sample: Sample, config: TrainConfig) -> str | None:
    """Return the advice to split whole groups, if the name of a column is one of identifiers, which repeat.

    Args:
        plans: The plan of each column.
        sample: The records.
        config: The settings.
    """
    ignored = {name for name, column in config.columns.items() if column.kind == "ignore"}
    if config.splits.group_column is not None or config.data.time_column is not None:
        return None
    for plan in plans:
        if not _is_identifier(plan.name) or plan.name in ignored or plan.kind in (TIME_KIND, "boolean"):
            continue
        groups = sample.groups(plan.name)
        groups = groups[groups >= 0]
        count = np.unique(groups).size
        if count >= _FEWEST_GROUPS and groups.size >= _FEWEST_RECORDS * count:
            return (
                f"{plan.name} has about {groups.size / count:.0f} records per value. Records with a {plan.name} that "
                "training did not see are flagged more often than promised. If new ones will come, set "
                f"splits.group_column = {quoted(plan.name)} in train.toml"
            )
    return None


def _is_identifier(name: str) -> bool:
    """Return whether a column names records by its own name: ``device.id`` and ``device``, not ``device_version``.

    ``sensor_1`` beside ``sensor_2`` is a reading, and names no sensor.
    """
    words = words_of(name.rpartition(".")[2])
    return bool(words) and (words[-1] in _WORDS or words[0] == "id") and not name[-1].isdigit()
