"""Records a second on one and two workers of Spark and Ray, beside `Model.score_batches` alone: `make bench-scale`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

_MODEL: Final = Path(__file__).resolve().parents[1] / "tests" / "golden" / "orders-v2.onnx"
_FILES: Final = 16
_BATCH: Final = 10_240


def main() -> None:
    """Measure each engine in a process of its own, and print a line for each."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=800_000)
    parser.add_argument("--measure", nargs=3, metavar=("ENGINE", "WORKERS", "FOLDER"))
    args = parser.parse_args()
    if args.measure:
        engine, workers, folder = args.measure
        seconds = _ENGINES[engine](int(workers), folder)
        print(f"{engine:<13} {workers} worker(s) {args.records / seconds:>9,.0f} records/s {seconds:>6.1f} s")
        return
    with tempfile.TemporaryDirectory() as folder:
        _write_records(Path(folder), args.records)
        for engine, workers in (("score_batches", 1), ("spark", 1), ("spark", 2), ("ray", 1), ("ray", 2)):
            command = [
                sys.executable,
                __file__,
                "--records",
                str(args.records),
                "--measure",
                engine,
                str(workers),
                folder,
            ]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def _write_records(folder: Path, records: int) -> None:
    """Write records that the model itself generates, as files of equal size."""
    whole = folder / "all.parquet"
    vaegis = [
        Path(sys.executable).with_name("vaegis"),
        "generate",
        _MODEL,
        "--count",
        str(records),
        "--seed",
        "0",
        "-o",
        whole,
    ]
    subprocess.run(vaegis, check=True, stderr=subprocess.DEVNULL)
    table = pq.read_table(whole)
    whole.unlink()
    for number in range(_FILES):
        start, stop = (records * at // _FILES for at in (number, number + 1))
        pq.write_table(table.slice(start, stop - start), folder / f"{number:02}.parquet")


def _score_batches(_: int, folder: str) -> float:
    import vaegis  # noqa: PLC0415 - each engine loads what it needs

    model = vaegis.load(_MODEL)

    def run() -> None:
        for path in sorted(Path(folder).iterdir()):
            for _ in model.score_batches(pq.ParquetFile(path).iter_batches(_BATCH)):
                pass

    return _seconds(run)


def _spark(workers: int, folder: str) -> float:
    from pyspark.sql import SparkSession  # noqa: PLC0415

    from vaegis.integrations.spark import scored  # noqa: PLC0415

    os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    builder = SparkSession.builder.master(f"local[{workers}]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", str(_BATCH))
    session = builder.getOrCreate()
    frame = session.read.parquet(folder)
    scored(frame.limit(1000), _MODEL).count()  # starts the workers
    seconds = _seconds(lambda: scored(frame, _MODEL).write.format("noop").mode("overwrite").save())
    session.stop()
    return seconds


def _ray(workers: int, folder: str) -> float:
    import ray  # noqa: PLC0415

    from vaegis.integrations import ModelFile  # noqa: PLC0415
    from vaegis.integrations.ray import Scorer  # noqa: PLC0415

    ray.init(num_cpus=2 + workers, log_to_driver=False, include_dashboard=False)

    def run() -> None:
        dataset = ray.data.read_parquet(folder, override_num_blocks=_FILES).map_batches(
            Scorer,
            fn_constructor_args=(ModelFile.read(_MODEL),),
            batch_format="pyarrow",
            batch_size=_BATCH,
            concurrency=workers,
        )
        for _ in dataset.iter_internal_ref_bundles():
            pass

    seconds = _seconds(run)
    ray.shutdown()
    return seconds


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


_ENGINES: Final[dict[str, Callable[[int, str], float]]] = {
    "score_batches": _score_batches,
    "spark": _spark,
    "ray": _ray,
}

if __name__ == "__main__":
    main()
