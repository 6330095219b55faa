"""A schema with one column of each kind, one of them nested, and one column set aside."""

from __future__ import annotations

import pytest

from vaegis.service.contract import (
    BooleanColumn,
    CategoricalColumn,
    IgnoredColumn,
    NumericColumn,
    Schema,
    TimestampColumn,
)


@pytest.fixture(scope="session")
def schema() -> Schema:
    amount = NumericColumn(
        name="amount",
        missing_share=0.0,
        minimum=0.0,
        maximum=1.0,
        quantiles=(0.0,) * 7,
        step=0.0,
        noise_scale=1.0,
        degrees_of_freedom=4.0,
    )
    return Schema(
        columns=(
            amount,
            CategoricalColumn(name="shop.country", missing_share=0.0, categories=("DE",), shares=(1.0,)),
            BooleanColumn(name="express", missing_share=0.0, true_share=0.5),
            TimestampColumn(name="placed_at", missing_share=0.0, earliest=0.0, latest=1.0),
        ),
        ignored=(IgnoredColumn(name="shop.id", reason="an identifier"),),
    )
