"""Open an exported model, with every check that it must pass before it scores a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from vaegis.service.columns import Columns
from vaegis.service.contract import (
    Calibration,
    Contract,
    EvaluationDocument,
    GeneratorDocument,
    Golden,
    Provenance,
    Schema,
)
from vaegis.service.errors import ArtifactError, RecordError
from vaegis.service.explanations import Explainer
from vaegis.service.graph import open_graph, open_optimized
from vaegis.service.model_file import READ_VERSIONS, MetadataKey, content_digest, digest_entry, read_model_file
from vaegis.service.onnx_model import metadata_props
from vaegis.service.pvalues import threshold_rank
from vaegis.service.records.python_records import columns_from_records
from vaegis.service.runtime import DEFAULT_LIMITS, VERSION, GraphError, RunLimits, Session
from vaegis.service.scorer import OUTPUTS, Scorer, Scores
from vaegis.service.verdicts import Explain, Verdicts, judge
from vaegis.service.violations import ViolationChecks

_Document = TypeVar("_Document", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Verification:
    """How the golden records came out on this machine.

    Attributes:
        records: Number of golden records.
        largest_difference: Largest difference of a score from the one in the file.
    """

    records: int
    largest_difference: float


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model file that passed every check but the golden records, which `verify` runs.

    Attributes:
        name: Of the file, for messages.
        contract: The metadata.
        calibration_folds: `contract.calibration.folds` as vectors, each ascending.
        checks: Those of the columns, by which violations are found. They take records by `Schema.of_records`.
        explainer: Explains scores.
        scorer: The scoring graph.
        format_version: Of the file, one of `model_file.READ_VERSIONS`.
        digest: SHA-256 of the file up to its digest entry, in hex.
        size_bytes: Size of the file.
    """

    name: str
    contract: Contract
    calibration_folds: tuple[NDArray[np.float64], ...]
    checks: ViolationChecks
    explainer: Explainer
    scorer: Scorer
    format_version: int
    digest: str
    size_bytes: int

    def judge(self, columns: Columns, *, alpha: float | None = None, explain: Explain = Explain.ANOMALIES) -> Verdicts:
        """Return the verdicts on records, in order.

        Args:
            columns: The records, by `Schema.of_records`.
            alpha: Share of normal records that may be flagged, in (0, 1); the model's own if None.
            explain: Which verdicts carry contributions.

        Raises:
            AlphaError: the calibration records are too few for ``alpha``, or it is outside (0, 1).
        """
        alpha = self.contract.calibration.alpha if alpha is None else alpha
        threshold_rank(self.calibration_folds, alpha)  # refuses what cannot be promised
        return self.judge_scored(columns, self.scorer.score(columns), alpha=alpha, explain=explain)

    def judge_scored(self, columns: Columns, scores: Scores, *, alpha: float, explain: Explain) -> Verdicts:
        """Return the verdicts on records that `scorer` has scored, alone or in a batch with others.

        Args:
            columns: The records, by `Schema.of_records`.
            scores: Their statistics.
            alpha: Share of normal records that may be flagged; `judge` checks it, this does not.
            explain: Which verdicts carry contributions.
        """
        violations = self.checks.violations(columns)
        scored, folds = self.scorer.scored(columns), self.calibration_folds
        return judge(self.explainer, folds, scored, scores, violations, alpha=alpha, explain=explain)

    def verify(self) -> Verification:
        """Score the golden records and compare with the scores in the file.

        Raises:
            ArtifactError: this runtime on this machine gives other scores, or none.
        """
        try:
            return self._verified()
        except ArtifactError as error:
            raise ArtifactError(f"{self.name}: golden records: {error}") from error

    def _verified(self) -> Verification:
        golden = self.contract.golden
        try:
            columns = columns_from_records(
                golden.records, self.contract.columns.of_records, unknown_columns="reject", max_faults=1
            )
        except RecordError as error:
            raise ArtifactError(f"the records do not fit the file's own schema: {error}") from error
        try:
            scores = self.scorer.score(columns)
        except Exception as error:  # onnxruntime's exceptions share no base below Exception
            reason = " ".join(str(error).split())
            raise ArtifactError(f"the graph cannot score them: {reason}") from error
        _check_shapes(scores, len(columns), self.contract)
        given = np.stack([scores.score, scores.reconstruction_error, scores.kl], axis=1)
        stored = np.array([[s.score, s.reconstruction_error, s.kl] for s in golden.scores])
        difference = np.abs(given - stored)
        allowed = golden.absolute_tolerance + golden.relative_tolerance * np.abs(stored)
        wrong = np.flatnonzero(~(difference <= allowed).all(axis=1))
        if wrong.size:
            row = int(wrong[0])
            raise ArtifactError(
                f"expected a score of {stored[row, 0]:.6g} for record {row}, got {given[row, 0]:.6g}; "
                f"{wrong.size} of {len(stored)} records are not reproduced by onnxruntime {VERSION}"
            )
        return Verification(records=len(stored), largest_difference=float(difference[:, 0].max()))


def load_artifact(path: Path, *, threads: int = 1) -> Artifact:
    """Open a file that `vaegis-train` wrote.

    Args:
        path: The file.
        threads: Threads that onnxruntime may use for one call.

    Raises:
        ArtifactError: the file cannot be read, is no ONNX file or none of ours, has an unknown format version, is
            truncated or altered, holds what vaegis-train does not write, or its metadata and its graph do not fit
            each other.
    """
    return open_artifact(read_model_file(path), str(path), RunLimits(threads))


