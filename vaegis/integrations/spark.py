"""Score a frame of Spark: `scored(frame, "model.onnx")` adds the column of verdicts, by `mapInArrow`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Unpack

from vaegis.integrations.model_file import ModelFile, ScoreOptions, Source, model_file_of
from vaegis.service.errors import needs_extra

with needs_extra("spark"):
    import pyarrow as pa
    from pyspark.sql.types import ArrayType, BooleanType, DataType, DoubleType, StringType, StructField, StructType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def scored(frame: DataFrame, model: Source, **options: Unpack[ScoreOptions]) -> DataFrame:
    """Return a frame with its verdicts in one more column, a struct named ``vaegis`` unless an option names it.

    The driver reads the model file and sends it with the tasks; executors need no copy of it. Each Python worker loads
    it once, and scores in one thread. Like every frame, the result is computed when it is used, each time anew.

    Args:
        frame: The records.
        model: The path of a model file on the driver, or a `ModelFile`.
        options: Those of `Model.score_batches`.

    Raises:
        ArtifactError: The model file cannot be used, or the driver does not reproduce its scores.
        RecordError: The columns do not fit the model's.
        AlphaError: The model has too few calibration records for the option ``alpha``.
        ValueError: An option has a value that `Model.score_batches` refuses, or the name of the column is taken.
    """
    file = model_file_of(model)
    # No records, but the frame's columns: what is wrong with them or with the options is an error here, not in a task.
    empty = pa.RecordBatch.from_pylist([], schema=frame.limit(0).toArrow().schema)
    (answer,) = file.load().score_batches([empty], **options)
    verdict = answer.schema.field(answer.num_columns - 1)
    schema = StructType([*frame.schema.fields, StructField(verdict.name, _spark_type(verdict.type))])
    return frame.mapInArrow(_task(file, options), schema)


def _task(file: ModelFile, options: ScoreOptions) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return file.load().score_batches(batches, **options)

    return score


def _spark_type(kind: pa.DataType) -> DataType:
    """Return Spark's name of a type that verdicts are made of."""
    if pa.types.is_struct(kind):
        return StructType([StructField(part.name, _spark_type(part.type)) for part in kind])
    if pa.types.is_list(kind):
        return ArrayType(_spark_type(kind.value_type))
    return {pa.float64(): DoubleType(), pa.bool_(): BooleanType(), pa.string(): StringType()}[kind]
