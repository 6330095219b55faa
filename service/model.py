"""The model in Python: opened once, it scores records in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypedDict, TypeVar, get_args

from vaegis.service.artifact import Artifact, open_artifact
from vaegis.service.contract import Schema
from vaegis.service.errors import RecordError, needs_extra
from vaegis.service.model_file import DIGEST_PREFIX, Expected, read_model_file
from vaegis.service.pvalues import guarantee, threshold
from vaegis.service.records.blocks import Block
from vaegis.service.records.column_names import UnknownColumns, positions_of
from vaegis.service.records.faults import MAX_FAULTS, OnInvalid
from vaegis.service.records.python_records import blocks_of_records, is_pandas_frame, with_index
from vaegis.service.runtime import RunLimits
from vaegis.service.score_result import ScoreResult, result_of
from vaegis.service.verdicts import Explain, Verdicts

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_TERMS: Final = 100_000  # bounds the memory of a part's contributions, one term for each record and column
_MAX_ALPHAS: Final = 64  # most alphas whose thresholds are cached

_UNKNOWN_COLUMNS: Final[tuple[UnknownColumns, ...]] = get_args(UnknownColumns)
_Text = TypeVar("_Text", bound=str)


class ArrowStream(Protocol):
    """Arrow data: tables and frames of pyarrow, polars, DuckDB and pandas."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a capsule of the Arrow PyCapsule interface."""


Data: TypeAlias = Sequence[Mapping[str, object]] | ArrowStream
"""Records in memory: a list of dicts, or a table or frame. Frames of pandas before 2.2 are taken as well."""


class JudgeRules(TypedDict):
    """How decoded records are judged: the arguments of `Model.judge_blocks`."""

    alpha: float
    explain: Explain
    reports: bool


