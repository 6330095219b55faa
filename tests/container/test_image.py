"""The image does its job under the restrictions that docker-compose.yml puts on it.

`make container-test` builds the image first. CONTAINER_IMAGE and CONTAINER_MODEL name another image and another model.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("CONTAINER_IMAGE", "vaegis:ci")
MODEL = Path(os.environ.get("CONTAINER_MODEL", ROOT / "tests" / "golden" / "orders-v2.onnx")).resolve()
ADDED_BYTES = 120_000_000
FORBIDDEN = ("torch", "onnx", "onnxscript", "pandas", "pyarrow", "scipy", "sklearn", "vaegis.training")

OPEN = ("--env", "VAEGIS_OPEN=true")

Podman = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Container:
    """A running container and the address its port is published at."""

    id: str
    address: str
    podman: Podman

    def call(self, path: str, body: object = None, key: str | None = None) -> Any:
        request = urllib.request.Request(f"http://{self.address}{path}")
        if key is not None:
            request.add_header("Authorization", f"Bearer {key}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def run(self, *command: str) -> str:
        return self.podman("exec", self.id, *command)


@pytest.fixture(scope="module")
def start_container(podman: Podman, wait_until: Callable[..., None]) -> Iterator[Callable[..., Container]]:
    """Start containers as restricted as in docker-compose.yml; each is removed by its id at the end."""
    started: list[str] = []

    def start(*more: str) -> Container:
        assert MODEL.is_file(), f"expected a trained model at {MODEL}"
        container_id = podman(
            *("run", "--detach", "--read-only", "--tmpfs", "/tmp:rw,size=16m", "--cap-drop", "ALL"),
            *("--security-opt", "no-new-privileges", "--memory", "512m", "--pids-limit", "128", "--cpus", "1"),
            *("--publish", "127.0.0.1::8080", "--volume", f"{MODEL}:/models/model.onnx:ro", *more, IMAGE),
        )
        started.append(container_id)
        container = Container(container_id, podman("port", container_id, "8080/tcp"), podman)
        try:
            wait_until(lambda: container.call("/readyz"), "a ready service")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{podman('logs', container_id)}") from None
        return container

    yield start
    for container_id in started:
        podman("rm", "--force", "--time", "0", container_id)


@pytest.fixture(scope="module")
def container(start_container: Callable[..., Container]) -> Container:
    return start_container(*OPEN)


@pytest.fixture(scope="module")
def records(container: Container) -> list[dict[str, Any]]:
    """Records that the model itself holds for ordinary."""
    return container.call("/generate", {"count": 200, "seed": 7})["records"]


def test_records_posted_from_outside_get_verdicts(container: Container, records: list[dict[str, Any]]) -> None:
    answer = container.call("/score", records)
    assert len(answer["results"]) == len(records)
    assert all(0 < result["p_value"] <= 1 for result in answer["results"])
    assert all(result["is_anomaly"] == (result["p_value"] <= answer["alpha"]) for result in answer["results"])
    assert sum(result["is_anomaly"] for result in answer["results"]) < len(records) / 4


def test_an_absurd_record_is_flagged_and_its_columns_are_named(
    container: Container, records: list[dict[str, Any]]
) -> None:
    column = next(name for name, value in records[0].items() if isinstance(value, float))
    answer = container.call("/score?explain=all", {**records[0], column: 1e12})
    (result,) = answer["results"]
    assert result["is_anomaly"]
    assert result["contributions"][0]["column"] == column
    total = math.fsum([part["contribution"] for part in result["contributions"]] + [result["latent_contribution"]])
    assert total == pytest.approx(result["score"], rel=1e-4)


def test_a_record_outside_the_schema_is_answered_422(container: Container) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        container.call("/score", {"no_such_column": 1})
    with refused.value as answer:
        assert answer.status == 422
        assert answer.headers["Content-Type"].startswith("application/problem+json")


def test_the_metrics_pass_the_prometheus_linter(container: Container) -> None:
    with urllib.request.urlopen(f"http://{container.address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "vaegis_" in text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_the_image_s_own_health_check_passes(container: Container, podman: Podman) -> None:
    podman("healthcheck", "run", container.id)


def test_the_model_is_reproduced_by_the_image_s_command(container: Container) -> None:
    container.run("vaegis", "verify", "/models/model.onnx")


def test_the_image_names_its_base_and_commit_and_adds_little_to_the_base(podman: Podman) -> None:
    def size(image: str) -> int:
        return int(podman("image", "inspect", "--format", "{{.Size}}", image))

    labels = json.loads(podman("image", "inspect", "--format", "{{json .Config.Labels}}", IMAGE))
    described = {f"org.opencontainers.image.{name}" for name in ("title", "version", "licenses", "revision", "created")}
    assert described <= labels.keys()
    assert size(IMAGE) - size(labels["org.opencontainers.image.base.name"]) < ADDED_BYTES


def test_no_training_library_is_in_the_image(container: Container) -> None:
    probe = "import importlib.util, sys; print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    assert container.run("python", "-c", probe, *FORBIDDEN) == ""
    assert container.run("python", "-c", probe, *FORBIDDEN, "onnxruntime") == "onnxruntime", "the probe finds nothing"


def test_the_service_runs_without_privileges_on_a_read_only_root(container: Container) -> None:
    assert container.run("id", "-u") == "10001"
    fields = dict(line.split(":\t", 1) for line in container.run("cat", "/proc/1/status").splitlines())
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    attempt = (
        "import pathlib, errno\ntry: pathlib.Path('/x').touch()\nexcept OSError as e: print(errno.errorcode[e.errno])"
    )
    assert container.run("python", "-c", attempt) == "EROFS"


def test_no_file_of_the_image_can_be_changed_by_the_service_s_user(podman: Podman) -> None:
    search = "find / -xdev -type f -writable -not -path '/proc/*' 2>/dev/null; true"
    writable = podman("run", "--rm", "--entrypoint", "sh", IMAGE, "-c", search)
    # podman writes these two into every container.
    assert set(writable.split()) <= {"/etc/hosts", "/etc/resolv.conf"}


def test_without_keys_and_without_being_open_it_does_not_start() -> None:
    command = ("podman", "run", "--rm", "--volume", f"{MODEL}:/models/model.onnx:ro", IMAGE)
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "VAEGIS_KEYS_FILE" in ended.stderr
    assert "VAEGIS_OPEN=true" in ended.stderr


def test_a_model_that_cannot_be_used_is_named_and_ends_the_container_with_3(tmp_path: Path) -> None:
    broken = tmp_path / "model.onnx"
    broken.write_bytes(MODEL.read_bytes()[:1000])
    broken.chmod(0o644)
    command = (
        "podman",
        "run",
        "--rm",
        "--env",
        "VAEGIS_OPEN=true",
        "--volume",
        f"{broken}:/models/model.onnx:ro",
        IMAGE,
    )
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert "vaegis: error: /models/model.onnx: expected a complete ONNX file" in ended.stderr


def test_a_key_that_the_image_made_is_asked_for(start_container: Callable[..., Container], tmp_path: Path) -> None:
    made = subprocess.run(
        ("podman", "run", "--rm", IMAGE, "key", "tester", "--scopes", "model"),
        capture_output=True,
        text=True,
        check=True,
    )
    keys = tmp_path / "keys.txt"
    keys.write_text(made.stdout)
    guarded = start_container("--volume", f"{keys}:/run/keys.txt:ro", "--env", "VAEGIS_KEYS_FILE=/run/keys.txt")
    with pytest.raises(urllib.error.HTTPError) as refused:
        guarded.call("/model")
    with refused.value as answer:
        assert answer.status == 401
    assert guarded.call("/model", key=made.stderr.split()[-1])["model"]


def test_sigterm_ends_the_service_with_exit_code_0(start_container: Callable[..., Container], podman: Podman) -> None:
    stopped = start_container(*OPEN)
    podman("stop", "--time", "30", stopped.id)
    assert podman("inspect", "--format", "{{.State.ExitCode}}", stopped.id) == "0", podman("logs", stopped.id)


def test_two_workers_under_large_bodies_stay_within_the_memory_of_the_container(
    start_container: Callable[..., Container],
) -> None:
    limited = start_container(*OPEN, "--env", "VAEGIS_WORKERS=2")
    limit = limited.run("sh", "-c", "cat /sys/fs/cgroup/memory.max 2>/dev/null; true")
    if limit != str(512 * 2**20):
        pytest.skip(f"expected a control group of 512 MiB, got {limit or 'none'}")
    quotes = b'amount,country\n1,"' + b'""' * (7 << 20) + b'"'
    wide = json.dumps([{f"c{at}": 1 for at in range(9990)} for _ in range(90)]).encode()
    bodies = [("/score", "text/csv", quotes)] * 8 + [("/score?on_invalid=report", "application/json", wide)] * 8

    def post(path: str, kind: str, body: bytes) -> int:
        request = urllib.request.Request(f"http://{limited.address}{path}", body, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:  # refused before the body was sent
            return 0

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda body: post(*body), bodies))
    assert set(statuses) <= {0, 200, 413, 422, 429, 503, 504}
    with urllib.request.urlopen(f"http://{limited.address}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    assert re.search(r"^vaegis_worker_restarts_total(\{.*\})? 0(\.0)?$", metrics, re.MULTILINE), metrics