def open_artifact(
    data: bytes, name: str, limits: RunLimits = DEFAULT_LIMITS, *, optimized: bytes | None = None
) -> Artifact:
    """Open the content of a file that `vaegis-train` wrote.

    Args:
        data: The content.
        name: Of the file, for messages.
        limits: Limits of one run of the graph, of up to 256 records.
        optimized: Its graph as `graph.write_optimized` wrote it, if the file was opened before on this machine. It
            loads several times as fast.

    Raises:
        ArtifactError: as `load_artifact` does.
    """
    load = (
        partial(open_graph, limits=limits) if optimized is None else partial(open_optimized, optimized, limits=limits)
    )
    try:
        return _open(data, name, load)
    except ArtifactError as error:
        raise ArtifactError(f"{name}: {error}") from error


def _open(data: bytes, name: str, load: Callable[[memoryview], Session]) -> Artifact:
    if not data:
        raise ArtifactError("expected a complete ONNX file written by vaegis-train, got an empty file")
    view = memoryview(data)
    try:
        entries = metadata_props(view)
    except ValueError as error:
        came = f"{len(data)} bytes that are not an ONNX model, or only the beginning of one"
        raise ArtifactError(f"expected a complete ONNX file, got {came}") from error
    metadata = dict(entries)
    if MetadataKey.FORMAT not in metadata:
        raise ArtifactError(
            f"expected a file written by vaegis-train, got {len(data)} bytes without the metadata "
            f"{MetadataKey.FORMAT.value!r}: another ONNX model, or none"
        )
    if metadata[MetadataKey.FORMAT] not in map(str, READ_VERSIONS):
        raise ArtifactError(
            f"expected format version {' or '.join(map(str, READ_VERSIONS))}, "
            f"got {metadata[MetadataKey.FORMAT][:20]!r}; "
            "a later version of vaegis may read it"
        )
    if len(metadata) != len(entries):
        raise ArtifactError("expected each metadata key once, got one twice")
    digest = _checked_digest(data)
    contract = _contract(metadata)
    try:
        session = load(view)
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    except GraphError as error:
        raise ArtifactError(f"expected a graph that onnxruntime {VERSION} runs, got: {error}") from error
    _check_graph(session, contract.columns)
    return Artifact(
        name=name,
        contract=contract,
        calibration_folds=tuple(np.array(fold) for fold in contract.calibration.folds),
        checks=ViolationChecks(contract.columns.of_records),
        explainer=Explainer(contract.columns),
        scorer=Scorer(session, contract.columns),
        format_version=int(metadata[MetadataKey.FORMAT]),
        digest=digest,
        size_bytes=len(data),
    )


def _checked_digest(data: bytes) -> str:
    body = data[: -len(digest_entry(b""))]
    if digest_entry(body) != data[len(body) :]:
        raise ArtifactError("the digest does not match the content; the file is truncated or was changed")
    return content_digest(data)


def _contract(metadata: dict[str, str]) -> Contract:
    return Contract(
        columns=_document(metadata, MetadataKey.SCHEMA, Schema),
        calibration=_document(metadata, MetadataKey.CALIBRATION, Calibration),
        provenance=_document(metadata, MetadataKey.PROVENANCE, Provenance),
        generator=_document(metadata, MetadataKey.GENERATOR, GeneratorDocument),
        golden=_document(metadata, MetadataKey.GOLDEN, Golden),
        evaluation=(
            _document(metadata, MetadataKey.EVALUATION, EvaluationDocument)
            if MetadataKey.EVALUATION in metadata
            else None
        ),
    )


def _document(metadata: dict[str, str], key: MetadataKey, kind: type[_Document]) -> _Document:
    if key not in metadata:
        raise ArtifactError(f"metadata: expected the key {key.value!r}, got none")
    try:
        return kind.model_validate_json(metadata[key])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"metadata {key.value}: {place or 'document'}: {first['msg']}") from error


def _check_graph(session: Session, schema: Schema) -> None:
    """Compare the graph's inputs and outputs with what the schema asks for."""
    expected = {"numbers": ("tensor(double)", len(schema.number_positions))}
    if schema.string_positions:
        expected["strings"] = ("tensor(string)", len(schema.string_positions))
        expected["strings_observed"] = ("tensor(bool)", len(schema.string_positions))
    given = {name: (kind, *shape[1:]) for name, (kind, shape) in session.inputs().items()}
    if given != expected:
        raise ArtifactError(f"graph: expected the inputs {expected}, got {given}")
    outputs = session.outputs()
    for name in OUTPUTS:
        if name not in outputs:
            raise ArtifactError(f"graph: expected the output {name!r}, got none")


def _check_shapes(scores: Scores, records: int, contract: Contract) -> None:
    """Compare the shapes of what the graph gave with those that `Scores` promises."""
    columns, members = len(contract.columns.columns), len(contract.calibration.folds)
    expected: dict[str, tuple[int, ...]] = dict.fromkeys(OUTPUTS, (records,))
    expected |= {
        "fold_scores": (records, members),
        "contributions": (records, columns + 1),
        "expected": (records, columns),
    }
    given = {name: getattr(scores, name).shape for name in OUTPUTS}
    if given != expected:
        raise ArtifactError(f"graph: expected outputs of the shapes {expected}, got {given}")
