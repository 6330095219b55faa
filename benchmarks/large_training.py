"""Train on sets of growing size, up to millions of records: seconds by stage, peak memory, and what the model finds.

The records are those of the demo's sample, drawn again and again with fresh jitter; a smaller set is the beginning of a
larger one. All models score the same labelled records that no set was made of.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from conditions import COMMANDS, ROOT, save
from jittered_shuttle import chunks, jittered, readings, sample_schema
from peak_memory import run_measured
from quality.figures import ranking

from vaegis.service.artifact import load_artifact
from vaegis.training.config import load_config

LIVE = ROOT / "demo" / "shuttle" / "live.parquet"
LABEL = "anomaly"
SIZES = (50_000, 500_000, 1_500_000, 5_000_000)
SEEDS = (0, 1, 2)
RECORDS_PER_FILE = 500_000

SLACK_SECONDS = 5.0
"""Added to the seconds that a larger set may take: what machine and start make of them."""
MEMORY_TOLERANCE = 1.1
"""How much the peak may differ between sets of more records than training keeps, as a ratio."""
SCORE_TOLERANCES = {"auroc": 0.002, "average_precision": 0.01}
"""By how much each, as a mean over the seeds, may fall by chance from fewer records to more."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training run and what its model finds.

    Attributes:
        seed: Of training.
        seconds: From start to end of the process.
        stages: Seconds by stage.
        peak_bytes: Of resident memory.
        records: How many were read, sampled, fitted and so on, as the model file tells.
        auroc: On the labelled records.
        average_precision: The same.
    """

    seed: int
    seconds: float
    stages: dict[str, float]
    peak_bytes: int
    records: dict[str, int]
    auroc: float
    average_precision: float


def main() -> int:
    """Measure each size, save the figures, and return 1 if time, memory or scores break what is promised of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="records of each set (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of training (%(default)s)")
    parser.add_argument("--config", type=Path, help="train.toml; by default the settings of vaegis-train")
    parser.add_argument("--folder", type=Path, help="where the sets are made for as long as this runs")
    parsed = parser.parse_args()
    cap = load_config(parsed.config).data.max_records
    measured: dict[int, list[Run]] = {}
    for size in sorted(parsed.sizes):
        with tempfile.TemporaryDirectory(dir=parsed.folder) as name:
            measured[size] = list(runs(Path(name), size, parsed.seeds, parsed.config))
    faults = broken(measured, cap)
    save(
        "large_training",
        {
            "kept_records_at_most": cap,
            "test_records": pq.read_metadata(LIVE).num_rows,
            "seeds": parsed.seeds,
            "slack_seconds": SLACK_SECONDS,
            "memory_tolerance": MEMORY_TOLERANCE,
            "score_tolerances": SCORE_TOLERANCES,
            "measured": {f"{size} records": summary(of_size) for size, of_size in measured.items()},
            "broken": faults,
        },
    )
    return int(bool(faults))


def runs(folder: Path, size: int, seeds: list[int], config: Path | None) -> Iterator[Run]:
    """Make the set of one size, and train on it and score with each seed."""
    data, model = folder / "data", folder / "model.onnx"
    size_bytes = make_set(data, size)
    print(f"made {size:,} records, {size_bytes / 1e6:,.0f} MB in Parquet files", flush=True)
    settings: list[str | Path] = [] if config is None else ["--config", config]
    for seed in seeds:
        script: list[str | Path] = [sys.executable, Path(__file__).with_name("timed_training.py")]
        arguments: list[str | Path] = [data, model, folder / "seconds.json", "--seed", str(seed), *settings]
        seconds, peak = run_measured([*script, *arguments])
        stages = {name: round(value, 2) for name, value in json.loads((folder / "seconds.json").read_text()).items()}
        auroc, average_precision = found(model, folder)
        records = dict(load_artifact(model).contract.provenance.records)
        run = Run(seed, round(seconds, 1), stages, peak, records, auroc, average_precision)
        print(
            f"{size:,} records, seed {seed}: {run.seconds} s, {run.peak_bytes / 1e6:,.0f} MB at peak, AUROC {auroc}, "
            f"AP {average_precision}",
            flush=True,
        )
        yield run


def make_set(folder: Path, records: int) -> int:
    """Write the first ``records`` records, never many of them in memory, and return the bytes of the files."""
    folder.mkdir()
    tables = chunks(np.random.default_rng(0))
    for number, start in enumerate(range(0, records, RECORDS_PER_FILE)):
        left = min(RECORDS_PER_FILE, records - start)
        with pq.ParquetWriter(folder / f"part-{number:04}.parquet", sample_schema()) as writer:
            while left:
                table = next(tables).slice(0, left)
                writer.write_table(table)
                left -= table.num_rows
    return sum(path.stat().st_size for path in folder.iterdir())


def found(model: Path, folder: Path) -> tuple[float, float]:
    """Return AUROC and average precision of a model's scores on the labelled records, with the jitter of the sets."""
    live = pq.read_table(LIVE)
    test, scored = folder / "test.parquet", folder / "scored.parquet"
    pq.write_table(jittered(readings(live), np.random.default_rng(1)), test)
    command: list[str | Path] = [COMMANDS / "vaegis", "score", model, test, "-o", scored, "--explain", "none"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    scores = pq.read_table(scored, columns=["score"])["score"].to_numpy()
    figures = ranking(_labels(live), scores)
    return round(figures.auroc, 4), round(figures.ap, 4)


def summary(of_size: list[Run]) -> dict[str, object]:
    """Return medians of seconds, the highest peak, and scores with their means over the seeds."""
    return {
        "records": of_size[0].records,
        "median_seconds": round(_seconds(of_size), 1),
        "median_seconds_by_stage": {
            name: round(statistics.median(run.stages[name] for run in of_size), 2) for name in of_size[0].stages
        },
        "peak_resident_bytes": _peak(of_size),
        "auroc": _score(of_size, "auroc"),
        "average_precision": _score(of_size, "average_precision"),
    }


def broken(measured: dict[int, list[Run]], cap: int) -> list[str]:
    """Return what does not hold, in words.

    From one size to the next larger, seconds grow no more than records do, and scores get no worse; between sizes above
    ``cap``, memory stays.
    """
    faults = []
    for (small, before), (large, after) in pairwise(sorted(measured.items())):
        allowed = large / small * _seconds(before) + SLACK_SECONDS
        if _seconds(after) > allowed:
            faults.append(f"{large:,} records: expected at most {allowed:.1f} s, got {_seconds(after):.1f}")
        if small > cap and _peak(after) > MEMORY_TOLERANCE * _peak(before):
            faults.append(f"{large:,} records: expected about {_peak(before):,} bytes at peak, got {_peak(after):,}")
    for name, tolerance in SCORE_TOLERANCES.items():
        best = 0.0
        for size, of_size in sorted(measured.items()):
            mean = statistics.mean(getattr(run, name) for run in of_size)
            if mean < best - tolerance:
                faults.append(f"{size:,} records: expected {name} {best:.4f} as with fewer, got {mean:.4f}")
            best = max(best, mean)
    return faults


def _seconds(of_size: list[Run]) -> float:
    return statistics.median(run.seconds for run in of_size)


def _peak(of_size: list[Run]) -> int:
    return max(run.peak_bytes for run in of_size)


def _score(of_size: list[Run], name: str) -> dict[str, object]:
    values = [getattr(run, name) for run in of_size]
    return {"mean": round(statistics.mean(values), 4), "by_seed": values}


def _labels(live: pa.Table) -> np.ndarray:
    return live[LABEL].to_numpy().astype(bool)


if __name__ == "__main__":
    sys.exit(main())
