"""How many workers fit, by what Linux says of control groups, which is laid out here as it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vaegis.service.http.workers.container import (
    WORKER_BYTES,
    cpu_limits,
    fitted_to_memory,
    fitting_workers,
    memory_limits,
)
from vaegis.service.settings import load_settings

CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def process(tmp_path):
    """Lay out a process: its mounts of control groups, the groups it is in, and files of these."""

    def lay_out(groups: str, mounts: dict[str, tuple[str, str]], files: dict[str, str]) -> Path:
        """Mounts are by folder: the root that is mounted there, and the controllers, or `2` for version 2."""
        lines = ["23 1 0:2 / /proc rw - proc proc rw"]
        for folder, (root, controllers) in mounts.items():
            kind = "cgroup2 cgroup2 rw" if controllers == "2" else f"cgroup cgroup rw,{controllers}"
            lines.append(f"30 23 0:26 {root} {tmp_path / folder} rw,nosuid shared:4 - {kind}")
        told = tmp_path / "proc"
        told.mkdir()
        (told / "mountinfo").write_text("\n".join(lines))
        (told / "cgroup").write_text(groups)
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        return told

    return lay_out


UNIFIED = {"unified": ("/", "2")}


def test_a_quota_of_version_2_counts_at_each_level_above(process):
    files = {
        "unified/pods/pod/cpu.max": "max 100000",
        "unified/pods/cpu.max": "350000 100000",
        "unified/cpu.max": "800000 100000",
        "unified/pods/pod/memory.max": "max",
        "unified/pods/memory.max": str(3 * WORKER_BYTES),
    }
    told = process("0::/pods/pod\n", UNIFIED, files)
    assert list(cpu_limits(told)) == [3.5, 8.0]
    assert list(memory_limits(told)) == [3 * WORKER_BYTES]
    assert fitting_workers(told) == min(CORES, 3)


def test_a_quota_of_version_1_is_read_from_its_controller(process):
    groups = "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/\n"
    mounts = {"cpu": ("/docker/x", "cpu,cpuacct"), "memory": ("/docker/x", "memory")}
    files = {
        "cpu/cpu.cfs_quota_us": "150000",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": str(10 * WORKER_BYTES),
    }
    told = process(groups, mounts, files)
    assert list(cpu_limits(told)) == [1.5]
    assert list(memory_limits(told)) == [10 * WORKER_BYTES]
    assert fitting_workers(told) == 1


@pytest.mark.parametrize(
    ("files", "workers"),
    [
        ({"unified/cpu.max": "50000 100000"}, 1),
        ({"unified/cpu.max": "max 100000"}, CORES),
        ({"unified/cpu.max": "10000000 100000"}, CORES),
        ({"unified/cpu.max": "nonsense"}, CORES),
        ({"unified/memory.max": "1000"}, 1),
        ({}, CORES),
    ],
)
def test_there_is_at_least_one_worker_and_at_most_one_for_each_core(process, files, workers):
    assert fitting_workers(process("0::/\n", UNIFIED, files)) == workers


def test_no_limit_of_version_1_is_none(process):
    files = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
    assert list(cpu_limits(process("5:cpu:/\n", {"cpu": ("/", "cpu")}, files))) == []


def test_a_group_outside_of_what_is_mounted_is_the_mounted_one(process):
    assert list(cpu_limits(process("0::/../..\n", UNIFIED, {"unified/cpu.max": "200000 100000"}))) == [2.0]


def test_a_system_that_tells_nothing_has_a_worker_for_each_core(tmp_path):
    assert fitting_workers(tmp_path / "nothing") == CORES


MIB = 2**20


@pytest.fixture
def limited(tmp_path):
    """Lay out a process whose control group has a limit of memory."""

    def lay_out(limit: str) -> Path:
        (tmp_path / "mountinfo").write_text(f"30 23 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
        (tmp_path / "cgroup").write_text("0::/\n")
        (tmp_path / "memory.max").write_text(limit + "\n")
        return tmp_path

    return lay_out


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
