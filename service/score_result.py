"""The result of scoring in Python: verdicts as arrays, as plain Python or as an Arrow table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.errors import Fault
from vaegis.service.explanations import Contribution
from vaegis.service.extras import needs_extra
from vaegis.service.reasons import Reason
from vaegis.service.records.blocks import Block, in_order
from vaegis.service.records.faults import error_fields
from vaegis.service.verdicts import ARRAYS, FIELDS, Verdicts
from vaegis.service.violations import Violation

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ScoreResult:
    """The verdicts on n records, in order.

    Iterating yields one dict per record. Libraries that take Arrow data take the result, as in
    ``polars.DataFrame(result)``, ``pyarrow.table(result)`` or DuckDB's ``from result``.

    Attributes:
        alpha: Share of normal records that may be flagged.
        threshold: Score above which a record is flagged; `is_anomaly` decides where a model has several members.
        guarantee: What alpha promises, as a sentence.
        score: Shape (n,), as are the arrays below; higher is more anomalous.
        p_value: Conformal p-values, in (0, 1].
        is_anomaly: Whether the p-value is at most alpha.
        elbo: -(reconstruction_error + kl), nats.
        reconstruction_error: -E_q[log p(x|z)], nats.
        kl: KL(q(z|x) || p(z)), nats.
        latent_contribution: What the latent code adds to the score.
        violations: Per record: the values that break a check of their column, whether the record is flagged or not.
        reasons: Per record: why it is an anomaly, the strongest reason first; empty for other records.
        signature: Per record: a short key of the columns and reasons that lead an anomaly; None for other records.
        contributions: Per record: what each column adds to the score, columns with a violation first, then the largest;
            None if it is not explained.
        errors: Per record: its faults, or None. The whole is None with ``on_invalid="reject"``. A record with faults
            has no verdict: NaN in the arrays, and False in `is_anomaly`.
    """

    alpha: float
    threshold: float
    guarantee: str
    score: NDArray[np.float64]
    p_value: NDArray[np.float64]
    is_anomaly: NDArray[np.bool_]
    elbo: NDArray[np.float64]
    reconstruction_error: NDArray[np.float64]
    kl: NDArray[np.float64]
    latent_contribution: NDArray[np.float64]
    violations: list[tuple[Violation, ...]]
    reasons: list[tuple[Reason, ...]]
    signature: list[str | None]
    contributions: list[tuple[Contribution, ...] | None]
    errors: list[tuple[Fault, ...] | None] | None

    def __len__(self) -> int:
        return len(self.score)

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
