"""The result of scoring in Python: verdicts as arrays, as plain Python or as an Arrow table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.errors import Fault, needs_extra
from vaegis.service.records.blocks import Block, in_order
from vaegis.service.records.faults import error_fields
from vaegis.service.verdicts import ARRAYS, FIELDS, Verdicts

if TYPE_CHECKING:
    import pyarrow as pa


class ScoreResult(Verdicts, frozen=True, eq=False, kw_only=True, gc=False):
    """The verdicts on n records, in order, with the fields of `Verdicts`.

    Iterating yields one dict per record. Libraries that take Arrow data take the result, as in
    ``polars.DataFrame(result)``, ``pyarrow.table(result)`` or DuckDB's ``from result``.

    Attributes:
        alpha: Share of normal records that may be flagged.
        threshold: Score above which a record is flagged; `is_anomaly` decides where a model has several members.
        guarantee: What alpha promises, as a sentence.
        errors: Per record: its faults, or None. The whole is None with ``on_invalid="reject"``. A record with faults
            has no verdict: NaN in the arrays, and False in `is_anomaly`.
    """

    alpha: float
    threshold: float
    guarantee: str
    errors: list[tuple[Fault, ...] | None] | None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = tuple(self.fields())
        for values in zip(*self._columns(), strict=True):
            yield dict(zip(names, values, strict=True))

    def __repr__(self) -> str:
        return f"<ScoreResult: {len(self)} records, {int(self.is_anomaly.sum())} flagged at alpha {self.alpha:g}>"

    def to_list(self) -> list[dict[str, Any]]:
        """Return one dict for each record, of values that JSON can hold. A record with faults has nulls."""
        return list(self)

    def to_arrow(self) -> pa.Table:
        """Return a table with one row for each record. Observed and expected values are JSON text.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        with needs_extra("files"):
            from vaegis.service.files.verdict_table import verdict_table
        return verdict_table(self.fields(), self.refused())

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        stream: object = self.to_arrow().__arrow_c_stream__(requested_schema)
        return stream

    def fields(self) -> dict[str, Any]:
        """Return the fields of the verdicts by name, with errors if they are reported."""
        fields = {name: getattr(self, name) for name in FIELDS}
        return fields if self.errors is None else fields | {"errors": self.errors}

    def refused(self) -> NDArray[np.bool_]:
        """Return which records have faults, and so no verdict; shape (n,)."""
        if self.errors is None:
            return np.zeros(len(self), dtype=np.bool_)
        return np.array([faults is not None for faults in self.errors], dtype=np.bool_)

    def _columns(self) -> Iterator[Sequence[Any]]:
        """Yield the fields as lists of plain Python."""
        refused = self.refused().nonzero()[0].tolist()
        reasons = [[reason.value for reason in of_record] for of_record in self.reasons]
        columns: list[list[Any]] = [getattr(self, name).tolist() for name in ARRAYS]
        violations = [list(items) and msgspec.to_builtins(list(items)) for items in self.violations]
        contributions = [items and msgspec.to_builtins(list(items)) for items in self.contributions]
        columns += [violations, reasons, [*self.signature], contributions]
        for values in columns:
            for row in refused:
                values[row] = None
            yield values
        if self.errors is not None:
            yield [faults and msgspec.to_builtins(error_fields(faults)) for faults in self.errors]


def result_of(
    parts: Sequence[tuple[Block, Verdicts]], *, alpha: float, threshold: float, guarantee: str, with_errors: bool
) -> ScoreResult:
    """Return the verdicts on the records of blocks.

    Args:
        parts: Blocks, each with the verdicts on its sound records.
        alpha: Share of normal records that may be flagged.
        threshold: Score above which a record is flagged.
        guarantee: What alpha promises.
        with_errors: Whether the result lists faults; otherwise no block has any.
    """
    arrays = {
        name: np.concatenate(
            [
                np.empty(0, dtype=np.bool_ if name == "is_anomaly" else np.float64),
                *(block.spread(getattr(verdicts, name), name != "is_anomaly" and np.nan) for block, verdicts in parts),
            ]
        )
        for name in ARRAYS
    }
    return ScoreResult(
        alpha=alpha,
        threshold=threshold,
        guarantee=guarantee,
        violations=[broken for block, verdicts in parts for broken in in_order(block, verdicts.violations, repeat(()))],
        reasons=[why for block, verdicts in parts for why in in_order(block, verdicts.reasons, repeat(()))],
        signature=[key for block, verdicts in parts for key in in_order(block, verdicts.signature, repeat(None))],
        contributions=[
            item for block, verdicts in parts for item in in_order(block, verdicts.contributions, repeat(None))
        ],
        errors=[block.faults.get(row) for block, _ in parts for row in range(block.records)] if with_errors else None,
        **arrays,
    )
