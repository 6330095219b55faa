"""Scoring: columns in, the graph's statistics out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.columns import Columns
from service.contract import Schema
from service.runtime import Session

OUTPUTS = ("score", "reconstruction_error", "kl", "contributions", "expected")
"""Outputs of the graph, in the order of the fields of `Scores`."""

_MAX_GRAPH_RECORDS = 256  # bounds the memory of one run of the graph; larger batches are no faster


@dataclass(frozen=True, slots=True)
class Scores:
    """Statistics of n records over D columns, all float64.

    Attributes:
        score: Shape (n,), nats above what is typical; higher is more anomalous.
        reconstruction_error: -E_q[log p(x|z)], nats, shape (n,).
        kl: KL(q(z|x) || p(z)), an upper bound in closed form, nats, shape (n,).
        contributions: Shape (n, D + 1), nats; the last is the latent term. Each row sums to `score`.
        expected: Shape (n, D). Numeric: value in the column's unit. Boolean: probability of true.
            Categorical: code of the likeliest category. Timestamp: likeliest weekday * 24 + hour, from Monday 00 UTC.
    """

    score: NDArray[np.float64]
    reconstruction_error: NDArray[np.float64]
    kl: NDArray[np.float64]
    contributions: NDArray[np.float64]
    expected: NDArray[np.float64]


class Scorer:
    """The scoring graph of one artifact. It keeps nothing between calls and may be called from several threads."""

    def __init__(self, session: Session, schema: Schema) -> None:
        """Wrap a session whose inputs and outputs fit ``schema`` (`service.artifact` checks that)."""
        self._session = session
        self._inputs = tuple(node.name for node in session.get_inputs())
        self._width = len(schema.columns)

    def score(self, columns: Columns) -> Scores:
        """Return the statistics of each record, in order; a record's are the same in any batch, to float32 rounding."""
        n = len(columns)
        parts = [self._run(columns.rows(slice(i, i + _MAX_GRAPH_RECORDS))) for i in range(0, n, _MAX_GRAPH_RECORDS)]
        if not parts:
            empty = np.zeros(0)
            return Scores(empty, empty, empty, np.zeros((0, self._width + 1)), np.zeros((0, self._width)))
        if len(parts) == 1:
            return Scores(*parts[0])
        return Scores(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _run(self, columns: Columns) -> list[NDArray[np.float64]]:
        available = {
            "numbers": columns.numbers,
            "strings": columns.strings,
            "strings_observed": columns.strings_observed,
        }
        outputs: list[NDArray[np.float64]] = self._session.run(
            list(OUTPUTS), {name: available[name] for name in self._inputs}
        )
        return outputs
