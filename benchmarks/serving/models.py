"""The models that are served, trained once and kept, and the records they are asked about."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.conditions import COMMANDS, ROOT, is_current

KEPT: Final = ROOT / "build" / "serving"
"""Where models and request bodies are kept between runs."""

COLUMNS: Final = tuple(f"sensor_{i:02}" for i in range(30))
TRAINING_RECORDS: Final = 20_000

SETTINGS: Final = {
    "default": "",
    # A graph about as cheap as they come, which leaves more of the time to the server.
    "light": "[model]\nlatent_dim = 8\nhidden = 64\n\n[fit]\ndraws = 2\nexemplars = 32\n",
}
"""Training settings of each model, by name."""

_FACTORS: Final = 6
_NOISE: Final = 0.3
_DIGITS: Final = 4  # after the point, as sensors and databases write numbers


def trained(name: str, folder: Path = KEPT) -> Path:
    """Return the model of this name, trained on 20,000 records if it is missing or older than the code that trains."""
    path = folder / f"{name}.onnx"
    if not is_current(path):
        folder.mkdir(parents=True, exist_ok=True)
        data, settings = folder / "records.parquet", folder / f"{name}.toml"
        pq.write_table(pa.table(dict(zip(COLUMNS, records(TRAINING_RECORDS, seed=0).T, strict=True))), data)
        settings.write_text(SETTINGS[name], encoding="utf-8")
        subprocess.run([COMMANDS / "vaegis-train", data, "-o", path, "--config", settings], check=True)
    return path


def records(n: int, *, seed: int) -> NDArray[np.float64]:
    """Return records of 30 columns that depend on each other, shape (n, 30).

    Args:
        n: How many.
        seed: Draws the records; the columns' dependence is always the same.
    """
    columns = np.random.default_rng(0)
    loadings = columns.normal(size=(_FACTORS, len(COLUMNS)))
    scale, shift = columns.uniform(0.5, 50, len(COLUMNS)), columns.uniform(-100, 100, len(COLUMNS))
    draws = np.random.default_rng((seed, 1))
    factors, noise = draws.normal(size=(n, _FACTORS)), draws.normal(size=(n, len(COLUMNS)))
    return np.round((np.tanh(factors) @ loadings + _NOISE * noise) * scale + shift, _DIGITS)
