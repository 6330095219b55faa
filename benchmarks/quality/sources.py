"""What a row depends on besides its set and seed: the code, the libraries, the settings and the data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from benchmarks.conditions import ROOT
from vaegis.training.config import TrainConfig

# What only selects, adds up or prints rows is not among them: it may change without a new measurement.
_MEASURING = ("baselines", "figures", "measure", "oddbench", "protocol", "trained")
_LIBRARIES = ("numpy", "onnxruntime", "scikit-learn", "torch")


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that make the figures."""
    return {name: version(name) for name in _LIBRARIES}


def row_key(config: TrainConfig, data: Path) -> str:
    """Return a digest of all that rows depend on; rows of different keys are never put together.

    It covers the sources themselves rather than the commit, so that uncommitted changes count, and a commit that
    changes none of them does not.
    """
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    others = [config.model_dump(mode="json"), library_versions(), str(data.resolve())]
    digest.update(json.dumps(others, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    for package in ("service", "training"):
        yield from sorted((ROOT / package).rglob("*.py"))
    yield from (ROOT / "benchmarks" / "quality" / f"{name}.py" for name in _MEASURING)
