"""The document behind the live page: counts since the start of the service."""

from __future__ import annotations

from pydantic import Field

from vaegis.service.http.schemas import EXAMPLE_DIGEST, Answer, with_example


class LiveModel(Answer):
    """The model that is counted."""

    model: str
    digest: str
    version: str = Field(description="Of vaegis, which trained it.")


class LiveRecords(Answer):
    """Records since the service started."""

    scored: int = 0
    flagged: int = 0
    violating: int = Field(default=0, description="Records with a value that breaks a check of its column.")


class PValueCount(Answer):
    """Records whose p-value is at most a bound."""

    at_most: float
    count: int


class LiveColumn(Answer):
    """Values of one column since the service started."""

    missing: int
    unseen: int
    out_of_range: int
    violations: dict[str, int] = Field(description="By code.")


class LiveAnswer(Answer):
    """The answer of GET /live.json: counts of all workers since the service started, and no value of any record."""

    model_config = with_example(
        model={"model": "orders", "digest": EXAMPLE_DIGEST, "version": "0.1.0"},
        records={"scored": 1200, "flagged": 14, "violating": 3},
        refused={"wrong_type": 2},
        signatures={"amount:above_range": 3, "placed_at:rare_combination": 11},
        requests={"2xx": 120, "4xx": 2},
        seconds={"0.01": 96, "0.025": 120, "+Inf": 120},
        p_values=[{"at_most": 0.01, "count": 14}, {"at_most": 1.0, "count": 1200}],
        columns={"amount": {"missing": 4, "unseen": 0, "out_of_range": 3, "violations": {"above_range": 3}}},
        alpha=0.01,
        threshold=12.89,
        calibration_records=1000,
        workers=2,
        models=["orders"],
        allowed={"score": True, "model": True, "promote": False},
    )

    model: LiveModel
    records: LiveRecords
    refused: dict[str, int] = Field(description="Faults of records, by code.")
    signatures: dict[str, int] = Field(description="Anomalies by signature.")
    requests: dict[str, int] = Field(
        description="Requests of all models that score, by the first digit of their status."
    )
    seconds: dict[str, int] = Field(description="Those answered with 200 within so many seconds, of all models.")
    p_values: list[PValueCount] = Field(description="Each bound counts all records up to it.")
    columns: dict[str, LiveColumn]
    alpha: float
    threshold: float
    calibration_records: int
    workers: int
    models: list[str] = Field(description="Names of all models that are served.")
    allowed: dict[str, bool] = Field(description="What the sender may do: score, read the model, promote versions.")
