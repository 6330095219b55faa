"""The manifests against the service: its settings, its drain, its rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from vaegis.service.settings import load_settings

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "kubernetes"


def read(path: str) -> Any:
    return YAML(typ="safe").load(FOLDER / path)


DEPLOYMENT = read("base/deployment.yaml")["spec"]["template"]["spec"]
JOB = read("components/retraining/cronjob.yaml")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
KSERVE = read("kserve/inferenceservice.yaml")["spec"]["predictor"]
COPY = read("model-copy.yaml")["spec"]
CONTAINERS = {
    container["name"]: container
    for pod in (DEPLOYMENT, JOB, KSERVE, COPY)
    for container in [*pod.get("initContainers", []), *pod["containers"]]
}


def test_the_settings_are_those_of_the_service():
    (generated,) = read("base/kustomization.yaml")["configMapGenerator"]
    given = dict(literal.split("=", 1) for literal in generated["literals"])
    settings = load_settings(given, {})
    assert settings.host == "0.0.0.0"


def test_the_grace_period_covers_the_whole_drain():
    (generated,) = read("base/kustomization.yaml")["configMapGenerator"]
    settings = load_settings(dict(literal.split("=", 1) for literal in generated["literals"]), {})
    (container,) = DEPLOYMENT["containers"]
    _, before_stop_s = container["lifecycle"]["preStop"]["exec"]["command"]
    needed_s = float(before_stop_s) + settings.drain_delay_s + settings.shutdown_grace_s
    assert DEPLOYMENT["terminationGracePeriodSeconds"] >= needed_s + 5


def test_the_startup_probe_waits_as_long_as_the_model_may_take():
    probe = DEPLOYMENT["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > load_settings({}, {}).model_timeout_s


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_fit_the_restricted_pod_security_standard(name):
    security = CONTAINERS[name]["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert CONTAINERS[name]["resources"]["limits"]["memory"]
    for pod in (DEPLOYMENT, JOB, COPY):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False


def test_the_operator_s_rules_are_those_of_prometheus(load_script):
    script = load_script(FOLDER / "components" / "monitoring" / "make_prometheus_rule.py")
    written = FOLDER / "components" / "monitoring" / "prometheus-rule.yaml"
    assert written.read_text(encoding="utf-8") == script.manifest()
    rules = YAML(typ="safe").load(ROOT / "deploy" / "prometheus" / "rules.yml")
    assert read("components/monitoring/prometheus-rule.yaml")["spec"] == rules


def test_selectors_find_the_pods():
    labels = read("base/deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    assert read("base/deployment.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert read("base/service.yaml")["spec"]["selector"] == labels
    assert read("base/disruption.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert read("base/network.yaml")["spec"]["podSelector"]["matchLabels"] == labels
    assert read("components/monitoring/service-monitor.yaml")["spec"]["selector"]["matchLabels"] == labels
