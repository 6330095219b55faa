"""Train from Python, on files or on records in memory, with settings as dicts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console

from vaegis.service.files.arrow_data import RecordsInMemory
from vaegis.service.files.record_files import RecordSource
from vaegis.training.config import TrainConfig, config_of, load_config
from vaegis.training.progress import Progress
from vaegis.training.train import ignored_columns, opened, train


def train_model(data: object, settings: object, output: str | os.PathLike[str], *, verbose: bool) -> None:
    """Train as `vaegis.train` says, and leave torch's threads and random state as they were."""
    config = _config(settings)
    source: RecordSource
    if isinstance(data, str | os.PathLike):
        source = opened(Path(data), config)
    else:
        source = RecordsInMemory(data, config.data.max_depth, ignored=ignored_columns(config))
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]):
            train(source, Path(output), config, Progress(Console(quiet=not verbose)))
    finally:
        torch.set_num_threads(threads)


def _config(settings: object) -> TrainConfig:
    if settings is None or isinstance(settings, str | os.PathLike):
        return load_config(None if settings is None else Path(settings))
    if not isinstance(settings, Mapping):
        raise TypeError(
            f"settings: expected a dict of tables, or the path of a train.toml, got {type(settings).__name__}"
        )
    return config_of(settings)
