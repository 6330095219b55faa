"""Export a fitted model as one verified ONNX file, or as no file at all."""

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from pydantic import BaseModel

from vaegis.service.artifact import load_artifact
from vaegis.service.columns import Columns
from vaegis.service.contract import (
    GREATEST_RELATIVE_TOLERANCE,
    Calibration,
    Contract,
    EvaluationDocument,
    GeneratorDocument,
    Golden,
    GoldenScores,
    Provenance,
    Schema,
    Value,
)
from vaegis.service.errors import ArtifactError
from vaegis.service.files.output import replacing
from vaegis.service.generation import Generator
from vaegis.service.model_file import FORMAT_VERSION, MetadataKey, digest_entry
from vaegis.service.records.column_names import setting_of, shown
from vaegis.service.records.kinds import kind_of
from vaegis.service.records.python_records import columns_from_records
from vaegis.service.runtime import open_session
from vaegis.service.scorer import Scorer
from vaegis.training.data.schema import category_codes
from vaegis.training.errors import ExportError
from vaegis.training.export.onnx_graph import prepend_category_lookup, to_onnx
from vaegis.training.fit import Fitted
from vaegis.training.model.generator import GeneratorGraph, GeneratorOutputs
from vaegis.training.model.prior import DEGREES_OF_FREEDOM
from vaegis.training.model.score import ScoringGraph, ScoringOutputs

_RELATIVE_TOLERANCE = 1e-4
_USUAL = frozenset(("ordinary", "empty", "single"))
"""Comparisons that decide about flags. Scores of the others are far beyond any threshold, so rounding matters less."""
_ABSOLUTE_TOLERANCE = 1e-2  # nats; float32 terms of distant exemplars cancel to about a thousandth of a nat
_MOST_APART = 0.01  # share of contributions that may differ: of known records at the same distance, either is found
_GOLDEN_RECORDS = 16
_HUGE = 1e300


@dataclass(frozen=True, slots=True)
class ScoringModel:
    """The exported scoring graph, before its metadata.

    Attributes:
        proto: The graph.
        scorer: The same graph in onnxruntime.
        module: What it was made from.
        schema: Its columns.
    """

    proto: onnx.ModelProto
    scorer: Scorer
    module: ScoringGraph
    schema: Schema


def scoring_model(module: ScoringGraph, schema: Schema) -> ScoringModel:
    """Turn the scoring module into a graph and open it in onnxruntime."""
    inputs = {"numbers": torch.zeros((3, len(schema.number_positions)), dtype=torch.float64)}
    if schema.string_positions:
        inputs["codes"] = torch.zeros((3, len(schema.string_positions)), dtype=torch.int64)
    proto = to_onnx(module, inputs, ScoringOutputs._fields)
    if schema.string_positions:
        prepend_category_lookup(proto, schema)
    return ScoringModel(proto, Scorer(open_session(proto.SerializeToString()), schema), module, schema)


def generator_document(fitted: Fitted, schema: Schema) -> GeneratorDocument:
    """Return the decoder as a document of the metadata."""
    module = GeneratorGraph(fitted.vae, schema, fitted.exemplars).eval()
    _, exemplars, latent_dim = fitted.exemplars.shape
    inputs = {"exemplar": torch.zeros(3, dtype=torch.int64), "latent_noise": torch.zeros((3, latent_dim))}
    model = to_onnx(module, inputs, GeneratorOutputs._fields)
    encoded = base64.b64encode(model.SerializeToString(deterministic=True)).decode()
    return GeneratorDocument(
        model=encoded, exemplars=exemplars, latent_dim=latent_dim, degrees_of_freedom=DEGREES_OF_FREEDOM
    )


