"""The dashboard: made by its script, and of the structure that Grafana reads."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((FOLDER / "dashboards" / "vaegis.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_the_file_is_what_its_script_writes(load_script):
    assert load_script(FOLDER / "make_dashboard.py").dashboard() == DASHBOARD


def test_panels_have_their_own_ids_and_places_within_the_grid():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
    for a, b in combinations((panel["gridPos"] for panel in DASHBOARD["panels"]), 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, (a, b)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_asks_the_chosen_source(panel):
    assert panel["type"] in {"stat", "table", "timeseries", "bargauge"}
    assert panel["description"].endswith(".")
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGH"[: len(panel["targets"])])
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert 'job=~"$job"' in target["expr"]
        assert target["range"] != target["instant"]


def test_every_series_shown_is_a_documented_metric_or_recorded():
    rules = YAML(typ="safe").load(ROOT / "deploy" / "prometheus" / "rules.yml")["groups"]
    recorded = {rule["record"] for group in rules for rule in group["rules"] if "record" in rule}
    documented = re.findall(
        r"^\| `(\w+)`", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    known = recorded | set(documented) | {"up", "ALERTS"}
    for panel in PANELS:
        for target in panel["targets"]:
            named = set(re.findall(r'([\w:]+)\{[^}]*job=~"\$job"', target["expr"]))
            assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} - known == set()


def test_provisioning_points_to_the_folder_and_the_server_of_the_compose_file():
    source = YAML(typ="safe").load(FOLDER / "provisioning" / "datasources" / "prometheus.yml")
    provider = YAML(typ="safe").load(FOLDER / "provisioning" / "dashboards" / "vaegis.yml")
    grafana = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"]["grafana"]
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    targets = {volume["source"]: volume["target"] for volume in grafana["volumes"] if volume["type"] == "bind"}
    assert targets["./deploy/grafana/dashboards"] == provider["providers"][0]["options"]["path"]
    assert targets["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
