"""The manifests: built by kubectl, valid by Kubernetes's own schemas, and run as a pod by podman."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
COMMANDS = Path(sys.executable).parent
IMAGE = os.environ.get("CONTAINER_IMAGE", "vaegis:ci")
COPY = FOLDER / "model-copy.yaml"
RUN_BY_PODMAN = {"ConfigMap", "Deployment"}

Podman = Callable[..., str]


def build(folder: str) -> str:
    built = subprocess.run(
        [COMMANDS / "kubectl", "kustomize", FOLDER / folder], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return built.stdout


def manifests(text: str) -> list[dict]:
    return list(YAML(typ="safe").load_all(text))


@pytest.mark.parametrize("folder", ["base", "overlays/example", "overlays/retraining"])
def test_manifests_are_valid_by_the_schemas_of_kubernetes(folder: str, tmp_path: Path) -> None:
    path = tmp_path / "manifests.yaml"
    path.write_text(build(folder) + "---\n" + COPY.read_text(encoding="utf-8"), encoding="utf-8")
    checked = subprocess.run(
        [COMMANDS / "kubernetes-validate", "--strict", path], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (checked.stdout + checked.stderr).count(" passed ") >= 7


def test_the_overlay_changes_what_it_says() -> None:
    found = {
        (document["kind"], document["metadata"]["name"]): document for document in manifests(build("overlays/example"))
    }
    assert {document["metadata"].get("namespace") for document in found.values()} == {"shop"}
    (container,) = found["Deployment", "vaegis"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/vaegis:0.1.0"
    assert found["HorizontalPodAutoscaler", "vaegis"]["spec"]["maxReplicas"] == 4
    assert ("PrometheusRule", "vaegis") in found


@pytest.fixture
def pod(golden_model: Path, tmp_path: Path, podman: Podman, free_port: Callable[[], int]) -> Iterator[tuple[str, str]]:
    """Run the base as one pod; its address and a key of scope model."""
    made = subprocess.run(
        ("podman", "run", "--rm", IMAGE, "key", "tester", "--scopes", "model"),
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "keys.txt").write_text(made.stdout, encoding="utf-8")
    documents = [document for document in manifests(build("base")) if document["kind"] in RUN_BY_PODMAN]
    port = free_port()
    for document in documents:
        if document["kind"] == "Deployment":
            spec = document["spec"]["template"]["spec"]
            (container,) = spec["containers"]
            container["image"] = IMAGE
            container["ports"][0] |= {"hostPort": port, "hostIP": "127.0.0.1"}
            # Older versions of podman mount a secret without decoding it.
            (keys,) = [volume for volume in spec["volumes"] if "secret" in volume]
            del keys["secret"]
            keys["hostPath"] = {"path": str(tmp_path / "keys"), "type": "Directory"}
    path = tmp_path / "pod.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump_all(documents, file)
    copy = ("--user", "0", "--entrypoint", "cp", "--volume", f"{golden_model}:/golden.onnx:ro")
    podman("run", "--rm", *copy, "--volume", "vaegis-models:/models", IMAGE, "/golden.onnx", "/models/orders.onnx")
    try:
        podman("play", "kube", str(path))
        yield f"http://127.0.0.1:{port}", made.stderr.split()[-1]
    finally:
        podman("pod", "rm", "--force", "vaegis-pod-0")
        podman("volume", "rm", "--force", "vaegis-models", "tmp")


def test_the_pod_of_the_base_runs_and_answers_its_key(pod: tuple[str, str], wait_until: Callable[..., None]) -> None:
    address, key = pod

    def get(path: str, **headers: str) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(address + path, headers=headers), timeout=10) as answer:
                json.load(answer)
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    wait_until(lambda: get("/readyz") == 200, "a ready pod")
    assert get("/model", Authorization=f"Bearer {key}") == 200
    assert get("/model") == 401
