"""What is held in flight fits into the memory of the control group."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaegis.service.http.workers.memory import fitted_to_memory
from vaegis.service.settings import load_settings

MIB = 2**20


@pytest.fixture
def process(tmp_path):
    """Lay out a process whose control group has a limit of memory."""

    def lay_out(limit: str) -> Path:
        (tmp_path / "mountinfo").write_text(f"30 23 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
        (tmp_path / "cgroup").write_text("0::/\n")
        (tmp_path / "memory.max").write_text(limit + "\n")
        return tmp_path

    return lay_out


@pytest.mark.parametrize("limit", ["max", str(2 * 1200 * MIB), str(2**62)])
def test_nothing_changes_where_there_is_memory_enough(process, limit):
    settings = load_settings({}, {})
    assert fitted_to_memory(settings, 2, process(limit)) == settings


def test_two_workers_in_what_compose_gives_them_keep_nearly_the_largest_document(process):
    fitted = fitted_to_memory(load_settings({}, {}), 2, process(str(1024 * MIB)))
    assert fitted.max_body_bytes == 64 * MIB
    assert fitted.max_document_bytes > 14 * MIB
    assert fitted.max_bytes_in_flight == 64 * MIB
    assert fitted.scoring_threads == 1


@pytest.mark.parametrize("limit", [0, 100 * MIB, 512 * MIB])
def test_little_memory_makes_small_limits_that_settings_allow(process, limit):
    fitted = fitted_to_memory(load_settings({}, {}), 2, process(str(limit)))
    assert load_settings({}, fitted.model_dump(exclude_none=True, exclude={"keys"})) == fitted
    assert fitted.max_document_bytes < 16 * MIB
    assert fitted.max_bytes_in_flight < 64 * MIB
    assert fitted.max_values < 1_000_000
    assert fitted.max_tensor_bytes <= 96 * MIB


def test_what_was_set_stays(process):
    settings = load_settings({"VAEGIS_MAX_DOCUMENT_BYTES": "50000000"}, {"max_bytes_in_flight": "70000000"})
    fitted = fitted_to_memory(settings, 2, process(str(300 * MIB)))
    assert (fitted.max_document_bytes, fitted.max_bytes_in_flight) == (50_000_000, 70_000_000)
