"""docker-compose.yml from nothing to an alert, with podman-compose.

Prometheus and Alertmanager are those of this machine, each put into an image, so no registry is needed. Grafana is left
out. The test puts a model into the volume; `make training-image-test` has it trained instead, which takes minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("CONTAINER_IMAGE", "vaegis:ci")
FEEDER_IMAGE = "vaegis-feeder:ci"
TRAINING_IMAGE = os.environ.get("CONTAINER_TRAINING_IMAGE")
"""Image that trains the sample; None to leave that out."""
COMPOSE = Path(sys.executable).parent / "podman-compose"
WaitUntil = Callable[[Callable[[], object], str], None]
SERVICES = ("train", "vaegis", "feeder", "webhook", "prometheus", "alertmanager")


@dataclass(frozen=True)
class Project:
    """A project of podman-compose, by name."""

    name: str
    environment: dict[str, str]
    podman: Callable[..., str]

    def compose(self, *arguments: str) -> str:
        command = [COMPOSE, "--project-name", self.name, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def restart(self, service: str) -> None:
        """Restart a service. podman-compose would say that it did even if podman refused."""
        self.podman("restart", "--time", "60", f"{self.name}_{service}_1")

    def logs(self, service: str) -> str:
        command = ["podman", "logs", f"{self.name}_{service}_1"]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout

    def put_model(self, file: Path) -> None:
        """Put a file into the volume as the model."""
        copy = ("--user", "0", "--entrypoint", "cp", "--volume", f"{file}:/new.onnx:ro")
        volume = ("--volume", f"{self.name}_models:/models")
        self.podman("run", "--rm", *copy, *volume, IMAGE, "/new.onnx", "/models/model.onnx")

    def get(self, path: str) -> str:
        address = f"http://127.0.0.1:{self.environment['VAEGIS_HOST_PORT']}{path}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.read().decode()


@pytest.fixture(scope="module")
def server_images(podman: Callable[..., str]) -> dict[str, str]:
    """Images of this machine's Prometheus and Alertmanager, by the variable of docker-compose.yml that names them."""
    images = {}
    for variable, program in (("PROMETHEUS_IMAGE", "prometheus"), ("ALERTMANAGER_IMAGE", "alertmanager")):
        binary = shutil.which(program) or shutil.which(f"prometheus-{program}")
        assert binary is not None, f"expected {program} on the PATH"
        container = podman("create", FEEDER_IMAGE)
        podman("cp", binary, f"{container}:/usr/local/bin/{program}")
        if Path("/usr/share/prometheus").is_dir():  # Debian's keeps its templates there
            podman("cp", "/usr/share/prometheus", f"{container}:/usr/share/")
        image = f"localhost/own-{program}:ci"
        podman("commit", "--change", f'ENTRYPOINT ["/usr/local/bin/{program}"]', "--change", "USER 0", container, image)
        podman("rm", container)
        images[variable] = image
    return images


@pytest.fixture(scope="module")
def project(
    server_images: dict[str, str], golden_model: Path, free_port: Callable[[], int], podman: Callable[..., str]
) -> Iterator[Project]:
    """Everything of docker-compose.yml but Grafana, up from a fresh volume."""
    name = f"vaegis-test-{os.getpid()}"
    environment = {
        **os.environ,
        **server_images,
        "VAEGIS_IMAGE": IMAGE,
        "FEEDER_IMAGE": FEEDER_IMAGE,
        "TRAINING_IMAGE": TRAINING_IMAGE or IMAGE,
        **{f"{server}_HOST_PORT": str(free_port()) for server in ("VAEGIS", "PROMETHEUS", "ALERTMANAGER")},
    }
    project = Project(name, environment, podman)
    if TRAINING_IMAGE is None:
        project.put_model(golden_model)
    try:
        project.compose("run", "--rm", "train")  # as `make up` does
        project.compose("up", "--detach", "--no-build", "--no-deps", *SERVICES)
        yield project
    finally:
        project.compose("down", "--volumes")
        podman("volume", "rm", "--force", f"{name}_models")


def test_an_alert_about_the_fed_records_reaches_the_webhook(project: Project, wait_until: WaitUntil) -> None:
    wait_until(lambda: "FIRING   VaegisFlaggedShareHigh" in project.logs("webhook"), "the alert in the webhook's log")
    (scored,) = re.findall(r"^vaegis_records_scored_total\{.*\} (\S+)$", project.get("/metrics"), re.MULTILINE)
    assert float(scored) >= 1_000


def test_training_is_skipped_when_the_model_is_there(
    project: Project, podman: Callable[..., str], wait_until: WaitUntil
) -> None:
    def model() -> str:
        return re.search(r'^vaegis_model_info\{.*digest="(\S+?)"', project.get("/metrics"), re.MULTILINE)[1]

    digest = model()
    podman("start", f"{project.name}_train_1")
    assert podman("wait", f"{project.name}_train_1") == "0"
    project.restart("vaegis")
    wait_until(lambda: model() == digest, "the same model")


def test_a_broken_model_is_named_in_the_log_until_another_is_put_in_its_place(
    project: Project, podman: Callable[..., str], wait_until: WaitUntil, golden_model: Path, tmp_path: Path
) -> None:
    def restarts() -> int:
        return int(podman("inspect", "--format", "{{.RestartCount}}", f"{project.name}_vaegis_1"))

    broken = tmp_path / "broken.onnx"
    broken.write_bytes(golden_model.read_bytes()[:1000])
    fault = "/models/model.onnx: expected a complete ONNX file, got 1000 bytes"
    wait_until(lambda: project.get("/readyz"), "a service that is ready")
    project.put_model(broken)
    wait_until(lambda: fault in project.get("/models"), "the reason why the new file is not served")
    assert project.get("/readyz")

    project.restart("vaegis")
    wait_until(lambda: restarts() > 0, "a start after one that failed")
    assert f"vaegis: error: {fault}" in project.logs("vaegis")
    project.put_model(golden_model)
    wait_until(lambda: project.get("/readyz"), "a service that is ready, without a command of the operator")
