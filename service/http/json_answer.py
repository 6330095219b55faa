"""The JSON answer of POST /score, written from verdicts by column; `answers.ScoreAnswer` describes it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vaegis.service.explanations import Contribution
from vaegis.service.http.writers.writing import Judgement, finite_numbers
from vaegis.service.reasons import Reason
from vaegis.service.verdicts import Verdicts

JSON_END = b"]}"

_ENCODER = msgspec.json.Encoder()


class Result(msgspec.Struct, gc=False):
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


RESULT_FIELDS = Result.__struct_fields__


def json_start(judgement: Judgement) -> bytes:
    """Return what comes before the results, which are parted by commas and followed by `JSON_END`."""
    return _ENCODER.encode(judgement.fields())[:-1] + b',"results":['


def results_of(verdicts: Verdicts) -> list[Result]:
    """Return the results of records, in order.

    Raises:
        ValueError: One holds NaN or an infinity, which JSON cannot.
    """
    score, p_value, elbo, error, kl, latent = finite_numbers(verdicts)
    flags = verdicts.is_anomaly.tolist()
    return [*map(Result, score, p_value, flags, elbo, error, kl, verdicts.reasons, verdicts.contributions, latent)]


def written(results: Sequence[Result]) -> bytes:
    """Return at least one result as JSON, parted by commas."""
    return _ENCODER.encode(results)[1:-1]


def json_results(verdicts: Verdicts) -> bytes:
    """Return the results of at least one record as JSON, parted by commas; raises what `results_of` does."""
    return written(results_of(verdicts))
