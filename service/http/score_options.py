"""Options of scoring: alpha, explain and on_invalid, the same for every route that scores."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from vaegis.service.http.endpoints import validated
from vaegis.service.http.schemas import REFERENCE_PREFIX
from vaegis.service.records.faults import OnInvalid
from vaegis.service.verdicts import Explain


class ScoreOptions(msgspec.Struct, frozen=True, gc=False):
    """The options of one request.

    Attributes:
        alpha: Share of normal records that may be flagged.
        explain: Which verdicts carry contributions.
        on_invalid: Whether a faulty record rejects the body, or is reported in its place.
        is_drill: Whether the records were made by POST /drill, and are not counted as scored.
    """

    alpha: float
    explain: Explain
    on_invalid: OnInvalid
    is_drill: bool = False


class ScoreQuery(BaseModel):
    """Query of POST /score, and parameters of an inference request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float | None = Field(
        default=None, gt=0, lt=1, description="Share of normal records that may be flagged; the service's if left out."
    )
    explain: Explain | None = Field(
        default=None, description="Which results have contributions; by the service's settings if left out."
    )
    on_invalid: OnInvalid | None = Field(
        default=None,
        description="Whether a record that does not fit rejects the request, or is reported in its place. If left "
        "out: reject for JSON, report for other formats.",
    )

    def options(self, default: ScoreOptions) -> ScoreOptions:
        """Return the options that are given, and ``default`` for the others."""
        return ScoreOptions(
            default.alpha if self.alpha is None else self.alpha,
            default.explain if self.explain is None else self.explain,
            default.on_invalid if self.on_invalid is None else self.on_invalid,
        )


def query_parameters() -> list[dict[str, Any]]:
    """Return what OpenAPI says of the query."""
    properties = ScoreQuery.model_json_schema(ref_template=REFERENCE_PREFIX + "{model}")["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema["description"],
            "schema": schema["anyOf"][0],  # the other is null, which a query cannot say
        }
        for name, schema in properties.items()
    ]


def parse_query(query: bytes) -> ScoreQuery:
    """Parse a query string. The last value of a repeated parameter counts.

    Raises:
        ParameterError: a parameter is unknown or has a bad value.
    """
    return validated(ScoreQuery, dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)))
