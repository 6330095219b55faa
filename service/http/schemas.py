"""The documents that the service answers with."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from vaegis.service.artifact import Artifact
from vaegis.service.contract import Contract, Provenance, Schema, Value, ViolationCode
from vaegis.service.generation import DEFAULT_TEMPERATURE, HIGHEST_TEMPERATURE
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
_SINCE = "2026-11-30T09:42:57.307+00:00"


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
        description="How anomalous the record is: 0 is typical, higher is more anomalous; at least -2.95, no unit."
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


class GenerateRequest(Answer):
    """The body of POST /generate."""

    model_config = ConfigDict(strict=True)

    count: int = Field(ge=0, description="Records to generate.")
    seed: int | None = Field(
        default=None, ge=0, lt=2**63, description="The same seed gives the same records; drawn and echoed if left out."
    )
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=HIGHEST_TEMPERATURE,
        description="How far records may be from known ones; 1 draws from the prior itself. "
        f"{DEFAULT_TEMPERATURE} if left out.",
    )


class GenerateAnswer(Answer):
    """The answer of POST /generate."""

    model_config = with_example(
        model="orders",
        model_digest=EXAMPLE_DIGEST,
        seed=3,
        records=[{"amount": 36.28, "express": False, "country": "FR", "placed_at": "2024-09-19T14:13:39+00:00"}],
    )

    model: str
    model_digest: str
    seed: int
    records: list[dict[str, Value]] = Field(description="Invented records, in the form that POST /score takes.")


class DrillRequest(Answer):
    """The body of POST /drill."""

    model_config = ConfigDict(strict=True)

    model: str | None = Field(default=None, description="The model to try; the default one if left out.")
    column: str | None = Field(
        default=None,
        description="The numeric or categorical column to break; the first numeric one if left out, or else the first "
        "categorical one.",
    )
    seed: int | None = Field(
        default=None, ge=0, lt=2**63, description="The same seed gives the same record; drawn and echoed if left out."
    )


class DrillAnswer(Answer):
    """The answer of POST /drill."""

    model_config = with_example(
        model="orders",
        model_digest=EXAMPLE_DIGEST,
        seed=7,
        column="amount",
        was_flagged=True,
        leading_column="amount",
        score=53219.3,
        p_value=0.000999,
        alpha=0.01,
    )

    model: str
    model_digest: str
    seed: int
    column: str = Field(description="The column that was given a wrong value.")
    was_flagged: bool = Field(description="Whether the record was an anomaly, as it should be.")
    leading_column: str | None = Field(description="The first column of the explanation; should be the broken one.")
    score: float
    p_value: float
    alpha: float


class PromoteRequest(Answer):
    """The body of POST /models/{model}/promote."""

    model_config = ConfigDict(strict=True)

    version: str = Field(description="The version: its file's name without .onnx.")
    gate: str | None = Field(
        default=None,
        description="Promote only if the measures of GET /models/{model}/shadow fit, as in "
        "flagged_ratio<1.5,disagreement<0.02,records>1000.",
    )


class PromotionAnswer(Answer):
    """The answer of POST /models/{model}/promote and /rollback."""

    model_config = with_example(model="orders", version="2024-06", digest=EXAMPLE_DIGEST, before="2024-05")

    model: str
    version: str = Field(description="The version that is live from now on; workers load it within a second or two.")
    digest: str
    before: str | None = Field(description="The version that a rollback makes live; null if there is none.")


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


class VersionItem(Answer):
    """A version of a model that is loaded."""

    version: str
    digest: str
    since: str = Field(description="When it began to be used here, in UTC.")


class LoadFailure(Answer):
    """Why the version that should be used is not."""

    version: str | None
    reason: str
    since: str


class ModelItem(Answer):
    """A model that is served."""

    name: str
    live: VersionItem | None = Field(description="Scores requests; null if no version could be loaded.")
    shadow: str | None = Field(description="The version that scores a sample of the traffic beside the live one.")
    shadow_failure: LoadFailure | None = Field(description="Why the version that should do so does not.")
    failure: LoadFailure | None = Field(description="Why the last change was not taken; null if it was.")
    before: str | None = Field(description="The version that a rollback makes live; null if there is none.")
    versions: list[str] = Field(description="The versions in the folder, loaded or not; none for a single file.")


class ModelsAnswer(Answer):
    """The answer of GET /models, by one worker."""

    model_config = with_example(
        default="orders",
        models=[
            {
                "name": "orders",
                "live": {"version": "2024-06", "digest": EXAMPLE_DIGEST, "since": _SINCE},
                "shadow": "2024-07",
                "shadow_failure": None,
                "failure": None,
                "before": "2024-05",
                "versions": ["2024-05", "2024-06", "2024-07"],
            }
        ],
    )

    default: str = Field(description="The model of POST /score.")
    models: list[ModelItem]


class ShadowAnswer(Answer):
    """The answer of GET /models/{model}/shadow: counts of all workers since the service started."""

    model_config = with_example(
        model="orders",
        live="2024-06",
        version="2024-07",
        digest=EXAMPLE_DIGEST,
        records=20000,
        dropped=0,
        failed=0,
        live_flagged=180,
        candidate_flagged=204,
        flagged_ratio=1.1333,
        disagreement=0.0022,
        p_value_shift=0.06,
        appeared={"amount": 31},
        vanished={"country": 7},
    )

    model: str
    live: str = Field(description="The live version.")
    version: str = Field(description="The version in shadow.")
    digest: str = Field(description="Digest of the version in shadow.")
    records: int = Field(description="Records that both versions scored.")
    dropped: int = Field(description="Records of the sample that came faster than they could be scored.")
    failed: int = Field(description="Records that the version in shadow could not score.")
    live_flagged: int
    candidate_flagged: int
    flagged_ratio: float | None = Field(
        description="candidate_flagged / live_flagged; 1 if neither flags any, null if only the candidate does."
    )
    disagreement: float | None = Field(description="Share of the records that one of the two flags.")
    p_value_shift: float | None = Field(description="Mean orders of magnitude between the p-values of both.")
    appeared: dict[str, int] = Field(description="Flagged records that the column leads in shadow alone, by column.")
    vanished: dict[str, int] = Field(description="Flagged records that the column leads live alone, by column.")


class StateAnswer(Answer):
    """The answer of a probe."""

    model_config = with_example(state="ready")

    state: str


class ErrorItem(Answer):
    """One fault, and its place."""

    row: int | None = Field(description="Position of the record, from 0; null if the request as a whole is at fault.")
    column: str | None
    code: str
    message: str


class ProblemDocument(Answer):
    """Any error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[ErrorItem, ...]


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
