"""The image does its job under the restrictions that docker-compose.yml puts on it.

`make container-test` builds the image first. CONTAINER_IMAGE and CONTAINER_MODEL name another image and another model.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("CONTAINER_IMAGE", "vaegis:ci")
MODEL = Path(os.environ.get("CONTAINER_MODEL", ROOT / "tests" / "golden" / "orders-v2.onnx")).resolve()
DEADLINE_S = 60.0
FORBIDDEN = ("torch", "onnx", "onnxscript", "pandas", "pyarrow", "scipy", "sklearn", "vaegis.training")

OPEN = ("--env", "VAEGIS_OPEN=true")

Query = Callable[[str], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Container:
    """A running container and the address its port is published at."""

    id: str
    address: str

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
        return podman("exec", self.id, *command)


@pytest.fixture(scope="module")
def start_container() -> Iterator[Callable[..., Container]]:
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
        container = Container(container_id, podman("port", container_id, "8080/tcp"))
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


@pytest.fixture
def ask_prometheus(container: Container, tmp_path: Path) -> Iterator[Query]:
    """Run Prometheus on the project's own configuration, pointed at the container and hurried up, and ask it."""
    text = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
    for ours, here in (
        ("vaegis:8080", container.address),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("scrape_timeout: 5s", "scrape_timeout: 1s"),
    ):
        assert text.count(ours) == 1, f"expected {ours!r} once in prometheus.yml"
        text = text.replace(ours, here)
    (tmp_path / "prometheus.yml").write_text(text)
    address = f"127.0.0.1:{free_port()}"

    def ask(expression: str) -> list[dict[str, Any]]:
        url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]["result"]

    with (tmp_path / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield ask
        finally:
            process.terminate()
            process.wait(timeout=30)


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


def test_a_real_prometheus_scrapes_the_service(
    container: Container, records: list[dict[str, Any]], ask_prometheus: Query
) -> None:
    container.call("/score", records)
    wait_until(lambda: value_of(ask_prometheus("up")) == 1, "up == 1 in Prometheus")
    wait_until(
        lambda: value_of(ask_prometheus("sum(vaegis_records_scored_total)")) >= len(records),
        f"vaegis_records_scored_total of at least {len(records)} in Prometheus",
    )


def test_the_metrics_pass_the_prometheus_linter(container: Container) -> None:
    with urllib.request.urlopen(f"http://{container.address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "vaegis_" in text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_the_image_s_own_health_check_passes(container: Container) -> None:
    podman("healthcheck", "run", container.id)


def test_the_model_is_reproduced_by_the_image_s_command(container: Container) -> None:
    container.run("vaegis", "verify", "/models/model.onnx")


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


def test_no_file_of_the_image_can_be_changed_by_the_service_s_user() -> None:
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


def test_sigterm_ends_the_service_with_exit_code_0(start_container: Callable[..., Container]) -> None:
    stopped = start_container(*OPEN)
    podman("stop", "--time", "30", stopped.id)
    assert podman("inspect", "--format", "{{.State.ExitCode}}", stopped.id) == "0", podman("logs", stopped.id)


def podman(*arguments: str) -> str:
    """Run podman and return what it prints."""
    finished = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, f"podman {' '.join(arguments)}: {finished.stdout}{finished.stderr}"
    return finished.stdout.strip()


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Ask again until `holds` returns something true; a refused connection counts as not yet."""
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while True:
        try:
            if holds():
                return
            seen = "not so"
        except OSError as error:
            seen = str(error)
        assert time.monotonic() < deadline, f"expected within {DEADLINE_S:g} s: {what}; last: {seen}"
        pause.wait(0.1)


def value_of(result: list[dict[str, Any]]) -> float:
    """Return the one sample of a query's result, or NaN while there is none."""
    return float(result[0]["value"][1]) if result else math.nan


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
