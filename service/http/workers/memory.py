"""Default limits on work in flight that fit into the memory of the control group."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vaegis.service.http.workers.cores import memory_limits
from vaegis.service.settings import Settings

PARENT_BYTES: Final = 64 * 2**20
"""Memory that the supervising process needs."""
IDLE_BYTES: Final = 128 * 2**20
"""Memory that a worker of a small model needs with nothing in flight."""

_LEAST_FREE_BYTES: Final = 16 * 2**20
_SECOND_THREAD_BYTES: Final = 400 * 2**20
# What is parsed whole takes up to 15 times its size meanwhile, and a body at fault 250 bytes for each of its values.
_SHARES: Final = {"max_document_bytes": 24, "max_values": 400, "max_bytes_in_flight": 4, "max_tensor_bytes": 1}


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
