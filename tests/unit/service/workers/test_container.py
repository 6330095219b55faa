"""How many workers fit, by what Linux says of control groups, which is laid out here as it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vaegis.service.settings import load_settings
from vaegis.service.workers.container import (
    WORKER_BYTES,
    cpu_limits,
    fitted_to_memory,
    fitting_workers,
    memory_limits,
)

CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def system(tmp_path):
    """Lay out a system: the control group of this process, and files of groups."""

    def lay_out(group: str, files: dict[str, str]) -> Path:
        files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
        for name, text in {"proc/self/cgroup": f"0::{group}", **files}.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        return tmp_path

    return lay_out


def test_a_quota_counts_at_each_level_above(system):
    files = {
        "pods/pod/cpu.max": "max 100000",
        "pods/cpu.max": "350000 100000",
        "cpu.max": "800000 100000",
        "pods/pod/memory.max": "max",
        "pods/memory.max": str(3 * WORKER_BYTES),
    }
    root = system("/pods/pod", files)
    assert list(cpu_limits(root)) == [3.5, 8.0]
    assert list(memory_limits(root)) == [3 * WORKER_BYTES]
    assert fitting_workers(root) == min(CORES, 3)


@pytest.mark.parametrize(
    ("files", "workers"),
    [
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, CORES),
        ({"cpu.max": "10000000 100000"}, CORES),
        ({"cpu.max": "nonsense"}, CORES),
        ({"memory.max": "1000"}, 1),
        ({}, CORES),
    ],
)
def test_there_is_at_least_one_worker_and_at_most_one_for_each_core(system, files, workers):
    assert fitting_workers(system("/", files)) == workers


def test_a_group_outside_of_what_is_mounted_is_the_mounted_one(system):
    assert list(cpu_limits(system("/../..", {"cpu.max": "200000 100000"}))) == [2.0]


def test_a_group_that_is_mounted_as_the_root_is_found(system):
    assert list(cpu_limits(system("/system.slice/docker-x.scope", {"cpu.max": "200000 100000"}))) == [2.0]


def test_a_system_without_control_groups_has_a_worker_for_each_core(tmp_path):
    assert fitting_workers(tmp_path / "nothing") == CORES


MIB = 2**20


@pytest.fixture
def limited(system):
    """Lay out a system whose control group has a limit of memory."""
    return lambda limit: system("/", {"memory.max": limit})


@pytest.mark.parametrize("limit", ["max", str(2 * 1200 * MIB), str(2**62)])
def test_nothing_changes_where_there_is_memory_enough(limited, limit):
    settings = load_settings({}, {})
    assert fitted_to_memory(settings, 2, limited(limit)) == settings


def test_two_workers_in_what_compose_gives_them_keep_nearly_the_largest_document(limited):
    fitted = fitted_to_memory(load_settings({}, {}), 2, limited(str(1024 * MIB)))
    assert fitted.max_body_bytes == 64 * MIB
    assert fitted.max_document_bytes > 14 * MIB
    assert fitted.max_bytes_in_flight == 64 * MIB
    assert fitted.scoring_threads == 1


@pytest.mark.parametrize("limit", [0, 100 * MIB, 512 * MIB])
def test_little_memory_makes_small_limits_that_settings_allow(limited, limit):
    fitted = fitted_to_memory(load_settings({}, {}), 2, limited(str(limit)))
    assert load_settings({}, fitted.model_dump(exclude_none=True, exclude={"keys"})) == fitted
    assert fitted.max_document_bytes < 16 * MIB
    assert fitted.max_bytes_in_flight < 64 * MIB
    assert fitted.max_values < 1_000_000
    assert fitted.max_tensor_bytes <= 96 * MIB


def test_what_was_set_stays(limited):
    settings = load_settings({"VAEGIS_MAX_DOCUMENT_BYTES": "50000000"}, {"max_bytes_in_flight": "70000000"})
    fitted = fitted_to_memory(settings, 2, limited(str(300 * MIB)))
    assert (fitted.max_document_bytes, fitted.max_bytes_in_flight) == (50_000_000, 70_000_000)
