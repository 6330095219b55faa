"""Advise on columns of numbers whose names say that they are codes, such as postcodes and customer numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from vaegis.training.config import TrainConfig
from vaegis.training.data.kind_messages import setting_line
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.name_words import names_codes
from vaegis.training.data.sampling import Sample

_FEWEST_DISTINCT: Final = 3


def with_code_advice(plans: tuple[ColumnPlan, ...], sample: Sample, config: TrainConfig) -> tuple[ColumnPlan, ...]:
    """Return the plans with the kind to set for each quantity that is rather a code by its name and its values."""
    return tuple(plan if plan.name in config.columns else _advised(plan, sample, config) for plan in plans)


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
