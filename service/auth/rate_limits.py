"""Rate limits of callers: token buckets, in memory that several processes may share."""

from __future__ import annotations

import mmap
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Final

from vaegis.service.auth.keys import Key

if sys.platform != "win32":
    import fcntl

_SETS: Final = 256
_SLOTS_PER_SET: Final = 16
_SLOT_BYTES: Final = 16  # the id of a bucket, and the time at which it is full again


class TokenBuckets:
    """Token buckets by id. Several threads may use them, and with a file several processes.

    A bucket's level follows from one number, the time at which it is full again (the generic cell rate algorithm; ITU-T
    I.371, annex A). An id selects a set of slots. If all slots of a set are in use, the bucket that is full first loses
    its slot: of 4,096 slots, most of them free, that is a bucket that nobody has used for long.
    """

    def __init__(self, file: Path | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        """Open the buckets.

        Args:
            file: File that the processes of one service share, created if missing; None for memory of this process.
            now: Clock in seconds, the same in all processes.

        Raises:
            OSError: The file cannot be written.
        """
        self._now = now
        self._threads = Lock()
        self._file = None if file is None else os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = _SETS * _SLOTS_PER_SET * _SLOT_BYTES
        if self._file is None:
            memory = memoryview(bytearray(size))
        else:
            os.ftruncate(self._file, size)
            memory = memoryview(mmap.mmap(self._file, size))
        self._ids = memory.cast("Q")
        self._full_at = memory.cast("d")
        self._known: dict[int, int] = {}

    def try_spend(self, bucket_id: int, cost_s: float, capacity_s: float, *, into_debt: bool = False) -> float:
        """Spend ``cost_s`` if the bucket holds that much or is full.

        Args:
            bucket_id: The bucket, by `bucket_id_of`.
            cost_s: Cost, as the seconds in which the bucket refills by it.
            capacity_s: Capacity, in the same unit. A full bucket pays a higher cost by going into debt.
            into_debt: Whether to spend in any case.

        Returns:
            0 if it was spent; otherwise the seconds until it can be.
        """
        with self._threads:
            self._lock()
            try:
                slot, now = self._slot_of(bucket_id), self._now()
                spent_s = max(self._full_at[slot] - now, 0.0)
                excess_s = spent_s + min(cost_s, capacity_s) - capacity_s
                if excess_s > 0 and not into_debt:
                    return excess_s
                self._full_at[slot] = now + spent_s + cost_s
                return 0.0
            finally:
                self._unlock()

    def _lock(self) -> None:
        """Keep other processes out. The system releases the lock if this process dies."""
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_EX)

    def _unlock(self) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _slot_of(self, bucket_id: int) -> int:
        """Return the index of a bucket's time, after giving it a slot if it had none."""
        ids, full_at = self._ids, self._full_at
        known = self._known.get(bucket_id)
        if known is not None and ids[known] == bucket_id:
            return known + 1
        first = bucket_id % _SETS * _SLOTS_PER_SET * 2
        slots = range(first, first + _SLOTS_PER_SET * 2, 2)
        at = next((slot for slot in slots if ids[slot] == bucket_id), None)
        if at is None:
            at = min(slots, key=lambda slot: full_at[slot + 1])
            ids[at], full_at[at + 1] = bucket_id, 0.0
        self._known[bucket_id] = at
        return at + 1


def bucket_id_of(name: str) -> int:
    """Return the id of a caller's bucket: 64 bits of the hash of its name."""
    return int.from_bytes(sha256(name.encode()).digest()[:8]) or 1


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A caller's rate limit, a token bucket.

    A request is accepted if the bucket has a token for each of its records, or is full. So a request of more records
    than the bucket holds goes into debt, which is paid before the next one is accepted.

    Attributes:
        buckets: Where the bucket is.
        bucket_id: Its id.
        records_per_s: Tokens added per second.
        burst_s: Seconds in which an empty bucket fills.
    """

    buckets: TokenBuckets
    bucket_id: int
    records_per_s: float
    burst_s: float

    def wait_s(self) -> float:
        """Return the seconds until one record would be accepted."""
        return self.buckets.try_spend(self.bucket_id, 0.0, max(self.burst_s - 1 / self.records_per_s, 0.0))

    def try_spend(self, records: int, *, into_debt: bool = False) -> float:
        """Spend a token for each record, or none; see `TokenBuckets.try_spend`."""
        cost_s = records / self.records_per_s
        return self.buckets.try_spend(self.bucket_id, cost_s, self.burst_s, into_debt=into_debt)


@dataclass(slots=True)
class RateLimits:
    """The rate limits of all callers.

    Attributes:
        buckets: Where their buckets are.
        records_per_s: Rate of each key that has none of its own, and of all callers without a key together; None for
            no limit.
        burst_s: Seconds in which an empty bucket fills.
    """

    buckets: TokenBuckets
    records_per_s: float | None
    burst_s: float
    _limits: dict[str, tuple[Key | None, RateLimit | None]] = field(default_factory=dict, init=False)

    def limit_of(self, key: Key | None) -> RateLimit | None:
        """Return the rate limit of a key, or of all callers without a key; None if there is no limit."""
        name = "" if key is None else key.name
        known = self._limits.get(name)
        if known is None or known[0] is not key:  # a key that was reloaded may have another rate
            known = self._limits[name] = (key, self._new_limit(name, key))
        return known[1]

    def _new_limit(self, name: str, key: Key | None) -> RateLimit | None:
        rate = self.records_per_s if key is None or key.records_per_s is None else key.records_per_s
        return None if rate is None else RateLimit(self.buckets, bucket_id_of(name), rate, self.burst_s)
