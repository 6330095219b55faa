"""Train as `vaegis-train` does, and write the seconds of each stage to a JSON file."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from vaegis.training.config import load_config, with_overrides
from vaegis.training.fit import Epoch
from vaegis.training.progress import Progress
from vaegis.training.train import train


def main() -> int:
    """Train, and write the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="as vaegis-train takes it")
    parser.add_argument("model", type=Path, help="the model file to write")
    parser.add_argument("seconds", type=Path, help="the JSON file to write")
    parser.add_argument("--seed", type=int, default=0, help="of all randomness (%(default)s)")
    parser.add_argument("--config", type=Path, help="train.toml")
    parsed = parser.parse_args()
    progress = TimedProgress(Console())
    config = with_overrides(load_config(parsed.config), {"fit.seed": parsed.seed})
    train(parsed.data, parsed.model, config, progress)
    parsed.seconds.write_text(json.dumps(progress.seconds))
    return 0


class TimedProgress(Progress):
    """Shows what `vaegis-train` shows, and notes the seconds of each stage, those of one name added up."""

    def __init__(self, console: Console) -> None:
        """Write to ``console``."""
        super().__init__(console)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def reading(self, size_bytes: int) -> Iterator[Callable[[int], None]]:
        """Time the pass over the files."""
        with self._timed("reading"), super().reading(size_bytes) as on_batch:
            yield on_batch

    @contextmanager
    def fitting(self) -> Iterator[Callable[[Epoch], None]]:
        """Time the fit."""
        with self._timed("fitting"), super().fitting() as on_epoch:
            yield on_epoch

    @contextmanager
    def stage(self, what: str) -> Iterator[None]:
        """Time a stage by its name."""
        with self._timed(what), super().stage(what):
            yield

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
