"""Write dashboards/vaegis.json, the dashboard that Grafana loads. Change the panels here, then run this script."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).parent / "dashboards" / "vaegis.json"
WIDTH = 24  # of Grafana's grid
SCORING = 'job=~"$job", route=~".*/score|.+/infer"'

Json = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """A panel: its type, how wide it is, and its queries by the name that the legend shows."""

    title: str
    kind: str
    width: int
    queries: dict[str, str]
    description: str
    unit: str = "short"
    thresholds: Sequence[tuple[float | None, str]] = ((None, "green"),)
    height: int = 8
    mappings: Sequence[Json] = ()
    columns: dict[str, str] = field(default_factory=dict)
    """Labels that a table shows, each with its heading."""


@dataclass(frozen=True)
class Row:
    """A row of panels under a heading."""

    title: str
    panels: Sequence[Panel]


def column_share(meaning: str) -> str:
    """Return the series of the share of records, by column, whose value has that meaning."""
    return f'job_column:vaegis_column_{meaning}:ratio5m{{job=~"$job"}}'


def worst_columns(meaning: str) -> str:
    """Return the query of the five columns with the largest share."""
    return f"topk(5, {column_share(meaning)})"


def rise(meaning: str) -> str:
    """Return the query of the columns whose share has risen most against the hour before."""
    return f"topk(5, {column_share(meaning)} - avg_over_time({column_share(meaning)}[1h]))"


def p_values_up_to(bound: str) -> str:
    """Return the query of the share of p-values up to ``bound``."""
    series = 'sum(rate(vaegis_p_value_bucket{{job=~"$job", le="{}"}}[$__rate_interval]))'
    return f"{series.format(bound)} / ({series.format('+Inf')} > 0)"


UP_OR_DOWN = [{"type": "value", "options": {"0": {"text": "DOWN"}, "1": {"text": "up"}}}]

ROWS = [
    Row(
        "At a glance",
        [
            Panel(
                "Up",
                "stat",
                3,
                {"up": 'min(up{job=~"$job"})'},
                "Whether Prometheus reaches every instance.",
                thresholds=((None, "red"), (1, "green")),
                height=4,
                mappings=UP_OR_DOWN,
            ),
            Panel(
                "Records",
                "stat",
                3,
                {"records": 'sum(job:vaegis_records_scored:rate5m{job=~"$job"})'},
                "Records scored each second.",
                unit="cps",
                thresholds=((None, "orange"), (0.001, "green")),
                height=4,
            ),
            Panel(
                "Flagged",
                "stat",
                3,
                {"flagged": 'max(job_model:vaegis_records_flagged:ratio5m{job=~"$job"})'},
                "Share of the records of five minutes that are flagged.",
                unit="percentunit",
                height=4,
            ),
            Panel(
                "Promised",
                "stat",
                3,
                {"alpha": 'max(job_model:vaegis_alpha:ratio{job=~"$job"})'},
                "alpha: at most this share of normal records is flagged.",
                unit="percentunit",
                height=4,
            ),
            Panel(
                "Answered in",
                "stat",
                3,
                {
                    "p95": "histogram_quantile(0.95, sum by (le) "
                    f"(rate(vaegis_request_duration_seconds_bucket{{{SCORING}}}[$__rate_interval])))"
                },
                "95% of the scoring requests are answered within this time.",
                unit="s",
                thresholds=((None, "green"), (0.5, "orange"), (1, "red")),
                height=4,
            ),
            Panel(
                "Refused",
                "stat",
                3,
                {"refused": 'max(job_model:vaegis_records_refused:ratio5m{job=~"$job"})'},
                "Share of the records of five minutes that do not fit the schema.",
                unit="percentunit",
                thresholds=((None, "green"), (0.01, "orange"), (0.1, "red")),
                height=4,
            ),
            Panel(
                "Alerts",
                "table",
                6,
                {
                    "alerts": "sort_desc(sum by (alertname, column, severity) "
                    '(ALERTS{alertname=~"Vaegis.+", alertstate="firing", job=~"$job"}))'
                },
                "Alerts that fire now. docs/runbook.md has a section for each.",
                height=4,
                columns={"alertname": "alert", "column": "column", "severity": "severity"},
            ),
        ],
    ),
    Row(
        "Is the promise kept?",
        [
            Panel(
                "Flagged beside promised",
                "timeseries",
                9,
                {
                    "flagged {{model}}": 'job_model:vaegis_records_flagged:ratio5m{job=~"$job"}',
                    "promised (alpha) {{model}}": 'job_model:vaegis_alpha:ratio{job=~"$job"}',
                    "by chance {{model}}": 'job_model:vaegis_records_flagged_highest_expected:ratio5m{job=~"$job"}',
                },
                "Above 'by chance', the most that chance explains: anomalies, or data that have changed.",
                unit="percentunit",
            ),
            Panel(
                "p-values",
                "timeseries",
                6,
                {f"at most {bound}": p_values_up_to(bound) for bound in ("0.05", "0.25", "0.5", "0.75")},
                "On normal data each line stays at its own bound: half of the p-values are at most 0.5.",
                unit="percentunit",
            ),
            Panel(
                "Scores",
                "timeseries",
                6,
                {
                    f"{share:.0%}": f"histogram_quantile({share}, "
                    'sum by (le) (rate(vaegis_score_bucket{job=~"$job"}[$__rate_interval])))'
                    for share in (0.5, 0.9, 0.99)
                },
                "If the median moves, the data drift. If only the top moves, there are anomalies.",
            ),
            Panel(
                "Drills missed",
                "stat",
                3,
                {"missed": 'sum(increase(vaegis_drills_total{job=~"$job", outcome="missed"}[1h]))'},
                "Records of an hour that POST /drill made to be flagged and that were not.",
                thresholds=((None, "green"), (0.5, "red")),
            ),
        ],
    ),
    Row(
        "Which columns, and why?",
        [
            Panel(
                "Anomalies by signature",
                "timeseries",
                6,
                {
                    "{{model}} {{signature}}": "topk(8, sum by (model, signature) "
                    '(rate(vaegis_anomalies_by_signature_total{job=~"$job"}[$__rate_interval])))'
                },
                "Anomalies each second by what led to them; answers have the same text in their field signature.",
                unit="cps",
            ),
            Panel(
                "Violations",
                "timeseries",
                5,
                {"{{model}} {{column}} {{code}}": 'topk(5, job_column_code:vaegis_violations:ratio5m{job=~"$job"})'},
                "Share of the records whose value breaks a check of its column, by column and check.",
                unit="percentunit",
            ),
            Panel(
                "Out of range",
                "timeseries",
                4,
                {"{{model}} {{column}}": worst_columns("out_of_range")},
                "Share of the records with a number outside the range seen in training.",
                unit="percentunit",
            ),
            Panel(
                "Unseen categories",
                "timeseries",
                3,
                {"{{model}} {{column}}": worst_columns("unseen")},
                "Share of the records with a category that training did not know.",
                unit="percentunit",
            ),
            Panel(
                "Missing",
                "timeseries",
                3,
                {"{{model}} {{column}}": worst_columns("missing")},
                "Share of the records in which the column is null.",
                unit="percentunit",
            ),
            Panel(
                "Refused records",
                "timeseries",
                3,
                {"{{code}}": 'sum by (code) (rate(vaegis_records_refused_total{job=~"$job"}[$__rate_interval]))'},
                "Records each second that do not fit the schema, by the code of their first fault (docs/errors.md).",
                unit="cps",
            ),
        ],
    ),
    Row(
        "What changed?",
        [
            Panel(
                "Columns against the hour before",
                "bargauge",
                12,
                {
                    f"{{{{model}}}} {{{{column}}}} {meaning.replace('_', ' ')}": rise(meaning)
                    for meaning in ("out_of_range", "unseen", "missing")
                },
                "Share of the last five minutes, minus that of the last hour.",
                unit="percentunit",
            ),
            Panel(
                "Models that are live",
                "table",
                12,
                {
                    "models": 'count by (model, digest, version) (vaegis_model_info{job=~"$job"})',
                },
                "One line for each file that is served, with the number of instances that serve it.",
                columns={"model": "model", "digest": "digest", "version": "trained by vaegis", "Value": "instances"},
            ),
        ],
    ),
    Row(
        "Is it fast?",
        [
            Panel(
                "Requests by status",
                "timeseries",
                6,
                {"{{status}}": 'sum by (status) (rate(vaegis_requests_total{job=~"$job"}[$__rate_interval]))'},
                "Requests each second. 429: too many for this number of replicas. 5xx: look at the log.",
                unit="reqps",
            ),
            Panel(
                "Time of a request",
                "timeseries",
                6,
                {
                    f"{share:.0%}": f"histogram_quantile({share}, sum by (le) "
                    f"(rate(vaegis_request_duration_seconds_bucket{{{SCORING}}}[$__rate_interval])))"
                    for share in (0.5, 0.95, 0.99)
                },
                "From a request's headers to the end of its answer, with the upload.",
                unit="s",
            ),
            Panel(
                "Where the time goes",
                "timeseries",
                6,
                {
                    name: f'sum(rate(vaegis_{metric}_seconds_sum{{job=~"$job"}}[$__rate_interval]))'
                    f' / (sum(rate(vaegis_{metric}_seconds_count{{job=~"$job"}}[$__rate_interval])) > 0)'
                    for name, metric in (("waiting", "queue"), ("scoring", "inference"))
                },
                "Mean time in the queue and in the model. The queue grows first under load.",
                unit="s",
            ),
            Panel(
                "CPU and memory",
                "timeseries",
                6,
                {
                    "cores": 'sum(rate(process_cpu_seconds_total{job=~"$job"}[$__rate_interval]))',
                    "GiB": 'sum(process_resident_memory_bytes{job=~"$job"}) / 2^30',
                    "workers": 'sum(vaegis_workers{job=~"$job"})',
                },
                "Of all instances together.",
            ),
        ],
    ),
]


def panels() -> Iterator[Json]:
    """Yield Grafana's panels, each at its place."""
    number, top = 1, 0
    for row in ROWS:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
        }
        number, top, left = number + 1, top + 1, 0
        for panel in row.panels:
            yield {
                "id": number,
                "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
                **as_json(panel),
            }
            number, left = number + 1, left + panel.width
        top += max(panel.height for panel in row.panels)