class Model:
    """A trained model that scores records in memory. Thread-safe.

    Attributes:
        artifact: The opened file.
        name: The model's name.
        digest: SHA-256 of its file, as in the service's answers.
        columns: The kind of each scored column, by name: numeric, boolean, categorical, timestamp or text.
        alpha: Share of normal records that may be flagged; `score` can be given another one.
        threshold: Score above which a record is flagged at that alpha.
        guarantee: What that alpha promises, as a sentence.
    """

    def __init__(self, artifact: Artifact) -> None:
        """Wrap an opened file; `vaegis.load` opens one."""
        contract, folds = artifact.contract, artifact.calibration_folds
        self._threshold_at = lru_cache(_MAX_ALPHAS)(lambda alpha: threshold(folds, alpha))
        self.artifact: Final = artifact
        self.name: Final[str] = contract.provenance.model_name
        self.digest: Final = DIGEST_PREFIX + artifact.digest
        self.columns: Final[Mapping[str, str]] = {column.name: column.kind for column in contract.columns.columns}
        self.alpha: Final[float] = contract.calibration.alpha
        self.threshold: Final[float] = self._threshold_at(self.alpha)
        self.guarantee: Final = self.guarantee_at(self.alpha)

    def __repr__(self) -> str:
        return f"<Model {self.name!r}: {len(self.columns)} columns, alpha {self.alpha:g}>"

    def score(
        self,
        data: Data,
        alpha: float | None = None,
        explain: Literal["none", "anomalies", "all"] = "anomalies",
        *,
        unknown_columns: Literal["reject", "ignore"] = "reject",
        on_invalid: Literal["reject", "report"] = "reject",
    ) -> ScoreResult:
        """Return the verdicts on records in memory. The service and `vaegis score` give the same ones.

        A column that is absent is null in all records. Dicts nest: a key within a dict is named with a dot. None, NaN
        and pandas' NA and NaT are nulls; instants without a zone are UTC.

        Args:
            data: A list of dicts, a pandas frame, or Arrow data. Arrow data needs pyarrow.
            alpha: Share of normal records that may be flagged, in (0, 1); None: the model's own.
            explain: Which records get contributions by column.
            unknown_columns: "reject" or "ignore" columns that the model does not know.
            on_invalid: "reject": a record that does not fit the model raises `RecordError`. "report": its faults are in
                `ScoreResult.errors`, and the other records are scored.

        Raises:
            TypeError: The data are neither a list nor a table or frame.
            ValueError: An option has another value than those above.
            RecordError: Records do not fit the model; its `faults` name each place.
            AlphaError: The model has too few calibration records for ``alpha``.
            MissingExtraError: The data need pyarrow, and it is not installed.

        >>> import vaegis
        >>> model = vaegis.load("model.onnx")
        >>> order = {"amount": 23.5, "express": False, "country": "FR", "placed_at": "2023-11-14T09:30:00Z"}
        >>> result = model.score([order, order | {"amount": 9000.0}], alpha=0.01)
        >>> result.is_anomaly.tolist()
        [False, True]
        >>> result.to_list()[1]["reasons"]
        ['out_of_range']
        """
        rules = self._rules(alpha, explain, on_invalid)
        blocks = self._blocks(data, _choice("unknown_columns", unknown_columns, _UNKNOWN_COLUMNS))
        return self.judge_blocks(blocks, **rules)

    def score_batches(
        self,
        batches: Iterable[pa.RecordBatch],
        alpha: float | None = None,
        explain: Literal["none", "anomalies", "all"] = "anomalies",
        *,
        unknown_columns: Literal["reject", "ignore"] = "reject",
        on_invalid: Literal["reject", "report"] = "reject",
        verdict_column: str = "vaegis",
    ) -> Iterator[pa.RecordBatch]:
        """Yield each record batch with one more column: the verdicts that `score` gives.

        The column is a struct with the fields of `ScoreResult.to_arrow`. The other columns are not changed. One batch
        is held at a time: the next is read when this one has been taken. Scoring runs in the calling thread.

        Args:
            batches: The records. Batches may differ in their columns. Each is scored by itself, so choose batches of
                some thousands of records.
            alpha: As for `score`.
            explain: As for `score`.
            unknown_columns: As for `score`.
            on_invalid: "reject": a record that does not fit raises `RecordError`. "report": it gets nulls and `errors`.
            verdict_column: The name of the column of verdicts.

        Raises:
            TypeError: An item is not a record batch.
            ValueError: An option has another value than those above, or a batch has a column named ``verdict_column``.
            RecordError: Records do not fit the model; names the batch and the row of each fault.
            AlphaError: The model has too few calibration records for ``alpha``.
            MissingExtraError: pyarrow is not installed.
        """
        rules = self._rules(alpha, explain, on_invalid)
        unknown = _choice("unknown_columns", unknown_columns, _UNKNOWN_COLUMNS)
        self._threshold_at(rules["alpha"])  # refuses an alpha that is too small, before a batch is read
        with needs_extra("files"):
            from vaegis.service.files.arrow_data import scored_batches
        return scored_batches(self, batches, rules, unknown, verdict_column)

    def judge_blocks(self, blocks: Iterable[Block], *, alpha: float, explain: Explain, reports: bool) -> ScoreResult:
        """Return the verdicts on decoded records.

        Args:
            blocks: The records, with the faults of those that have any.
            alpha: Share of normal records that may be flagged.
            explain: Which records come with contributions.
            reports: Whether faults are listed in the result, or raised.

        Raises:
            AlphaError: The model has too few calibration records for ``alpha``.
            RecordError: A record has a fault, and ``reports`` is false.
        """
        limit, promise = self._threshold_at(alpha), self.guarantee_at(alpha)
        parts: list[tuple[Block, Verdicts]] = []
        for block in blocks:
            if not reports:
                _refuse_faults(block)
            judged = (
                (part, self.artifact.judge(part.columns, alpha=alpha, explain=explain))
                for part in block.parts(self.part_records)
            )
            parts.extend(judged)
        return result_of(parts, alpha=alpha, threshold=limit, guarantee=promise, with_errors=reports)

    def guarantee_at(self, alpha: float) -> str:
        """Return what ``alpha`` promises, as a sentence.

        Raises:
            AlphaError: The model has too few calibration records for ``alpha``, or it is outside (0, 1).
        """
        self._threshold_at(alpha)
        calibration = self.artifact.contract.calibration
        return guarantee(self.artifact.calibration_folds, alpha, calibration.history_anomalies)

    @property
    def part_records(self) -> int:
        """How many records are scored and explained at a time."""
        return max(1, _MAX_TERMS // (len(self.columns) + 1))

    def _rules(self, alpha: float | None, explain: str, on_invalid: str) -> JudgeRules:
        chosen = Explain(_choice("explain", explain, tuple(Explain)))
        reports = OnInvalid(_choice("on_invalid", on_invalid, tuple(OnInvalid))) is OnInvalid.REPORT
        return JudgeRules(alpha=self.alpha if alpha is None else float(alpha), explain=chosen, reports=reports)

    def _blocks(self, data: object, unknown_columns: UnknownColumns) -> Iterator[Block]:
        schema = self.artifact.contract.columns.of_records
        if isinstance(data, Sequence) and not isinstance(data, str | bytes | bytearray | memoryview):
            return blocks_of_records(data, schema, unknown_columns)
        if is_pandas_frame(data):
            return _blocks_of_frame(data, schema, unknown_columns)
        if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
            with needs_extra("files"):
                from vaegis.service.files.arrow_data import batches_of, blocks_of_batches
            return blocks_of_batches(batches_of(data), schema, unknown_columns)
        hint = "; put one record into a list" if isinstance(data, Mapping) else ""
        raise TypeError(f"data: expected a list of dicts, an Arrow table or a frame, got {type(data).__name__}{hint}")


def load(
    path: str | os.PathLike[str],
    threads: int = 1,
    *,
    digest: str | None = None,
    public_key: str | os.PathLike[str] | None = None,
) -> Model:
    """Open a model file, as `vaegis.load` says."""
    if threads < 1:
        raise ValueError(f"threads: expected at least 1, got {threads}")
    expected = Expected(digest, None if public_key is None else Path(public_key))
    model = open_model(Path(path), expected, threads=threads)
    model.artifact.verify()
    return model


def open_model(path: Path, expected: Expected, *, threads: int = 1) -> Model:
    """Open a model file without scoring the records inside it.

    Raises:
        ArtifactError: The file cannot be used, or is not the expected one.
        SettingsError: The expected digest or the public key is not valid.
        MissingExtraError: A signature is to be verified, and `cryptography` is not installed.
    """
    return Model(open_artifact(read_model_file(path, expected), str(path), RunLimits(threads)))


def _choice(name: str, value: str, allowed: Sequence[_Text]) -> _Text:
    for one in allowed:
        if value == one:
            return one
    raise ValueError(f"{name}: expected {', '.join(allowed[:-1])} or {allowed[-1]}, got {value!r}")


def _refuse_faults(block: Block) -> None:
    """Raise the faults of a block, the first ones in full."""
    faults = [fault for of_record in block.faults.values() for fault in of_record]
    if faults:
        raise RecordError(tuple(faults[:MAX_FAULTS]), max(0, len(faults) - MAX_FAULTS))


def _blocks_of_frame(frame: Any, schema: Schema, unknown_columns: UnknownColumns) -> Iterator[Block]:  # noqa: ANN401
    """Yield the records of a pandas frame in blocks, through Arrow if pyarrow is installed and takes its values.

    Levels of its index that have the name of a column become that column; other levels are left out.

    Raises:
        RecordError: Two columns have one name.
    """
    frame = with_index(frame, schema.names)
    names = [str(name) for name in frame.columns]
    if len({*names}) < len(names):
        positions_of(names, schema, "ignore", MAX_FAULTS)
    if find_spec("pyarrow") is not None:
        from vaegis.service.files.arrow_data import batches_of_frame, blocks_of_batches

        batches = batches_of_frame(frame)
        if batches is not None:
            return blocks_of_batches(batches, schema, unknown_columns)
    return blocks_of_records(frame.to_dict("records"), schema, unknown_columns)
