"""The query of POST /score, read without the framework but as the framework reads it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, ValidationError

from vaegis.service.http.errors import ParameterError
from vaegis.service.http.problems import parameter_messages
from vaegis.service.records.faults import OnInvalid
from vaegis.service.verdicts import Explain

_KEPT: Final = 256  # queries whose meaning is kept; clients send few different ones
_LONGEST_KEPT: Final = 100  # bytes


class ScoreQuery(BaseModel):
    """Query of POST /score."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float | None = None
    """Share of normal records that may be flagged; the service's own if left out."""
    explain: Explain | None = None
    """Which results carry contributions; the service's own choice if left out."""
    on_invalid: OnInvalid | None = None
    """What becomes of records that do not fit; by the format of the body if left out."""


def parse_query(query: bytes) -> ScoreQuery:
    """Return what a query string says.

    Raises:
        ParameterError: a parameter is unknown or has a bad value.
    """
    return _kept(query) if len(query) <= _LONGEST_KEPT else _parsed(query)


def _parsed(query: bytes) -> ScoreQuery:
    # Of a parameter that comes twice the last one counts, as with the framework.
    values = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    try:
        return ScoreQuery.model_validate(values)
    except ValidationError as error:
        raise ParameterError(*parameter_messages(error.errors(include_url=False))) from error


_kept = lru_cache(_KEPT)(_parsed)
