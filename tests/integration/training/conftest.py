"""Tiny models, trained once per run by the command itself."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from vaegis.training import cli

# The tensors here are tiny: threads gain nothing, and on a busy machine their waiting for each other costs minutes.
torch.set_num_threads(1)

SETTINGS = """
[model]
hidden = 16
latent_dim = 3
[fit]
steps = 150
exemplars = 64
draws = 4
[calibration]
alpha = 0.05
"""
SPLIT = """
[splits]
method = "split"
calibration_share = 0.25
"""


@dataclass(frozen=True)
class Trained:
    """A run of `vaegis-train` that went well."""

    data: Path
    settings: Path
    model: Path
    left_out: Path
    report: Path
    output: str


def readings(records: int, seed: int) -> pa.Table:
    """Return readings of a machine, with a column that says nothing and one that is never filled."""
    rng = np.random.default_rng(seed)
    load = rng.uniform(0.0, 1.0, records)
    temperature = np.round(20 + 60 * load + rng.normal(size=records), 1)
    return pa.table(
        {
            "reading_id": [f"reading-{i:06}" for i in range(records)],
            "temperature": pa.array(temperature, mask=rng.random(records) < 0.1),
            "pressure": 1.0 + load + 0.05 * rng.normal(size=records),
            "running": load > 0.2,
            "mode": np.where(load > 0.7, "full", "partial"),
            "taken_at": pa.array(1_704_067_200 + 600 * np.arange(records), pa.timestamp("s", "UTC")),
            "floor": [2] * records,
            "comment": pa.nulls(records, pa.string()),
        }
    )


def run(*arguments: object) -> tuple[int, str]:
    """Run `vaegis-train` and return its exit code and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = cli.main([str(argument) for argument in arguments])
    return code, printed.getvalue()


@pytest.fixture(scope="session")
def unmeasured(unmeasured: dict[str, str]) -> dict[str, str]:
    """Return the environment for a process without coverage and with one thread, as in this process."""
    return unmeasured | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def train_by_default(unmeasured: dict[str, str]) -> Callable[[Path, Path], None]:
    """Train with the default settings, as a process: coverage and checks of shapes would take most of its time."""

    def train(data: Path, model: Path) -> None:
        command = [sys.executable, "-m", "vaegis.training.cli", str(data), "-o", str(model)]
        subprocess.run(command, env=unmeasured, check=True)

    return train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The model of 600 readings, of which 150 calibrate, with seed 5."""
    return trained_on(600, SETTINGS + SPLIT, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def trained_on_few(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The model of 120 readings, too few to be split, with seed 5."""
    return trained_on(120, SETTINGS, tmp_path_factory.mktemp("trained_on_few"))


def trained_on(records: int, toml: str, folder: Path) -> Trained:
    """Train with the command itself."""
    data, settings, model = folder / "readings.parquet", folder / "train.toml", folder / "model.onnx"
    pq.write_table(readings(records, seed=0), data)
    settings.write_text(toml)
    left_out = folder / "left_out.csv"
    report = folder / "report.html"
    flags = ("--seed", 5, "--name", "machine", "--left-out", left_out, "--report", report)
    code, output = run(data, "--output", model, "--config", settings, *flags)
    assert code == 0
    return Trained(data, settings, model, left_out, report, output)
