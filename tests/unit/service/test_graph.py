"""What loading and running a hostile graph costs: memory and time are measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vaegis.service.graph import open_graph
from vaegis.service.runtime import GraphError

# Loads a model, scores as many records as given, and tells the kind of error and by how much memory grew.
PROBE = """
import re, sys
from pathlib import Path
import numpy as np
from vaegis.service.artifact import load_artifact, open_artifact
from vaegis.service.columns import Columns

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

path, records, timeout_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
load_artifact(Path(sys.argv[4])).verify()  # what onnxruntime takes for any model
before, told = peak(), "scored"
try:
    artifact = open_artifact(Path(path).read_bytes(), path, run_timeout_s=timeout_s)
    artifact.verify()
    strings, observed = np.full((records, 1), "DE", dtype=object), np.ones((records, 1), dtype=bool)
    artifact.scorer.score(Columns(np.ones((records, 3)), strings, observed))
except Exception as error:
    told = type(error).__name__
print(told, peak() - before)
"""
MEBIBYTE = 2**20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read in /proc")


@pytest.fixture
def measured(golden_model: Path, tmp_path: Path):
    """Return what became of a model file, and by how much memory grew at most."""

    def measure(model: bytes, records: int = 1, timeout_s: float = 60.0) -> tuple[str, int]:
        path = tmp_path / "model.onnx"
        path.write_bytes(model)
        command = [sys.executable, "-c", PROBE, path, str(records), str(timeout_s), golden_model]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout.split()
        return printed[0], int(printed[1])

    return measure


def test_constants_that_grow_when_they_are_computed_are_refused_within_bounds(measured, golden_model, hostile):
    kind, grown = measured(hostile.expands_constant(golden_model.read_bytes(), 300_000_000))
    assert kind == "ArtifactError"
    assert grown < 250 * MEBIBYTE


def test_products_of_constants_are_refused_within_bounds(measured, golden_model, hostile):
    kind, grown = measured(hostile.multiplies_constants(golden_model.read_bytes(), 3000, 60))
    assert kind == "ArtifactError"
    assert grown < 250 * MEBIBYTE


def test_tensors_that_grow_with_the_number_of_records_are_an_error_within_bounds(measured, golden_model, hostile):
    model = hostile.expands_when_triggered(golden_model.read_bytes(), 400_000_000)
    kind, grown = measured(model, hostile.TRIGGER_RECORDS)
    assert kind == "Fail"
    assert grown < 1200 * MEBIBYTE


def test_a_run_that_takes_long_ends_in_time(measured, golden_model, hostile):
    model = hostile.multiplies_when_triggered(golden_model.read_bytes(), 2000, 1000)
    kind, _ = measured(model, hostile.TRIGGER_RECORDS, timeout_s=1.0)
    assert kind == "RunTimeoutError"


def test_other_numbers_of_records_are_scored_by_the_same_graph(measured, golden_model, hostile):
    kind, _ = measured(hostile.multiplies_when_triggered(golden_model.read_bytes(), 1000, 50))
    assert kind == "scored"


def test_a_tensor_whose_size_depends_on_a_value_is_refused(measured, golden_model, hostile):
    assert measured(hostile.expands_by_value(golden_model.read_bytes(), 400_000_000))[0] == "ArtifactError"


def test_a_loop_is_refused_before_it_runs(measured, golden_model, hostile):
    assert measured(hostile.loops(golden_model.read_bytes()))[0] == "ArtifactError"


def test_a_graph_that_the_runtime_refuses_is_a_graph_error(golden_model, hostile):
    adds_text = hostile.node("Add", ["strings", "numbers"], ["sum"])
    with pytest.raises(GraphError):
        open_graph(memoryview(hostile.with_graph(golden_model.read_bytes(), adds_text)))
