"""Model files that an attacker wrote, opened by the commands as they are run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

COMMAND = (sys.executable, "-c", "import sys; from vaegis.service.cli import main; sys.exit(main())")
TIMEOUT_S = 120
SECRET = b"\xff" * 64


@pytest.fixture
def written(golden_model: Path, tmp_path: Path):
    """Write a model that was made from the golden one."""

    def write(make, *arguments: object) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(make(golden_model.read_bytes(), *arguments))
        return path

    return write


def ended(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder)


@pytest.mark.parametrize("command", ["verify", "inspect", "serve"])
def test_no_command_reads_a_file_that_a_model_names(written, hostile, command, tmp_path):
    (tmp_path / "secret").write_bytes(SECRET)
    model = written(hostile.reads_file, "secret", len(SECRET))
    result = ended(command, model, folder=tmp_path)
    assert result.returncode == 3
    assert re.search(r"initializer\[\d+\]: expected a field number", result.stderr)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_that_loops_does_not_start(written, hostile, workers):
    result = ended("serve", written(hostile.loops), "--workers", workers, "--port", "0")
    assert (result.returncode, result.stdout) == (3, "")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_that_takes_long_to_load_ends_the_start(written, hostile, workers):
    # onnxruntime's time to load a graph grows faster than its nodes, and nothing else ends it.
    model = written(hostile.multiplies_when_triggered, 2, 45_000)
    result = ended("serve", model, "--workers", workers, "--port", "0", "--model-timeout-s", "2")
    assert result.returncode in (1, 3)
    assert result.stdout == ""
    assert ended("verify", model, "--model-timeout-s", "2").returncode == 3


def test_a_run_that_takes_too_long_is_ended_and_the_service_goes_on(serve, written, hostile):
    served = serve("--worker-timeout-s", "4", model=written(hostile.multiplies_when_triggered, 1500, 2000))
    late = httpx.post(f"{served.url}/score", json=[{"amount": 1.0}] * hostile.TRIGGER_RECORDS, timeout=TIMEOUT_S)
    assert (late.status_code, late.json()["type"]) == (504, "urn:vaegis:problem:deadline")
    assert httpx.get(f"{served.url}/livez", timeout=TIMEOUT_S).status_code == 200
    assert httpx.post(f"{served.url}/score", json={"amount": 22.5}, timeout=TIMEOUT_S).status_code == 200


def test_a_single_worker_that_hangs_ends_so_that_it_is_started_again(serve, written, hostile):
    # One product of such matrices takes many seconds, in which a run cannot be ended.
    served = serve("--worker-timeout-s", "1", model=written(hostile.multiplies_when_triggered, 9000, 1))
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{served.url}/score", json=[{"amount": 1.0}] * hostile.TRIGGER_RECORDS, timeout=TIMEOUT_S)
    assert served.process.wait(TIMEOUT_S) == 1
    events = [json.loads(line)["event"] for line in served.process.stderr.read().splitlines()]
    assert events[-1] == "process hangs"


def test_a_single_worker_ends_after_sigterm_although_a_run_hangs(serve, written, hostile, wait_until):
    served = serve("--shutdown-grace-s", "1", model=written(hostile.multiplies_when_triggered, 9000, 1))
    with ThreadPoolExecutor() as threads:
        records, before_s = [{"amount": 1.0}] * hostile.TRIGGER_RECORDS, served.cpu_s()
        answer = threads.submit(httpx.post, f"{served.url}/score", json=records, timeout=TIMEOUT_S)
        wait_until(lambda: served.cpu_s() > before_s + 1)  # the run has begun: nothing else takes so long
        began = time.monotonic()
        assert served.stop() == 1
        assert time.monotonic() - began < 15
        assert isinstance(answer.exception(), httpx.TransportError)


def test_a_model_of_another_digest_or_without_its_signature_is_refused(golden_model, tmp_path):
    other = "sha256:" + "0" * 64
    for command in (("verify",), ("inspect",), ("serve", "--port", "0")):
        result = ended(*command, golden_model, "--digest", other)
        assert (result.returncode, result.stdout) == (3, "")
        assert f"expected the digest {other}, got sha256:" in result.stderr
    result = ended("verify", golden_model, "--public-key", tmp_path / "absent.pem")
    assert result.returncode == 2
