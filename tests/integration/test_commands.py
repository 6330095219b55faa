"""The offline commands as processes of their own: signals, pipes, full disks and whole runs."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

VAEGIS = (sys.executable, "-m", "vaegis.service.cli")
FULL = Path("/dev/full")


def vaegis(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [*VAEGIS, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def started(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*VAEGIS, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where a shell runs the tests in the background, it has SIGINT ignored for all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - the tests have one thread
    )


def small_files_only() -> None:
    """Make every write past 20 kB fail, as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.fixture(scope="module")
def generated(golden_model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("generated") / "records.parquet"
    assert vaegis("generate", golden_model, "--count", 3000, "--seed", 7, "-o", path).returncode == 0
    return path


def test_generated_records_are_seldom_anomalies(golden_model, generated, tmp_path):
    scored = vaegis("score", golden_model, generated, "-o", tmp_path / "scored.ndjson")
    assert scored.returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "scored.ndjson").read_text().splitlines()]
    assert len(lines) == 3000
    assert sum(line["is_anomaly"] for line in lines) < 0.05 * len(lines)


def test_the_same_seed_gives_the_same_file(golden_model, generated, tmp_path):
    again = tmp_path / "again.parquet"
    vaegis("generate", golden_model, "--count", 3000, "--seed", 7, "-o", again)
    assert again.read_bytes() == generated.read_bytes()


def test_a_reader_that_stops_early_is_no_error(golden_model):
    with started("generate", golden_model, "--count", 10**9, "-o", "-") as process:
        assert json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_an_interrupt_ends_with_exit_code_130_and_without_a_trace(golden_model):
    with started("generate", golden_model, "--count", 10**9, "-o", "-") as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, error_text = process.communicate()
    assert process.returncode == 130
    assert error_text == "vaegis: error: interrupted\n"


def test_standard_input_that_is_copied_is_removed_when_the_command_is_ended(golden_model, tmp_path):
    command = [*VAEGIS, "score", str(golden_model), "-", "--format", "csv", "-o", "-"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as process:
        process.stdin.write(b"amount\n" + b"1\n" * 2**20)  # more than a pipe holds
        process.stdin.flush()
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["inspect"], ["verify"], ["generate", "--count=5", "-o-"]])
def test_standard_output_that_is_full_is_reported_without_a_trace(golden_model, arguments):
    command = [*VAEGIS, arguments[0], str(golden_model), *arguments[1:]]
    with FULL.open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert ended.returncode == 1
    assert ended.stderr == "vaegis: error: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("extension", ["parquet", "csv", "ndjson", "arrow"])
@pytest.mark.parametrize("command", ["score", "generate"])
def test_a_full_disk_is_reported_and_leaves_nothing_behind(
    golden_model, generated, unmeasured, tmp_path, command, extension
):
    output = tmp_path / f"out.{extension}"
    source = [generated] if command == "score" else ["--count", 20_000]
    # The limit on the size of files would stop coverage's own file as well.
    ended = vaegis(command, golden_model, *source, "-o", output, preexec_fn=small_files_only, env=unmeasured)
    assert ended.returncode == 1
    assert ended.stderr == f"vaegis: error: {output}: cannot be written: File too large\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["inspect", "verify", "generate", "score"])
def test_a_file_that_is_no_model_ends_with_exit_code_3(tmp_path, generated, command):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"PK\x03\x04")
    rest = {"generate": ["--count", 1, "-o", "-"], "score": [generated, "-o", "-"]}.get(command, [])
    ended = vaegis(command, path, *rest)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith(f"vaegis: error: {path}: expected")
    assert ended.stderr.count("\n") == 1
