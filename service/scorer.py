"""Run the graph: columns in, statistics out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.errors import ArtifactError
from vaegis.service.records.kinds import kind_of
from vaegis.service.runtime import Session

OUTPUTS = ("score", "fold_scores", "reconstruction_error", "kl", "contributions", "expected")
"""Outputs of the graph, in the order of the fields of `Scores`."""

_OUTPUTS = list(OUTPUTS)  # onnxruntime takes no tuple
_MAX_GRAPH_RECORDS = 256  # bounds the memory of one run of the graph; larger batches are no faster


class Scores(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Statistics of n records over D columns by an ensemble of K members, all float64.

    Attributes:
        score: Half the mean of `fold_scores` and half the largest, shape (n,), without a unit: 0 is typical, higher is
            more anomalous; at least -4 log 2.
        fold_scores: The score by each member, which was fitted without one fold of the records, shape (n, K).
        reconstruction_error: -E_q[log p(x|z)], mean over the members, nats, shape (n,).
        kl: KL(q(z|x) || p(z)), an upper bound in closed form, mean over the members, nats, shape (n,).
        contributions: Shape (n, D + 1); the last is the latent term. Each row sums to `score`.
        expected: Shape (n, D). Numeric: value in the column's unit. Boolean: probability of true.
            Categorical, text: code of the likeliest category or pattern. Timestamp: likeliest weekday * 24 + hour, from
            Monday 00 UTC.
    """

    score: NDArray[np.float64]
    fold_scores: NDArray[np.float64]
    reconstruction_error: NDArray[np.float64]
    kl: NDArray[np.float64]
    contributions: NDArray[np.float64]
    expected: NDArray[np.float64]


class Scorer:
    """The scoring graph of one artifact. It keeps nothing between calls and may be called from several threads."""

    def __init__(self, session: Session, schema: Schema) -> None:
        """Wrap a session whose inputs and outputs are those of ``schema`` (`vaegis.service.artifact` checks that)."""
        self._session = session
        self._forms = _forms(schema)
        self._inputs = tuple(session.inputs())
        self._width = len(schema.number_positions), len(schema.string_positions)

    def score(self, columns: Columns) -> Scores:
        """Return the statistics of each record, in order; a record's are the same in any batch, to float32 rounding.

        Args:
            columns: The records.

        Raises:
            RunTimeoutError: a run of the graph took longer than it may.
            ArtifactError: the graph returned outputs for another number of records.
        """
        columns = self.scored(columns)
        if len(columns.numbers) <= _MAX_GRAPH_RECORDS:
            return Scores(*self._run(columns))
        starts = range(0, len(columns), _MAX_GRAPH_RECORDS)
        parts = [self._run(columns.rows(slice(i, i + _MAX_GRAPH_RECORDS))) for i in starts]
        return Scores(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def scored(self, columns: Columns) -> Columns:
        """Return the columns that the graph takes: the first ones, where others are read to be checked alone."""
        return columns.first(*self._width)

    def _run(self, columns: Columns) -> list[NDArray[np.float64]]:
        available = {
            "numbers": columns.numbers,
            "strings": _with_forms(columns.strings, self._forms),
            "strings_observed": columns.strings_observed,
        }
        feeds = {name: available[name] for name in self._inputs}
        outputs: list[NDArray[np.float64]] = self._session.run(_OUTPUTS, feeds)
        records = len(columns)
        if any(output.shape[:1] != (records,) for output in outputs):
            # Opening a model tries only a few numbers of records, and a batch may hold records of several callers.
            raise ArtifactError(f"graph: expected outputs for {records} records, got others")
        return outputs


def graph_strings(schema: Schema, strings: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return `Columns.strings` as the graph takes them: the form of each value where the form alone is watched."""
    return _with_forms(strings, _forms(schema))


_Forms: TypeAlias = list[tuple[int, Callable[[Sequence[str]], list[str]]]]


def _forms(schema: Schema) -> _Forms:
    """Return which columns of `strings` the graph does not take as they are, and what makes that of them."""
    found = ((at, kind_of(column).forms(column)) for at, column in enumerate(schema.categorical))
    return [(at, forms) for at, forms in found if forms is not None]


def _with_forms(strings: NDArray[np.object_], columns: _Forms) -> NDArray[np.object_]:
    if not columns or not len(strings):
        return strings
    with_forms = strings.copy()
    for at, forms in columns:
        with_forms[:, at] = forms(strings[:, at].tolist())
    return with_forms
