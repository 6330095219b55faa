"""The golden model, opened, fresh orders of the kind that it was trained on, and a schema of every kind of column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from vaegis.service import protobuf
from vaegis.service.artifact import Artifact, load_artifact
from vaegis.service.columns import Columns
from vaegis.service.contract import (
    BooleanColumn,
    CategoricalColumn,
    IgnoredColumn,
    NumericColumn,
    Schema,
    TimestampColumn,
)

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="session")
def artifact(golden_model: Path) -> Artifact:
    return load_artifact(golden_model)


@pytest.fixture(scope="session")
def new_orders(artifact: Artifact, load_script: Callable[[Path], ModuleType]) -> Callable[[int, int], Columns]:
    """Draw orders with a seed that training did not have, as columns of the golden model's schema."""
    # Here because the server's suite has no use for pyarrow, and this loads it.
    from vaegis.service.files.arrow_columns import columns_from_batch  # noqa: PLC0415

    make_golden = load_script(GOLDEN / "make_golden.py")

    def draw(records: int, seed: int) -> Columns:
        (batch,) = make_golden.orders(records, seed).combine_chunks().to_batches()
        return columns_from_batch(batch, artifact.contract.columns, path=Path("orders"), first_row=1)

    return draw


@pytest.fixture(scope="session")
def field() -> Callable[[int, bytes | int], bytes]:
    """Write one field of a protobuf message: a number as a varint, bytes as a string, message or tensor."""
    return protobuf.field


@pytest.fixture(scope="session")
def schema() -> Schema:
    """Return one with a column of each kind, one of them nested, and one ignored column."""
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
