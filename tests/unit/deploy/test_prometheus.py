"""The rules against the documents: each on a metric that exists, with a runbook section and a test of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from vaegis.service.http.routes import ROUTES, SCORING

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "prometheus"
GROUPS = YAML(typ="safe").load(FOLDER / "rules.yml")["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


@needs_promtool
def test_every_alert_fires_when_it_should_and_not_otherwise():
    tested = subprocess.run(
        ["promtool", "test", "rules", FOLDER / "rules_test.yml"], capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


@needs_promtool
def test_the_configuration_is_valid():
    checked = subprocess.run(
        ["promtool", "check", "config", FOLDER / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_is_expected_to_fire_in_a_test():
    tests = (FOLDER / "rules_test.yml").read_text(encoding="utf-8")
    fired = set(re.findall(r'ALERTS\{alertname="(\w+)", alertstate="firing"', tests))
    fired |= set(re.findall(r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n", tests))
    assert fired == set(ALERTS)


def test_every_alert_has_a_section_and_its_severity_in_the_runbook_and_names_it():
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == list(ALERTS)
    severities = {}
    for severity, alerts in re.findall(r"^\| (critical|warning|info)\b[^|]*\| ([^|]*) \|", RUNBOOK, re.MULTILINE):
        severities |= dict.fromkeys(re.findall(r"\[(\w+)\]", alerts), severity)
    assert severities == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"


def test_every_metric_of_the_rules_is_documented_or_recorded():
    documented = set(
        re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    for rule in RULES:
        named = set(re.findall(r"(?:job\w*:)?vaegis_\w+(?::\w+)?", rule["expr"]))
        assert {re.sub(r"_(bucket|count)$", "", name) for name in named} - documented - recorded == set()
        assert named or rule["alert"] == "VaegisDown"


def test_every_label_of_the_rules_is_documented_of_its_metric():
    labels = dict(
        re.findall(r"^\| `(\w+)` \| \w+ \| ([^|]*)\|", (ROOT / "docs" / "metrics.md").read_text("utf-8"), re.MULTILINE)
    )
    from_prometheus = {"namespace", "job", "le"}
    seen = 0
    for rule in RULES:
        used = re.findall(r"by \(([^)]+)\) \((?:\w+\()?(vaegis_\w+)(?:\{([^}]*)\})?", rule["expr"])
        for by, metric, matchers in used:
            named = set(by.split(", ")) | set(re.findall(r"(\w+)(?:=|!~)", matchers))
            documented = labels[re.sub(r"_(bucket|count)$", "", metric)].strip().split(", ")
            assert named - from_prometheus <= set(documented), (metric, named)
            seen += 1
    assert seen > 20


def test_the_objective_counts_every_route_that_scores_records_and_no_other():
    scoring = {path for route in ROUTES if route.scopes == SCORING for path in route.paths} - {"/generate", "/drill"}
    paths = {path for route in ROUTES for path in route.paths}
    patterns = {pattern for rule in RULES for pattern in re.findall(r'route=~"([^"]+)"', rule["expr"])}
    assert patterns
    for pattern in patterns:
        assert {path for path in paths if re.fullmatch(pattern, path)} == scoring
