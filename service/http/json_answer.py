"""The JSON answer of POST /score, written from verdicts by column; `answers.ScoreAnswer` describes it."""

from __future__ import annotations

import math

import msgspec

from service.artifact import Artifact
from service.explanations import Contribution
from service.http.answers import shown_digest
from service.reasons import Reason
from service.verdicts import Verdicts

JSON_END = b"]}"

_ENCODER = msgspec.json.Encoder()


class _Result(msgspec.Struct, gc=False):
    """The fields of an `answers.ResultItem`, in the order in which they are written."""

    score: float
    p_value: float
    is_anomaly: bool
    elbo: float
    reconstruction_error: float
    kl: float
    reasons: tuple[Reason, ...]
    contributions: tuple[Contribution, ...] | None
    latent_contribution: float


def json_start(artifact: Artifact, *, alpha: float, threshold: float) -> bytes:
    """Return what comes before the results, which are parted by commas and followed by `JSON_END`."""
    fields = {
        "model": artifact.contract.provenance.model_name,
        "model_digest": shown_digest(artifact),
        "alpha": alpha,
        "threshold": threshold,
        "guarantee": artifact.contract.calibration.method,
        "calibration_records": artifact.contract.calibration.records,
    }
    return _ENCODER.encode(fields)[:-1] + b',"results":['


def json_results(verdicts: Verdicts) -> bytes:
    """Return the results of at least one record, parted by commas.

    Raises:
        ValueError: One holds NaN or an infinity, which JSON cannot.
    """
    score, p_value, elbo, error, kl, latent = numbers = [
        array.tolist()
        for array in (
            verdicts.score,
            verdicts.p_value,
            verdicts.elbo,
            verdicts.reconstruction_error,
            verdicts.kl,
            verdicts.latent_contribution,
        )
    ]
    for values in numbers:
        _require_finite(values)
    for of_record in filter(None, verdicts.contributions):
        _require_finite([item.contribution for item in of_record])
        _require_finite([item.expected for item in of_record if isinstance(item.expected, float)])
    flags = verdicts.is_anomaly.tolist()
    results = map(_Result, score, p_value, flags, elbo, error, kl, verdicts.reasons, verdicts.contributions, latent)
    return _ENCODER.encode([*results])[1:-1]


def _require_finite(values: list[float]) -> None:
    # One sum tells it, unless finite numbers overflow in it.
    if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
        raise ValueError("verdicts: expected finite numbers, got others")