def check_destination(path: Path, read: Iterable[Path]) -> None:
    """Check, before any fitting, that a model can be written at ``path``.

    Args:
        path: Where the model goes.
        read: The files of records, none of which it may replace.

    Raises:
        ExportError: it is a folder or one of the files read, or its folder is none or may not be written to.
    """
    if path.is_dir():
        raise ExportError(f"{path}: expected a file, got a folder")
    if path.resolve() in {source.resolve() for source in read}:
        raise ExportError(f"{path}: the output is one of the files to read; choose another")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ExportError(f"{path}: no such folder: {folder}")
    if not os.access(folder, os.W_OK):
        raise ExportError(f"{path}: cannot write into the folder {folder}")


def export(
    model: ScoringModel,
    generator: GeneratorDocument,
    calibration: Calibration,
    provenance: Provenance,
    sample: Columns,
    path: Path,
    evaluation: EvaluationDocument | None = None,
) -> None:
    """Write the file, reopen it as the service will, compare it with torch, and only then give it its name.

    Args:
        model: The scoring graph.
        generator: The decoder.
        calibration: The calibration of that very graph.
        provenance: Where the model came from.
        sample: Some of the records it was fitted on, for the comparison.
        path: Where the file goes; an existing one is replaced in one step.
        evaluation: What was measured, for people.

    Raises:
        ExportError: torch and onnxruntime disagree, the file fails the service's checks, or it cannot be written.
    """
    golden = _golden(model, generator, calibration, provenance, _compare(model, sample))
    documents: dict[MetadataKey, BaseModel] = {
        MetadataKey.SCHEMA: model.schema,
        MetadataKey.CALIBRATION: calibration,
        MetadataKey.PROVENANCE: provenance,
        MetadataKey.GENERATOR: generator,
        MetadataKey.GOLDEN: golden,
    }
    if evaluation is not None:
        documents[MetadataKey.EVALUATION] = evaluation
    data = _with_metadata(model.proto, documents, provenance.vaegis_version)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
            load_artifact(temporary).verify()
    except ArtifactError as error:
        raise ExportError(f"{path}: the file written does not pass its own checks, and was removed: {error}") from error
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from error


def _compare(model: ScoringModel, sample: Columns) -> float:
    """Score ordinary and odd records in torch and in onnxruntime, and raise `ExportError` if they differ.

    Returns:
        The relative tolerance within which all of them agree.
    """
    agreed = _RELATIVE_TOLERANCE
    for name, records in _probes(sample, model.schema).items():
        with torch.no_grad():
            codes = category_codes(records, model.schema)
            expected = model.module(torch.from_numpy(records.numbers), codes)
        given = model.scorer.score(records)
        for output in ScoringOutputs._fields:
            want, got = getattr(expected, output).numpy(), getattr(given, output)
            if want.shape != got.shape:
                raise ExportError(f"{name} records, {output}: expected the shape {want.shape}, got {got.shape}")
            if output == "expected":  # near-ties between categories may fall either way
                continue
            relative = _RELATIVE_TOLERANCE if name in _USUAL else GREATEST_RELATIVE_TOLERANCE
            # Terms of one record cancel, so each is compared with the largest: rounding grows with that.
            size = np.abs(want).max(axis=1, keepdims=True) if want.ndim > 1 and want.size else np.abs(want)
            difference = np.abs(want - got)
            wrong = ~(difference <= _ABSOLUTE_TOLERANCE + relative * size)
            # Of equally near known records, either may be found. Other columns then contribute to the same score.
            if output == "contributions" and np.count_nonzero(wrong) <= _MOST_APART * wrong.size:
                continue
            if wrong.any():
                row = int(np.argwhere(wrong)[0, 0])
                apart = np.abs(expected.contributions[row].numpy() - given.contributions[row])[:-1]
                column = model.schema.columns[int(np.argmax(apart))].name
                raise ExportError(_difference_message(name, output, float(difference[wrong].max()), column))
            if (difference > _ABSOLUTE_TOLERANCE + _RELATIVE_TOLERANCE * np.abs(want)).any():
                agreed = GREATEST_RELATIVE_TOLERANCE
    return agreed


