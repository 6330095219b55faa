"""How many records a second a caller may send, and what becomes of more."""

from __future__ import annotations

from dataclasses import dataclass, field

from vaegis.service.auth.keys import Key
from vaegis.service.auth.ledger import Ledger, mark_of


@dataclass(frozen=True, slots=True)
class Account:
    """A caller's rate, as a token bucket.

    A request is let in when the bucket has a token for each of its records, or is full: so one of more records than the
    bucket holds goes into debt, which is paid off before the next is let in.

    Attributes:
        ledger: Where it is kept how full the bucket is.
        mark: By which the ledger knows it.
        records_per_s: Tokens that come in a second.
        burst_s: Seconds that fill it.
    """

    ledger: Ledger
    mark: int
    records_per_s: float
    burst_s: float

    def wait_s(self) -> float:
        """Return the seconds until there is room for one record."""
        return self.ledger.take(self.mark, 0.0, max(self.burst_s - 1 / self.records_per_s, 0.0))

    def take(self, records: int) -> float:
        """Take a token for each record, or none.

        Returns:
            0 if they were taken; otherwise the seconds until they could be.
        """
        return self.ledger.take(self.mark, records / self.records_per_s, self.burst_s)

    def owe(self, records: int) -> float:
        """Take a token for each record, into debt if need be.

        Returns:
            The seconds until there is no debt.
        """
        return self.ledger.put(self.mark, records / self.records_per_s, self.burst_s)


@dataclass(slots=True)
class Rates:
    """The accounts of all callers.

    Attributes:
        ledger: Where it is kept how full their buckets are.
        records_per_s: For keys that have no rate of their own, and for all callers without a key together; None for no
            limit.
        burst_s: Seconds at its rate that a caller may save up.
    """

    ledger: Ledger
    records_per_s: float | None
    burst_s: float
    _opened: dict[str, tuple[Key | None, Account | None]] = field(default_factory=dict, init=False)

    def account_of(self, key: Key | None) -> Account | None:
        """Return the account of a key, or of all callers without one; None where there is no limit."""
        name = "" if key is None else key.name
        opened = self._opened.get(name)
        if opened is None or opened[0] is not key:  # a key that was read again may have another rate
            opened = self._opened[name] = (key, self._open(name, key))
        return opened[1]

    def _open(self, name: str, key: Key | None) -> Account | None:
        rate = self.records_per_s if key is None or key.records_per_s is None else key.records_per_s
        return None if rate is None else Account(self.ledger, mark_of(name), rate, self.burst_s)
