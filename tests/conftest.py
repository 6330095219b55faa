"""What all tests share: the golden model, and tensor shapes checked where the training extra is installed."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

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
def load_script() -> Callable[[Path], ModuleType]:
    """Return the function that makes a module of a script."""

    def load(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def hostile(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    """What writes model files as an attacker would."""
    return load_script(Path(__file__).parent / "attacks" / "hostile_models.py")


@pytest.fixture(scope="session")
def golden_model() -> Path:
    """The committed model of invented orders, of the format version that this code writes."""
    return Path(__file__).parent / "golden" / "orders-v2.onnx"
