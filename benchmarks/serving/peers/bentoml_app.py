"""The exported model behind BentoML, as its quick start shows: one worker.

SERVING_MODEL=model.onnx bentoml serve benchmarks.serving.peers.bentoml_app:Detector --port PORT
"""

import os
from pathlib import Path
from typing import Any

import bentoml
import numpy as np

from benchmarks.serving.exported import WHOLE, open_exported


@bentoml.service(workers=1)
class Detector:
    """Scores records that come as a list of objects."""

    def __init__(self) -> None:
        """Load the model in the worker."""
        self.model = open_exported(Path(os.environ["SERVING_MODEL"]), chunk_records=WHOLE)

    @bentoml.api  # type: ignore[untyped-decorator]
    def score(self, records: list[dict[str, float]]) -> dict[str, Any]:
        """Return score and flag of each record."""
        numbers = np.array([[record[column] for column in self.model.columns] for record in records])
        scores = self.model.scores(numbers)
        return {"score": scores.tolist(), "is_anomaly": (scores > self.model.threshold).tolist()}
