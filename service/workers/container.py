"""What the container allows: how many workers fit into its cores and memory, and which limits fit into its memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
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
_ROOT: Final = Path("/")


def fitting_workers(root: Path = _ROOT) -> int:
    """Return how many workers to run: as many as whole cores, but no more than fit into the memory; at least one.

    The host's cores are not the measure: a container may be held to fewer by the set of cores that it may run on, or by
    a quota of CPU time, and one process for each core of the host would only wait for another.
    """
    if sys.platform == "win32":
        return 1  # a listening socket cannot be shared there
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fitting = [limit / WORKER_BYTES for limit in memory_limits(root)]
    return max(1, int(min([cores, *cpu_limits(root), *fitting])))


def fitted_to_memory(settings: Settings, workers: int, root: Path = _ROOT) -> Settings:
    """Return settings whose limits of memory, where they were not set, fit into the control group's."""
    limit = min(memory_limits(root), default=None)
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


def cpu_limits(root: Path) -> Iterator[float]:
    """Yield each quota of CPU time that holds for this process, in cores."""
    for folder in _control_groups(root):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def memory_limits(root: Path) -> Iterator[int]:
    """Yield each limit of memory that holds for this process, in bytes."""
    for folder in _control_groups(root):
        limit = _text(folder / "memory.max")
        if limit.isdecimal():
            yield int(limit)


def _control_groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups (version 2) that this process is in, from its own outwards."""
    mounted = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        if line.startswith("0::/"):
            inside = Path(line.removeprefix("0::/"))
            if ".." in inside.parts:  # a group outside of what is mounted here
                inside = Path()
            yield from (mounted / inside, *(mounted / parent for parent in inside.parents))


def _text(file: Path) -> str:
    """Return the text of a file, blank if it cannot be read: another system, or one that hides it."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
