"""The exported model behind MLServer, as a custom runtime: the Open Inference Protocol V2, one tensor of numbers.

SERVING_MODEL=model.onnx mlserver start FOLDER      (FOLDER holds settings.json and model-settings.json)
"""

import os
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving.exported import WHOLE, open_exported


class Detector(MLModel):  # type: ignore[misc]
    """Scores the rows of the one input."""

    async def load(self) -> bool:
        """Load the model."""
        self.exported = open_exported(Path(os.environ["SERVING_MODEL"]), chunk_records=WHOLE)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return score and flag of each row."""
        scores = self.exported.scores(NumpyCodec.decode_input(payload.inputs[0]))
        flags = scores > self.exported.threshold
        outputs = [NumpyCodec.encode_output("score", scores), NumpyCodec.encode_output("is_anomaly", flags)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
