"""The live page: its files, and the counts of all workers that it polls."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, Final

from fastapi import Request, Response
from prometheus_client import CollectorRegistry
from pydantic import Field
from starlette.types import Scope

from vaegis.service.auth.keys import Access
from vaegis.service.http.models.registry import ModelRegistry
from vaegis.service.http.observability.metrics import BY_SIGNATURE
from vaegis.service.http.request_context import CONTEXT, RequestContext
from vaegis.service.http.routes import ROUTES, SCORING
from vaegis.service.http.schemas import EXAMPLE_DIGEST, Answer, rendered, with_example

COUNTS: Final = "/live.json"
FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/draw.js": ("draw.js", "text/javascript; charset=utf-8"),
    "/versions.js": ("versions.js", "text/javascript; charset=utf-8"),
    "/page.svg": ("page.svg", "image/svg+xml"),
}
"""The files of the page by their paths, and their media types."""

_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_GAUGES: Final[Mapping[str, tuple[str, type[float | int]]]] = {
    "vaegis_alpha_ratio": ("alpha", float),
    "vaegis_threshold": ("threshold", float),
    "vaegis_calibration_records": ("calibration_records", int),
    "vaegis_workers": ("workers", int),
}
_RECORDS: Final = {
    "vaegis_records_scored_total": "scored",
    "vaegis_records_flagged_total": "flagged",
    "vaegis_records_violating_total": "violating",
}
_SCORING: Final = frozenset(route.template for route in ROUTES if route.method == "POST" and route.scopes == SCORING)
_BY_LABEL: Final = {"vaegis_records_refused_total": ("refused", "code"), BY_SIGNATURE: ("signatures", "signature")}
_COLUMNS: Final = {
    "vaegis_column_missing_total": "missing",
    "vaegis_column_unseen_total": "unseen",
    "vaegis_column_out_of_range_total": "out_of_range",
}


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
        shows_values=False,
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
    shows_values: bool = Field(description="Whether the page shows values of past records (VAEGIS_SHOW_VALUES).")


def page_endpoints(
    registry: CollectorRegistry, models: ModelRegistry, can_promote: Callable[[Scope], bool], *, shows_values: bool
) -> dict[str, Callable[..., Any]]:
    """Return the endpoints of the page, by template; ``shows_values`` has it show values of past records."""

    # Not a coroutine: the framework runs it on a thread, because collecting takes milliseconds.
    def get_live_counts(request: Request, model: str | None = None) -> Response:
        """Give the counts that the live page shows of a model, of all workers since the service started."""
        name = models.default.name if model is None else models.entry(model).name
        context: RequestContext = request.scope[CONTEXT]
        allowed = {scope.value: context.allows(scope) for scope in (Access.SCORE, Access.MODEL)}
        allowed["promote"] = can_promote(request.scope)
        page = {"models": models.names(), "allowed": allowed, "shows_values": shows_values}
        return Response(
            rendered(live_counts(registry, name) | page),
            media_type="application/json",
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )

    folder = files(__package__)
    served = {path: _file_endpoint((folder / name).read_bytes(), kind) for path, (name, kind) in FILES.items()}
    return {COUNTS: get_live_counts, **served}


def live_counts(registry: CollectorRegistry, model: str) -> dict[str, Any]:
    """Return what the page shows of a model, counted since the service started: no value of any record.

    Metrics without the label `model` are those of the only one.
    """
    counts: dict[str, Any] = {
        "model": {},
        "records": dict.fromkeys(_RECORDS.values(), 0),
        "refused": {},
        "signatures": {},
        "requests": {},
        "seconds": {},
        "p_values": [],
        "columns": {},
    }
    samples = (sample for metric in registry.collect() for sample in metric.samples)
    for sample in samples:
        name, labels = sample.name, sample.labels
        if labels.get("model", model) == model:
            if labels.get("route") in _SCORING:
                _count_requests(counts, name, labels, int(sample.value))
            elif name in _RECORDS:
                counts["records"][_RECORDS[name]] = int(sample.value)
            elif "column" in labels:
                _count_column(counts["columns"], name, labels, int(sample.value))
            elif name in _BY_LABEL:
                key, label = _BY_LABEL[name]
                counts[key][labels[label]] = int(sample.value)
            elif name == "vaegis_p_value_bucket":
                counts["p_values"].append((float(labels["le"]), int(sample.value)))
            elif name == "vaegis_model_info" and sample.value:
                counts["model"] = {key: labels[key] for key in ("model", "digest", "version")}
            elif name in _GAUGES:
                field, kind = _GAUGES[name]
                counts[field] = kind(sample.value)
    # The greatest p-value is 1, so the bucket beyond it stays empty. Buckets are cumulative, as in the metric.
    bounds = sorted(pair for pair in counts["p_values"] if pair[0] <= 1.0)
    counts["p_values"] = [{"at_most": bound, "count": count} for bound, count in bounds]
    return counts


def _count_requests(counts: dict[str, Any], name: str, labels: Mapping[str, str], count: int) -> None:
    """Add a count of requests that score, of whatever model, by the first digit of their status or by their time."""
    if name == "vaegis_requests_total":
        key, where = labels["status"][0] + "xx", counts["requests"]
    elif name == "vaegis_request_duration_seconds_bucket" and labels["status"] == "200":
        key, where = labels["le"], counts["seconds"]
    else:
        return
    where[key] = where.get(key, 0) + count


def _count_column(columns: dict[str, dict[str, Any]], name: str, labels: Mapping[str, str], count: int) -> None:
    """Put a count of one column where it belongs, if the page shows it."""
    column = columns.setdefault(labels["column"], {**dict.fromkeys(_COLUMNS.values(), 0), "violations": {}})
    if name in _COLUMNS:
        column[_COLUMNS[name]] = count
    elif name == "vaegis_violations_total":
        column["violations"][labels["code"]] = count


def _file_endpoint(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that answers with ``content``, or 304 to a browser that has it."""
    headers = {**_HEADERS, "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}

    async def get_page_file(request: Request) -> Response:
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if headers["ETag"] in known:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return get_page_file
