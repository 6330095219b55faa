"""Score a dataset of Ray Data: `dataset.map_batches(Scorer, ..., batch_format="pyarrow")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from vaegis.integrations.model_file import ScoreOptions, Source, model_file_of
from vaegis.service.errors import needs_extra

if TYPE_CHECKING:
    import pyarrow as pa


class Scorer:
    """A class for `ray.data.Dataset.map_batches`: each actor loads the model once and scores one table after another.

    A `ModelFile` is sent to the actors with the work. A path is read by each actor, so every node needs that file.
    """

    def __init__(self, model: Source, **options: Unpack[ScoreOptions]) -> None:
        """Load the model.

        Args:
            model: A `ModelFile`, or the path of a model file on the actor's node.
            options: Those of `Model.score_batches`.

        Raises:
            ArtifactError: The model file cannot be used, or this machine does not reproduce its scores.
            AlphaError: The model has too few calibration records for the option ``alpha``.
            ValueError: An option has a value that `Model.score_batches` refuses.
        """
        self._model = model_file_of(model).load()
        self._options = options
        self._model.score_batches([], **options)  # a wrong option ends the start of the actor, not its first task

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return the records with the column of verdicts.

        Raises:
            RecordError: Records do not fit the model; names the row of each fault within the table.
        """
        with needs_extra("files"):
            import pyarrow as pa  # noqa: PLC0415 - of an extra
        batches = table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        return pa.Table.from_batches(self._model.score_batches(batches, **self._options))