def as_json(panel: Panel) -> Json:
    """Return a panel without its place."""
    instant = panel.kind != "timeseries"
    source = {"type": "prometheus", "uid": "${datasource}"}
    document: Json = {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": source,
                "expr": expression,
                "legendFormat": name,
                "instant": instant,
                "range": not instant,
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for number, (name, expression) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "mappings": list(panel.mappings),
                "thresholds": {
                    "mode": "absolute",
                    "steps": [{"value": value, "color": color} for value, color in panel.thresholds],
                },
            },
            "overrides": [],
        },
        "options": OPTIONS[panel.kind],
    }
    if panel.columns:
        shown = [name for name in ("Time", "Value") if name not in panel.columns]
        document["transformations"] = [
            {
                "id": "organize",
                "options": {
                    "excludeByName": dict.fromkeys(shown, True),
                    "indexByName": {name: position for position, name in enumerate(panel.columns)},
                    "renameByName": panel.columns,
                },
            }
        ]
    return document


LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
OPTIONS: dict[str, Json] = {
    "stat": {"reduceOptions": LAST, "colorMode": "background", "graphMode": "none", "textMode": "value"},
    "table": {"showHeader": True, "cellHeight": "sm"},
    "bargauge": {"reduceOptions": LAST, "displayMode": "basic", "orientation": "horizontal", "valueMode": "color"},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
}


def dashboard() -> Json:
    """Return the whole document."""
    return {
        "uid": "vaegis",
        "title": "vaegis",
        "description": "Is it up and fast? Is the promise kept? Which columns, and why? What changed? Which model?",
        "tags": ["vaegis"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-15m", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "job",
                    "label": "Job",
                    "type": "query",
                    "datasource": {"type": "prometheus", "uid": "${datasource}"},
                    "query": {"query": "label_values(vaegis_model_info, job)", "refId": "job"},
                    "refresh": 2,
                    "includeAll": True,
                    "multi": True,
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "A model was loaded",
                    "datasource": {"type": "prometheus", "uid": "${datasource}"},
                    "enable": True,
                    "iconColor": "blue",
                    "target": {
                        "expr": 'changes(vaegis_model_loaded_timestamp_seconds{job=~"$job"}[$__rate_interval]) > 0',
                        "refId": "Anno",
                    },
                    "titleFormat": "A model was loaded",
                }
            ]
        },
        "links": [],
        "panels": list(panels()),
    }


if __name__ == "__main__":
    OUTPUT.write_text(json.dumps(dashboard(), indent=2) + "\n", encoding="utf-8")
