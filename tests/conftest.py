"""What all tests share: the golden model, and tensor shapes checked where the training extra is installed."""

import importlib.util
import os
from pathlib import Path

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

HAS_TRAINING = importlib.util.find_spec("torch") is not None
# The service's suite runs without torch as well; there, nothing of training can be collected.
collect_ignore_glob = [] if HAS_TRAINING else ["unit/training/*", "integration/training/*"]

if HAS_TRAINING:
    from jaxtyping import install_import_hook

    # Shapes in signatures are checked in tests only: they cost time, and a wrong one is our mistake, not a user's.
    install_import_hook("vaegis.training", "beartype.beartype")


@pytest.fixture(scope="session")
def golden_model() -> Path:
    """The committed model of invented orders, of format version 1."""
    return Path(__file__).parent / "golden" / "orders-v1.onnx"