def _difference_message(name: str, output: str, difference: float, column: str) -> str:
    """Return what to do where torch and onnxruntime differ, for the column whose contribution differs most."""
    return (
        f"{name} records, {output}: expected the same values from onnxruntime and torch, got a difference of "
        f"{difference:.3g}, most of it in column {shown(column)}; columns that hardly vary cause this: ignore it in "
        f'train.toml by {setting_of(column, "kind")} = "ignore"'
    )


def _probes(sample: Columns, schema: Schema) -> dict[str, Columns]:
    """Return batches of every sort that a graph must take."""
    kinds = [kind_of(schema.columns[i]) for i in schema.number_positions]
    unbounded = np.array([not kind.takes_truths for kind in kinds], dtype=np.bool_)
    huge = np.where(unbounded & ~np.isnan(sample.numbers), np.sign(sample.numbers) * _HUGE, sample.numbers)
    unseen = np.full_like(sample.strings, _unseen(schema))
    nothing = np.zeros_like(sample.strings_observed)
    return {
        "ordinary": sample,
        "missing": Columns(np.full_like(sample.numbers, np.nan), np.full_like(sample.strings, ""), nothing),
        "unseen": Columns(sample.numbers, unseen, np.ones_like(nothing)),
        "huge": Columns(huge, sample.strings, sample.strings_observed),
        "empty": sample.rows(slice(0, 0)),
        "single": sample.rows(slice(0, 1)),
    }


def _golden(
    model: ScoringModel, generator: GeneratorDocument, calibration: Calibration, provenance: Provenance, relative: float
) -> Golden:
    """Return invented records, ordinary and odd, with their scores."""
    placeholder = Golden(
        records=({},),
        scores=(GoldenScores(score=0, reconstruction_error=0, kl=0),),
        relative_tolerance=relative,
        absolute_tolerance=_ABSOLUTE_TOLERANCE,
    )
    contract = Contract(
        columns=model.schema,
        calibration=calibration,
        provenance=provenance,
        generator=generator,
        golden=placeholder,
    )
    records = Generator(contract).draw(_GOLDEN_RECORDS, provenance.seed)
    sorts = ("missing", "unseen", "huge")
    records += [_altered(records[i], model.schema, how, first=i % 2) for i in range(4) for how in sorts]
    columns = columns_from_records(records, model.schema.of_records, unknown_columns="reject", max_faults=1)
    scores = model.scorer.score(columns)
    return placeholder.model_copy(
        update={
            "records": tuple(records),
            "scores": tuple(
                GoldenScores(score=s, reconstruction_error=r, kl=k)
                for s, r, k in zip(
                    scores.score.tolist(), scores.reconstruction_error.tolist(), scores.kl.tolist(), strict=True
                )
            ),
        }
    )


def _altered(record: dict[str, Value], schema: Schema, how: str, *, first: int) -> dict[str, Value]:
    """Return a record with every second value turned odd, from the column at ``first`` on."""
    altered = dict(record)
    for column in schema.columns[first::2]:
        if how == "missing":
            altered[column.name] = None
        elif how == "unseen" and column in schema.categorical:
            altered[column.name] = _unseen(schema)
        elif how == "huge" and kind_of(column).is_plain_number:
            altered[column.name] = _HUGE
    return altered


def _unseen(schema: Schema) -> str:
    """Return a category that no column knows."""
    known = {category for column in schema.categorical for category in column.categories}
    unseen = "unseen"
    while unseen in known:
        unseen += "-"
    return unseen


def _with_metadata(graph: onnx.ModelProto, documents: dict[MetadataKey, BaseModel], producer_version: str) -> bytes:
    proto = onnx.ModelProto()
    proto.CopyFrom(graph)
    proto.producer_version = producer_version
    proto.metadata_props.add(key=MetadataKey.FORMAT.value, value=str(FORMAT_VERSION))
    for key, document in documents.items():
        proto.metadata_props.add(key=key.value, value=document.model_dump_json())
    body: bytes = proto.SerializeToString(deterministic=True)
    return body + digest_entry(body)
