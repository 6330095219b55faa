"""The exported model without the service: its graph in a plain onnxruntime session of one thread, and its threshold."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

WHOLE = 2**31
"""A chunk that holds every batch."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A model of number columns alone.

    Attributes:
        session: Runs the graph.
        columns: Names, in the order of its input.
        threshold: A record with a greater score is an anomaly.
        chunk_records: Most records of one run of the graph.
    """

    session: Any
    columns: tuple[str, ...]
    threshold: float
    chunk_records: int

    def scores(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the score of each row of ``numbers``, shape (n, D)."""
        if len(numbers) <= self.chunk_records:
            (scores,) = self.session.run(["score"], {"numbers": numbers})
            return scores
        chunks = (numbers[i : i + self.chunk_records] for i in range(0, len(numbers), self.chunk_records))
        return np.concatenate([self.session.run(["score"], {"numbers": chunk})[0] for chunk in chunks])


def open_exported(path: Path, *, chunk_records: int) -> Exported:
    """Load a model file."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    schema, calibration = (json.loads(metadata[f"vaegis.{key}"]) for key in ("schema", "calibration"))
    (scores,) = calibration["folds"]  # ascending; one fold where there are records enough
    rank = int((len(scores) + 1) * calibration["alpha"])
    return Exported(
        session=session,
        columns=tuple(column["name"] for column in schema["columns"]),
        threshold=scores[-rank],
        chunk_records=chunk_records,
    )
