"""The script of the job that retrains on Kubernetes, against a service: shadow, an hour of traffic, gate, promotion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from vaegis.service.model_file import MetadataKey
from vaegis.service.model_folder import read_pointer

CRON_JOB = Path(__file__).parents[3] / "deploy" / "kubernetes" / "components" / "retraining" / "cronjob.yaml"
POD = YAML(typ="safe").load(CRON_JOB)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
NORMAL = {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}
TIMEOUT_S = 120


@pytest.fixture
def models(tmp_path, golden_model, hostile) -> Path:
    """A folder with two versions of one model that judge alike."""
    folder = tmp_path / "models" / "orders"
    folder.mkdir(parents=True)
    for number in (1, 2):
        (folder / f"{number}.onnx").write_bytes(
            hostile.with_document(
                golden_model.read_bytes(), MetadataKey.PROVENANCE, lambda old, number=number: old | {"seed": number}
            )
        )
    return folder.parent


def start_script(models: Path, version: str, **replaced: str) -> subprocess.Popen[str]:
    """Run the script of the container `promote`, with this folder for /models."""
    (container,) = POD["containers"]
    shell, flags = container["command"]
    (script,) = container["args"]
    for old, new in {"/models": str(models), **replaced}.items():
        assert old in script
        script = script.replace(old, new)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return subprocess.Popen(
        [shell, flags, script],
        env=os.environ | {"VERSION": version, "PATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ask(url: str, body: object = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=60
    ) as answer:
        return json.load(answer)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + TIMEOUT_S, threading.Event()
    while True:
        try:
            if holds():
                return
        except urllib.error.HTTPError as error:
            error.close()
        assert time.monotonic() < deadline
        pause.wait(0.05)


def test_the_first_version_is_promoted_at_once(models):
    script = start_script(models, "1")
    assert script.communicate(timeout=TIMEOUT_S)[0].startswith("orders: 1 (sha256:")
    assert script.returncode == 0
    assert read_pointer(models, "orders").live.version == "1"


@pytest.mark.parametrize(("records", "live"), [(1200, "2"), (600, "1")])
def test_a_further_version_is_promoted_after_enough_traffic_in_shadow(serve, models, tmp_path, records, live):
    start_script(models, "1").communicate(timeout=TIMEOUT_S)
    served = serve("--shadow-share", "1", model=models)
    key_file = tmp_path / "key"
    key_file.write_text("not-asked-for\n", encoding="ascii")
    script = start_script(
        models,
        "2",
        **{
            "sleep 3600": "read -r hour_is_over",
            "http://vaegis:8080": served.url,
            "/etc/vaegis/key/key": str(key_file),
        },
    )
    shadow = f"{served.url}/models/orders/shadow"
    wait_until(lambda: ask(shadow)["records"] == 0)
    ask(f"{served.url}/score", [*[NORMAL] * (records - 1), NORMAL | {"amount": 2250}])
    wait_until(lambda: ask(shadow)["records"] == records)
    printed, _ = script.communicate("over\n", timeout=TIMEOUT_S)
    assert read_pointer(models, "orders").live.version == live, printed
    assert (script.returncode == 0) == (live == "2")
    if live == "1":
        assert "expected records>1000, got 600" in printed
