"""How many records a batch may have, so that scoring it does not hold the event loop up for long."""

from __future__ import annotations

from typing import Final

BATCH_S: Final = 0.01
"""Longest time that the model is to take for a batch."""
FEW_RECORDS: Final = 64
"""Always allowed; of fewer, starting the graph takes much of the time, and nothing is learned from them."""

_SLOWER: Final = 1.1  # how much longer a record is thought to take after a batch that took longer
_FASTEST_S: Final = 1e-6  # a record, before anything is known


class BatchSize:
    """Learns from batches how long the model takes for a record: at once from a faster one, else little by little.

    So a pause of the machine counts for little.
    """

    def __init__(self, max_records: int) -> None:
        """Allow ``max_records`` in any case."""
        self._max_records = max_records
        self._record_s = _FASTEST_S

    @property
    def most_records(self) -> int:
        """Most records of the next batch."""
        return min(self._max_records, max(FEW_RECORDS, int(BATCH_S / self._record_s)))

    def note(self, records: int, seconds: float) -> None:
        """Learn from a batch of so many records."""
        if records >= FEW_RECORDS:
            self._record_s = max(_FASTEST_S, min(self._record_s * _SLOWER, seconds / records))
