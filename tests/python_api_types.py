"""How a user's program calls vaegis, for mypy alone: `make types` checks it strictly."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import vaegis


class Frame:
    """A table of another library."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a capsule."""
        raise NotImplementedError


def scored(path: Path) -> list[dict[str, Any]]:
    """Score records, as dicts and as a frame."""
    model: vaegis.Model = vaegis.load(path, threads=2)
    orders: list[dict[str, float | str | None]] = [{"amount": 1.0, "country": "DE"}, {"amount": None}]
    result: vaegis.ScoreResult = model.score(orders, alpha=0.05, explain="all")
    flagged: NDArray[np.bool_] = model.score(Frame(), on_invalid="report").is_anomaly
    first: float = float(result.score[flagged][0]) - model.threshold
    kinds: list[str] = [model.columns[name] for name in model.columns]
    return [verdict for verdict in result if verdict["score"] > first and kinds]


def trained() -> vaegis.Model:
    """Train on a file and on records."""
    try:
        vaegis.train("orders.parquet", {"fit": {"seed": 1}}, output=Path("orders.onnx"))
    except (vaegis.TrainingError, vaegis.ServiceError) as error:
        raise SystemExit(str(error)) from error
    return vaegis.train([{"amount": 1.0}], verbose=True)


def scored_as_a_stream(model: vaegis.Model, batches: Iterator[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Score record batches."""
    return list(model.score_batches(batches, 0.05, on_invalid="report", verdict_column="verdict"))
