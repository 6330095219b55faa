"""What the container allows: how many workers fit into its cores and memory, and which limits fit into its memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vaegis.service.settings import Settings

WORKER_BYTES: Final = 384 * 2**20
"""Memory that a worker is taken to need, with the largest bodies in flight."""

PARENT_BYTES: Final = 64 * 2**20
"""Memory that the supervising process needs."""
IDLE_BYTES: Final = 128 * 2**20
"""Memory that a worker of a small model needs with nothing in flight."""

_LEAST_FREE_BYTES: Final = 16 * 2**20
_SECOND_THREAD_BYTES: Final = 400 * 2**20
# What is parsed whole takes up to 15 times its size meanwhile, and a body at fault 250 bytes for each of its values.
_SHARES: Final = {"max_document_bytes": 24, "max_values": 400, "max_bytes_in_flight": 4, "max_tensor_bytes": 1}
_MOUNT_ROOT, _MOUNT_POINT = 3, 4  # fields of a line of mountinfo, by proc_pid_mountinfo(5)


def fitting_workers(process: Path = Path("/proc/self")) -> int:
    """Return how many workers to run: as many as whole cores, but no more than fit into the memory; at least one.

    The host's cores are not the measure: a container may be held to fewer by the set of cores that it may run on, or by
    a quota of CPU time, and one process for each core of the host would only wait for another.

    Args:
        process: Folder in which Linux tells of this process.
    """
    if sys.platform == "win32":
        return 1  # a listening socket cannot be shared there
    limits = [float(_cores_allowed()), *cpu_limits(process)]
    limits += [limit / WORKER_BYTES for limit in memory_limits(process)]
    return max(1, int(min(limits)))


def fitted_to_memory(settings: Settings, workers: int, process: Path = Path("/proc/self")) -> Settings:
    """Return settings whose limits of memory, where they were not set, fit into the control group's.

    Args:
        settings: The settings in force.
        workers: Processes that answer requests.
        process: Folder in which Linux tells of this process.
    """
    limit = min(memory_limits(process), default=None)
    if limit is None:
        return settings
    free = (limit - (PARENT_BYTES if workers > 1 else 0)) // workers - IDLE_BYTES
    free = max(free, _LEAST_FREE_BYTES)
    fitted = {name: min(getattr(settings, name), free // part) for name, part in _SHARES.items()}
    if free < _SECOND_THREAD_BYTES:
        fitted["scoring_threads"] = 1
    return settings.model_copy(
        update={name: value for name, value in fitted.items() if name not in settings.model_fields_set}
    )


def cpu_limits(process: Path) -> Iterator[float]:
    """Yield each quota of CPU time that holds for a process, in cores; of version 2 of control groups, or 1."""
    for folder in _group_folders(process, "cpu"):
        given = _words(folder / "cpu.max")
        if len(given) == 2:  # noqa: PLR2004 - a quota and its period
            quota, period = given
        else:
            quota, period = _word(folder / "cpu.cfs_quota_us"), _word(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def memory_limits(process: Path) -> Iterator[int]:
    """Yield each limit of memory that holds for a process, in bytes."""
    for folder in _group_folders(process, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _word(folder / name)
            if limit.isdecimal():
                yield int(limit)


@dataclass(frozen=True, slots=True)
class _Mount:
    root: str
    point: Path
    is_unified: bool
    controllers: frozenset[str]


def _group_folders(process: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups that a process is in, from its own outwards."""
    mounts = list(_mounts(process))
    for line in _lines(process / "cgroup"):
        _, names, path = line.split(":", 2)
        for mount in mounts:
            if not (controller in mount.controllers if names else mount.is_unified):
                continue
            if names and controller not in names.split(","):
                continue
            inside = Path(path.removeprefix(mount.root).lstrip("/"))
            if ".." in inside.parts:  # a group outside of what is mounted here
                inside = Path()
            yield from (mount.point / inside, *(mount.point / parent for parent in inside.parents))


def _mounts(process: Path) -> Iterator[_Mount]:
    for line in _lines(process / "mountinfo"):
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            fields = left.split(" ")
            controllers = frozenset(options.split(","))
            yield _Mount(fields[_MOUNT_ROOT], Path(fields[_MOUNT_POINT]), kind == "cgroup2", controllers)


def _cores_allowed() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _word(file: Path) -> str:
    words = _words(file)
    return words[0] if len(words) == 1 else ""


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    """Return the lines of a file, none if it cannot be read: another system, or one that hides it."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
