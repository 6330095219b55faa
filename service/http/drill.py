"""POST /drill: does the service still flag a record that is certainly wrong?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ConfigDict, Field
from starlette.types import Receive, Scope, Send

from vaegis.service.contract import Column, Schema, Value
from vaegis.service.generation import drawn_seed
from vaegis.service.http.admission import Admission
from vaegis.service.http.endpoints import json_content, operation, read_parameters
from vaegis.service.http.errors import ParameterError
from vaegis.service.http.models.registry import ModelRegistry
from vaegis.service.http.models.served_model import ServedModel
from vaegis.service.http.negotiation import require_json
from vaegis.service.http.schemas import EXAMPLE_DIGEST, Answer, rendered, shown_digest, with_example
from vaegis.service.http.score_options import ScoreOptions
from vaegis.service.records.faults import OnInvalid
from vaegis.service.records.kinds import kind_of
from vaegis.service.verdicts import Explain, Verdicts

_RANGES_AWAY: Final = 1000.0
_UNSEEN: Final = "vaegis-drill"


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


@dataclass(frozen=True, slots=True)
class DrillEndpoint:
    """Answers POST /drill.

    The record takes the way of a small POST /score: the same decoder, batches, graph and threshold. It is counted as a
    drill, and not among the records that are scored or flagged.
    """

    models: ModelRegistry
    admission: Admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with self.admission.slot(scope, receive) as slot:
            require_json(scope["headers"])
            request = await read_parameters(slot, DrillRequest)
            entry = self.models.default if request.model is None else self.models.entry(request.model)
            model = entry.live()
            column = column_to_break(model.artifact.contract.columns, request.column)
            seed = drawn_seed() if request.seed is None else request.seed
            slot.context.charge(1)
            (record,) = await slot.run(lambda: model.generator.draw(1, seed))
            record[column.name] = broken_value(column)
            slot.start_computing()
            block = model.bare_documents.decode(rendered(record), OnInvalid.REJECT, slot.check)
            options = ScoreOptions(model.alpha, Explain.ALL, OnInvalid.REJECT, is_drill=True)
            judged = await model.batcher.judge(block.columns, options, slot.begin)
            verdicts = judged.verdicts()
            self.admission.metrics.count_drill(model.name, is_flagged=bool(verdicts.is_anomaly[0]))
            answer = _answer(model, column, seed, verdicts).model_dump_json().encode()
            await slot.send(send, [answer], len(answer), model.json_headers)

    def operation(self) -> dict[str, Any]:
        """Return what OpenAPI says of the route."""
        return operation(
            "drill",
            "Score a record with a fault",
            "Make a record with one value that is certainly wrong, score it, and tell whether it was flagged. It "
            "counts as a drill, not as a scored record.",
            takes=json_content(DrillRequest, {"seed": 7}),
            gives=json_content(DrillAnswer),
        )


def column_to_break(schema: Schema, name: str | None) -> Column:
    """Return the column ``name``; if None, the first with a range, or else the first with known categories.

    Raises:
        ParameterError: there is no such column that can be broken.
    """
    found: list[Column] = [column for column in schema.columns if kind_of(column).is_plain_number]
    found += [column for column in schema.columns if kind_of(column).known_categories(column) is not None]
    for column in found:
        if name in (None, column.name):
            return column
    if not found:
        raise ParameterError("column: this model has no numeric or categorical column")
    names = ", ".join(column.name for column in found)
    raise ParameterError(f"column: expected a numeric or categorical column ({names}), got {name!r}")


def broken_value(column: Column) -> Value:
    """Return a value that no normal record has: a number far outside the range of training, or an unseen category.

    Args:
        column: One that `column_to_break` returns.

    Raises:
        ParameterError: no such number is finite.
    """
    kind = kind_of(column)
    if (known := kind.known_categories(column)) is not None:
        value = _UNSEEN
        while value in known:
            value += "-"
        return value
    least, greatest = kind.observed_range(column)
    value_above = greatest + _RANGES_AWAY * max(greatest - least, abs(greatest), abs(least), 1.0)
    if not math.isfinite(value_above):
        raise ParameterError("column: expected one with a number above its range, got one that reaches the largest")
    return value_above


def _answer(model: ServedModel, column: Column, seed: int, verdicts: Verdicts) -> DrillAnswer:
    contributions = verdicts.contributions[0]
    return DrillAnswer(
        model=model.name,
        model_digest=shown_digest(model.artifact),
        seed=seed,
        column=column.name,
        was_flagged=bool(verdicts.is_anomaly[0]),
        leading_column=contributions[0].column if contributions else None,
        score=float(verdicts.score[0]),
        p_value=float(verdicts.p_value[0]),
        alpha=model.alpha,
    )
