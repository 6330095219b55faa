"""`vaegis.integrations.spark` on Spark's local mode with two workers: `make scale-test`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

import vaegis

pytest.importorskip("pyspark", reason="needs pyspark: make scale-test")
if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
    pytest.skip("Spark needs Java", allow_module_level=True)

from pyspark.errors import PythonException
from pyspark.sql import DataFrame, SparkSession

from vaegis.integrations import ModelFile
from vaegis.integrations.model_file import loads_in_this_process
from vaegis.integrations.spark import _task, scored

OPTIONS = {"unknown_columns": "ignore", "explain": "all"}


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    settings = {
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "America/New_York",
        # Whole partitions come in batches of this size, whose runs of 256 records are those of one call.
        "spark.sql.execution.arrow.maxRecordsPerBatch": "2560",
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture(scope="module")
def frame(spark: SparkSession, orders_file) -> DataFrame:
    return spark.read.parquet(str(orders_file))


def in_order(frame: DataFrame) -> pa.Table:
    return frame.toArrow().sort_by("id").combine_chunks()


def test_the_verdicts_are_those_of_score_and_every_record_comes_once(frame, orders, golden_model):
    table = in_order(scored(frame, golden_model, **OPTIONS))
    assert table["id"].to_pylist() == [*range(len(orders))]
    assert table["placed_at"].cast(pa.timestamp("us", "UTC")).equals(orders["placed_at"])
    verdicts = pa.Table.from_struct_array(table["vaegis"])
    expected = vaegis.load(golden_model).score(orders, **OPTIONS).to_arrow()
    assert verdicts.column_names == expected.column_names
    for name in ("score", "p_value", "elbo", "kl"):
        np.testing.assert_allclose(verdicts[name].to_numpy(), expected[name].to_numpy(), rtol=1e-5, err_msg=name)
    assert verdicts["is_anomaly"].to_pylist() == expected["is_anomaly"].to_pylist()
    assert verdicts["violations"].to_pylist() == expected["violations"].to_pylist()


def test_a_partition_with_the_batches_of_one_call_has_its_bits(spark, orders, golden_model):
    part = orders.slice(0, 7_680)
    frame = spark.createDataFrame(part).coalesce(1)
    table = in_order(scored(frame, golden_model, **OPTIONS))
    expected = vaegis.load(golden_model).score(part, **OPTIONS).to_arrow()
    assert pa.Table.from_struct_array(table["vaegis"])["score"].to_pylist() == expected["score"].to_pylist()


def test_each_worker_loads_the_model_once_for_many_partitions_and_jobs(frame, golden_model):
    task = _task(ModelFile.read(golden_model), OPTIONS)

    def watched(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in task(batches):
            yield pa.record_batch({"pid": [os.getpid()], "loads": [loads_in_this_process()], "rows": [batch.num_rows]})

    jobs = [frame.repartition(16).mapInArrow(watched, "pid long, loads long, rows long").collect() for _ in range(2)]
    assert [sum(row.rows for row in job) for job in jobs] == [20_000, 20_000]
    assert {row.loads for job in jobs for row in job} == {1}
    assert len({row.pid for job in jobs for row in job}) < 16


def test_an_empty_partition_and_an_empty_frame_give_no_verdicts(spark, frame, golden_model):
    alone = frame.where("id < 3").repartition(8)
    assert scored(alone, golden_model, **OPTIONS).count() == 3
    assert scored(frame.where("id < 0"), golden_model, **OPTIONS).toArrow().num_rows == 0


def test_a_fault_in_a_task_names_its_row_and_can_be_reported(spark, golden_model):
    frame = spark.createDataFrame([("1.5", "FR"), ("many", "FR")], "amount string, country string").coalesce(1)
    with pytest.raises(PythonException, match=r"batches\[0\]\.records\[1\]\.amount: expected a number, got text"):
        scored(frame, golden_model).collect()
    verdicts = [row.vaegis for row in scored(frame, golden_model, on_invalid="report").collect()]
    assert [verdict.errors is None for verdict in verdicts] == [True, False]
    assert verdicts[1].score is None


def test_columns_and_options_that_do_not_fit_are_refused_before_any_task(frame, golden_model):
    with pytest.raises(vaegis.RecordError, match="id: unknown column"):
        scored(frame, golden_model)
    with pytest.raises(ValueError, match="choose another with verdict_column"):
        scored(frame, golden_model, unknown_columns="ignore", verdict_column="id")
