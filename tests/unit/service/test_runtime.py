from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vaegis.service.errors import RunTimeoutError
from vaegis.service.runtime import VERSION, GraphError, open_session


@pytest.mark.parametrize("model", [b"", b"not a graph", bytes(100)])
def test_bytes_that_are_no_graph_raise_graph_error(model):
    with pytest.raises(GraphError):
        open_session(model)


def test_a_session_runs_on_the_cpu_with_the_threads_asked_for(golden_model: Path):
    session = open_session(golden_model.read_bytes(), threads=2)
    assert session.inference.get_providers() == ["CPUExecutionProvider"]
    assert session.inference.get_session_options().intra_op_num_threads == 2
    assert session.inference.get_session_options().inter_op_num_threads == 1


def test_only_the_onnx_format_is_read(golden_model: Path):
    # onnxruntime takes bytes with ORTM at the fifth for its own format, which no check of ours looks into.
    disguised = bytes(4) + b"ORTM" + golden_model.read_bytes()
    with pytest.raises(GraphError, match=r"(?i)protobuf"):
        open_session(disguised)


def test_the_data_of_a_tensor_is_not_looked_for_in_the_working_folder(golden_model, hostile, tmp_path, monkeypatch):
    # Opened without the checks of `service.onnx_model`, to see that onnxruntime itself is told not to.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(b"\xff" * 8)
    with pytest.raises(GraphError):
        open_session(hostile.reads_file(golden_model.read_bytes(), "secret", 8))


def test_a_run_that_takes_too_long_is_ended(golden_model, hostile):
    model = hostile.multiplies_when_triggered(golden_model.read_bytes(), 2000, 1000)
    session = open_session(model, run_timeout_s=0.5)
    n = hostile.TRIGGER_RECORDS
    text, truth = np.full((n, 1), "DE", dtype=object), np.ones((n, 1), dtype=bool)
    feeds = {"numbers": np.zeros((n, 3)), "strings": text, "strings_observed": truth}
    with pytest.raises(RunTimeoutError, match=r"longer than 0\.5 s"):
        session.run(["score"], feeds)
    assert session.run(["score"], {name: value[1:] for name, value in feeds.items()})[0].shape == (n - 1,)


def test_importing_it_turns_telemetry_off():
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    probe = "import os, vaegis.service.runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    command = [sys.executable, "-c", probe]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "1"


def test_the_version_is_that_of_onnxruntime():
    assert VERSION.count(".") == 2
