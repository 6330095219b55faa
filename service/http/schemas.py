"""The documents that the service answers with."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from vaegis.service.artifact import Artifact
from vaegis.service.contract import Contract, Provenance, Schema, Value, ViolationCode
from vaegis.service.model_file import DIGEST_PREFIX
from vaegis.service.pvalues import guarantee
from vaegis.service.reasons import Reason
from vaegis.service.records.column_names import UnknownColumns
from vaegis.service.records.kinds import kind_of

REFERENCE_PREFIX: Final = "#/components/schemas/"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_THRESHOLD = (
    "Score above which a record is flagged: exactly with the method split-conformal; with cross-conformal where all "
    "members agree on the score, and otherwise the p-value alone decides."
)

EXAMPLE_DIGEST: Final = "sha256:85a9ec4650596ee9006f8062ce611ffe3e668b9520501169e68573f3ea0685b9"


class Answer(BaseModel):
    """A document, or a part of one."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def with_example(**fields: JsonValue) -> ConfigDict:
    """Return the configuration of an answer with an example, which OpenAPI shows."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class ContributionItem(Answer):
    """What one column adds to a record's score."""

    column: str
    contribution: float = Field(
        description="The column's part of the score; negative where its value is likelier than usual."
    )
    observed: Value = Field(description="The record's value.")
    expected: Value = Field(description="What the model expected, given the record as a whole.")
    reason: Reason | None = Field(description="Why the value is unusual; null if it is not among the causes.")


class ViolationItem(Answer):
    """A value that breaks a check of its column."""

    column: str
    code: ViolationCode
    observed: Value = Field(description="The record's value.")
    limit: Value = Field(
        description="The least or the greatest value that passes, the step of the grid, or the category that is "
        "misspelled; null for other checks."
    )


class RecordFault(Answer):
    """A fault of one record."""

    column: str | None
    code: str
    message: str


class ResultItem(Answer):
    """The verdict on one record."""

    score: float = Field(
        description="How anomalous the record is: 0 is typical, higher is more anomalous; at least -2.77, no unit."
    )
    p_value: float = Field(
        description="(1 + calibration scores at or above the record's) / (calibration records + 1), each compared "
        "under the member of the model that was fitted without that calibration record."
    )
    is_anomaly: bool = Field(description="Whether the p-value is at most alpha.")
    elbo: float = Field(description="Estimated lower bound of the log-likelihood, nats: -(reconstruction_error + kl).")
    reconstruction_error: float = Field(description="Expected negative log-likelihood of the observed columns, nats.")
    kl: float = Field(description="Divergence of the latent code from the prior, an upper bound, nats.")
    latent_contribution: float = Field(description="What the latent code adds to the score.")
    violations: list[ViolationItem] = Field(
        description="Values that are certainly wrong by what training saw, whether the record is an anomaly or not."
    )
    reasons: list[Reason] = Field(
        description="What made the record an anomaly, those of violations first, then the weightiest."
    )
    signature: str | None = Field(
        description="A short key of the leading columns and why they lead, to group anomalies by; null for others."
    )
    contributions: list[ContributionItem] | None = Field(
        description="One per column, those with a violation first, then the largest; with latent_contribution they sum"
        " to the score. Null if not asked."
    )
    errors: list[RecordFault] | None = Field(
        default=None, max_length=0, description="Only with `on_invalid=report`, and null: the record has no faults."
    )


