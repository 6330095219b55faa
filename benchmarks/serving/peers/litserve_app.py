"""The exported model behind LitServe, as its quick start shows: one API process, one worker.

SERVING_MODEL=model.onnx python -m benchmarks.serving.peers.litserve_app PORT
"""

import os
import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.exported import WHOLE, open_exported


class Detector(litserve.LitAPI):  # type: ignore[misc]
    """Scores records that come as a list of objects."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's own signature
        """Load the model in the worker."""
        self.model = open_exported(Path(os.environ["SERVING_MODEL"]), chunk_records=WHOLE)

    def decode_request(self, request: dict[str, Any]) -> NDArray[np.float64]:
        """Return the numbers of a request, shape (n, D)."""
        return np.array([[record[column] for column in self.model.columns] for record in request["records"]])

    def predict(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return their scores, shape (n,)."""
        return self.model.scores(numbers)

    def encode_response(self, scores: NDArray[np.float64]) -> dict[str, Any]:
        """Return the answer."""
        return {"score": scores.tolist(), "is_anomaly": (scores > self.model.threshold).tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Detector(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
