"""The baselines of an evaluation: scikit-learn's isolation forest, and the mean distance to the nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from vaegis.service.columns import Columns
from vaegis.service.contract import DAYS_PER_WEEK, EPOCH_WEEKDAY, HOURS_PER_DAY, Schema
from vaegis.service.records.kinds import kind_of
from vaegis.service.scorer import graph_strings

NEIGHBOURS = 5
MAX_REFERENCE_RECORDS = 20_000
"""Most normal records that a baseline is fitted on, a random sample of those given."""

_MAX_CATEGORIES = 64
_LARGEST = 1e6  # standard deviations; squares of what lies beyond would overflow
_SECONDS_PER_HOUR = 3600.0
_SCORED_AT_ONCE = 4096

ScoreFunction = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A fitted detector.

    Attributes:
        name: As it stands in reports.
        score: Scores feature vectors, shape (n, d) to (n,); higher is more anomalous.
    """

    name: str
    score: ScoreFunction


class Baselines:
    """Detectors fitted on the same normal records, in the same features."""

    def __init__(self, schema: Schema, reference: Columns, seed: int) -> None:
        """Fit on ``reference``, normal records, at least one; on a random `MAX_REFERENCE_RECORDS` of more."""
        if len(reference) > MAX_REFERENCE_RECORDS:
            chosen = np.random.default_rng(seed).choice(len(reference), MAX_REFERENCE_RECORDS, replace=False)
            reference = reference.rows(np.sort(chosen))
        self._features = _Features(schema, reference)
        vectors = self._features.of(reference)
        self._fitted = (_isolation_forest(vectors, seed), _nearest_neighbours(vectors))
        self.reference_records = len(reference)

    def score(self, columns: Columns) -> dict[str, NDArray[np.float64]]:
        """Return the scores of the records by the name of the detector, each of shape (n,)."""
        starts = range(0, len(columns), _SCORED_AT_ONCE)
        parts = [self._features.of(columns.rows(slice(at, at + _SCORED_AT_ONCE))) for at in starts]
        return {
            baseline.name: np.concatenate([np.zeros(0), *(baseline.score(part) for part in parts)])
            for baseline in self._fitted
        }


class _Features:
    """Records as vectors, as an ordinary scikit-learn pipeline makes them.

    Numbers imputed by the median and standardised, instants as time of day and day of week on the circle, categories
    and patterns of text one-hot.
    """

    def __init__(self, schema: Schema, reference: Columns) -> None:
        self._schema = schema
        kinds = [kind_of(schema.columns[position]) for position in schema.number_positions]
        self._is_instant = np.array([kind.takes_instants for kind in kinds], dtype=np.bool_)
        encoders = (
            (
                self._numbers,
                make_pipeline(SimpleImputer(keep_empty_features=True, strategy="median"), StandardScaler()),
            ),
            (self._strings, _one_hot()),
        )
        self._fitted = [
            (values_of, encoder.fit(values_of(reference)))
            for values_of, encoder in encoders
            if values_of(reference).shape[1]
        ]

    def of(self, columns: Columns) -> NDArray[np.float64]:
        """Return the vectors of n records, shape (n, features)."""
        vectors = np.concatenate([encoder.transform(values_of(columns)) for values_of, encoder in self._fitted], axis=1)
        clipped: NDArray[np.float64] = np.clip(vectors, -_LARGEST, _LARGEST)
        return clipped

    def _numbers(self, columns: Columns) -> NDArray[np.float64]:
        instants = columns.numbers[:, self._is_instant]
        return np.concatenate([columns.numbers[:, ~self._is_instant], _on_the_circle(instants)], axis=1)

    def _strings(self, columns: Columns) -> NDArray[np.object_]:
        return graph_strings(self._schema, columns.strings)


def _one_hot() -> OneHotEncoder:
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=_MAX_CATEGORIES, sparse_output=False, dtype=np.float64
    )


def _on_the_circle(instants: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sine and cosine of the time of day and of the day of the week, shape (n, 4 * columns)."""
    hours = instants / _SECONDS_PER_HOUR
    of_day = 2 * np.pi * hours / HOURS_PER_DAY
    weekday = np.floor(hours / HOURS_PER_DAY) + EPOCH_WEEKDAY
    of_week = 2 * np.pi * weekday / DAYS_PER_WEEK
    return np.concatenate([np.sin(of_day), np.cos(of_day), np.sin(of_week), np.cos(of_week)], axis=1)


def _isolation_forest(vectors: NDArray[np.float64], seed: int) -> Baseline:
    forest = IsolationForest(random_state=seed).fit(vectors)
    return Baseline("IsolationForest", lambda records: -forest.score_samples(records))


def _nearest_neighbours(vectors: NDArray[np.float64]) -> Baseline:
    neighbours = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(vectors))).fit(vectors)
    return Baseline(f"kNN, mean of {NEIGHBOURS}", lambda records: neighbours.kneighbors(records)[0].mean(axis=1))