class RefusedItem(BaseModel):
    """A record without a verdict: its faults, and null in every other field."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, None]

    errors: list[RecordFault] = Field(min_length=1)


Result: TypeAlias = Annotated[RefusedItem | ResultItem, Field(title="Result")]


class ScoreAnswer(Answer):
    """The answer of POST /score."""

    model: str
    model_digest: str
    alpha: float = Field(description="Share of normal records that may be flagged.")
    threshold: float = Field(description=_THRESHOLD)
    guarantee: str = Field(description="The method behind alpha; GET /model says what it promises.")
    calibration_records: int
    results: list[Result] = Field(
        description="One per record, in the order of the request. Only `on_invalid=report` reports records without a "
        "verdict, and then each result has `errors`."
    )


class CalibrationSummary(Answer):
    """The scores behind the p-values, in short."""

    method: str = Field(description="split-conformal: one fold. cross-conformal: several, each with its own member.")
    folds: int
    records: int = Field(description="In all folds.")
    alpha: float = Field(description="The model's own default.")
    smallest_alpha: float = Field(description="1 / (records + 1); a smaller alpha is refused.")
    guarantee: str = Field(description="What is proven of the share of normal records flagged, at the alpha in force.")


class GeneratorSummary(Answer):
    """The decoder behind POST /generate, in short."""

    exemplars: int = Field(description="Components of the prior, of equal weight.")
    latent_dim: int


class ModelAnswer(Answer):
    """The answer of GET /model."""

    model: str
    model_digest: str
    size_bytes: int
    format_version: int
    alpha: float = Field(description="In force where a request does not say.")
    threshold: float = Field(description=_THRESHOLD)
    calibration: CalibrationSummary
    schema_: Schema = Field(alias="schema", description="The columns, with what training saw in them.")
    provenance: Provenance
    generator: GeneratorSummary
    golden_records: int = Field(description="Records whose scores are reproduced before the service is ready.")


class StateAnswer(Answer):
    """The answer of a probe."""

    model_config = with_example(state="ready")

    state: str


def reference(schema: type[BaseModel] | str) -> dict[str, str]:
    """Return how OpenAPI refers to a schema, which may be given by its name."""
    return {"$ref": f"{REFERENCE_PREFIX}{schema if isinstance(schema, str) else schema.__name__}"}


def shown_digest(artifact: Artifact) -> str:
    """Return the digest of the model's file, with the name of its algorithm."""
    return DIGEST_PREFIX + artifact.digest


def model_answer(artifact: Artifact, name: str, *, alpha: float, threshold: float) -> ModelAnswer:
    """Return what GET /model tells: all metadata but the weights, the scores and the golden records themselves."""
    contract, calibration = artifact.contract, artifact.contract.calibration
    return ModelAnswer(
        model=name,
        model_digest=shown_digest(artifact),
        size_bytes=artifact.size_bytes,
        format_version=artifact.format_version,
        alpha=alpha,
        threshold=threshold,
        calibration=CalibrationSummary(
            method=calibration.method,
            folds=len(calibration.folds),
            records=calibration.records,
            alpha=calibration.alpha,
            smallest_alpha=1.0 / (calibration.records + 1),
            guarantee=guarantee(artifact.calibration_folds, alpha, calibration.history_anomalies),
        ),
        schema=contract.columns,
        provenance=contract.provenance,
        generator=GeneratorSummary(exemplars=contract.generator.exemplars, latent_dim=contract.generator.latent_dim),
        golden_records=len(contract.golden.records),
    )


def rendered(document: object) -> bytes:
    """Return ``document`` as JSON.

    Raises:
        ValueError: it holds NaN or an infinity, which JSON cannot.
    """
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def record_schema(contract: Contract, unknown_columns: UnknownColumns) -> dict[str, Any]:
    """Return the schema of one record of POST /score.

    It accepts what the service accepts: a value that training never saw is an anomaly, not an error. Absent columns
    are nulls.
    """
    schema = contract.columns.of_records
    properties = {column.name: kind_of(column).json_schema(column) for column in schema.columns}
    properties |= {column.name: {"description": f"Not read: {column.reason}."} for column in schema.ignored}
    parents = {name.partition(".")[0] for name in properties if "." in name} - properties.keys()
    for parent in sorted(parents):
        properties[parent] = {
            "type": ["object", "null"],
            "description": f"Holds the columns that start with {parent}., nested instead of joined by dots.",
        }
    return {
        "$schema": DIALECT,
        "title": f"Record of the model {contract.provenance.model_name}",
        "type": "object",
        "properties": properties,
        "minProperties": 1,
        "additionalProperties": unknown_columns == "ignore",
        "examples": [contract.golden.records[0]],
    }
