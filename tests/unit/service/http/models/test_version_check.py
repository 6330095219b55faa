"""A check of a version in a process of its own gives the graph that scores the same, or says what is wrong."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from vaegis.service.artifact import open_artifact
from vaegis.service.errors import ArtifactError
from vaegis.service.http.models.version_check import VersionChecks
from vaegis.service.memory_files import content_of, memory_file
from vaegis.service.records.python_records import columns_from_records
from vaegis.service.settings import load_settings

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="there, versions are checked in the process that serves"
)


@pytest.fixture(scope="module")
def settings():
    return load_settings({}, {})


@pytest.fixture(scope="module")
def model(golden_model) -> bytes:
    return golden_model.read_bytes()


@pytest.fixture
def shared():
    file = memory_file("checked")
    yield file
    os.close(file)


def test_the_graph_of_a_checked_version_gives_the_same_scores(settings, model):
    plain = open_artifact(model, "plain")
    checked = open_artifact(model, "checked", optimized=VersionChecks(settings).optimized(model, "checked"))
    records = plain.contract.golden.records
    columns = columns_from_records(records, plain.contract.columns, unknown_columns="reject", max_faults=1)
    assert np.array_equal(plain.scorer.score(columns).score, checked.scorer.score(columns).score)
    assert checked.digest == plain.digest
    checked.verify()


def test_workers_that_share_a_file_check_a_version_once(settings, model, shared):
    first, other = VersionChecks(settings, shared), VersionChecks(settings, shared)
    graph = first.optimized(model, "model")
    other.close()  # from here on it ends each check that it begins
    assert other.optimized(model, "model") == graph
    with pytest.raises(ArtifactError, match="its check ended with signal 9"):
        other.optimized(model + b" ", "another")
    assert content_of(shared).endswith(graph)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the niceness is seen in /proc")
def test_the_priority_is_low_before_the_runtime_is_imported(settings, model):
    own, seen = Path("/proc/self/cmdline").read_text(), set()
    thread = Thread(target=VersionChecks(settings).optimized, args=(model, "model"))
    thread.start()
    while thread.is_alive():
        for path in Path("/proc/self/task").glob("*/children"):
            with suppress(OSError):  # of a thread or process that has just ended
                for process in path.read_text().split():
                    is_forked_only = Path(f"/proc/{process}/cmdline").read_text() == own
                    if not is_forked_only and "onnxruntime" in Path(f"/proc/{process}/maps").read_text():
                        seen.add(os.getpriority(os.PRIO_PROCESS, int(process)))
    assert seen == {min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)}  # 19 is the lowest


def test_a_check_that_cannot_be_started_says_why(settings, model, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(ArtifactError, match="model: the process that checks it could not be started: No such file"):
        VersionChecks(settings).optimized(model, "model")


def test_what_is_wrong_is_said_as_in_the_process_that_serves(settings, model, shared):
    broken = model[:-1000]
    with pytest.raises(ArtifactError) as here:
        open_artifact(broken, "broken.onnx")
    with pytest.raises(ArtifactError) as aside:
        VersionChecks(settings, shared).optimized(broken, "broken.onnx")
    assert str(aside.value) == str(here.value)
    assert content_of(shared) == b""


def test_a_check_that_takes_too_long_is_ended(settings, model):
    hurried = settings.model_copy(update={"model_timeout_s": 0.05})
    with pytest.raises(ArtifactError, match=r"limit 0\.05 s\); VAEGIS_MODEL_TIMEOUT_S"):
        VersionChecks(hurried).optimized(model, "slow")
