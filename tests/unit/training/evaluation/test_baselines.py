"""The baselines find what an ordinary pipeline would find, in columns of every kind."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from vaegis.service.columns import Columns
from vaegis.service.contract import (
    QUANTILE_FRACTIONS,
    BooleanColumn,
    CategoricalColumn,
    NumericColumn,
    Schema,
    TimestampColumn,
)
from vaegis.training.evaluation.baselines import MAX_REFERENCE_RECORDS, Baselines

DAY = 86_400.0
KNN = "kNN, mean of 5"


def numeric(name):
    return NumericColumn(
        name=name,
        missing_share=0.0,
        minimum=-5.0,
        maximum=5.0,
        quantiles=(0.0,) * len(QUANTILE_FRACTIONS),
        step=0.0,
        noise_scale=1.0,
        degrees_of_freedom=4.0,
    )


MIXED = Schema(
    columns=(
        numeric("amount"),
        CategoricalColumn(name="country", missing_share=0.0, categories=("at", "ch"), shares=(0.5, 0.5)),
        TimestampColumn(name="at", missing_share=0.0, earliest=0.0, latest=30 * DAY),
        BooleanColumn(name="paid", missing_share=0.0, true_share=1.0),
    )
)


def numbers_only(values):
    n = len(values)
    return Columns(np.asarray(values, dtype=float), np.empty((n, 0), dtype=object), np.zeros((n, 0), dtype=bool))


def mixed(amounts, countries, instants, paid):
    strings = np.array([[country or ""] for country in countries], dtype=object)
    numbers = np.array([amounts, instants, paid], dtype=float).T
    return Columns(numbers, strings, np.array([[country is not None] for country in countries]))


def ordinary(n=300):
    generator = np.random.default_rng(0)
    return mixed(
        generator.normal(size=n),
        generator.choice(["at", "ch"], n),
        np.arange(n) % 30 * DAY + generator.normal(12 * 3600, 600, n),  # every day about noon
        np.ones(n),
    )


def test_knn_is_the_mean_distance_in_standardised_columns():
    generator = np.random.default_rng(0)
    reference, records = generator.normal(size=(100, 3)) * [1, 100, 1e6], generator.normal(size=(20, 3))
    scaler = StandardScaler().fit(reference)
    neighbours = NearestNeighbors(n_neighbors=5).fit(scaler.transform(reference))
    expected = neighbours.kneighbors(scaler.transform(records))[0].mean(axis=1)
    schema = Schema(columns=(numeric("a"), numeric("b"), numeric("c")))
    scores = Baselines(schema, numbers_only(reference), seed=0).score(numbers_only(records))
    np.testing.assert_allclose(scores[KNN], expected)


@pytest.mark.parametrize(
    ("amount", "country", "instant", "paid"),
    [
        (9.0, "at", 2 * DAY + 12 * 3600, 1),
        (0.0, "xx", 2 * DAY + 12 * 3600, 1),
        (0.0, "at", 2 * DAY, 1),
        (0.0, "at", 2 * DAY + 12 * 3600, 0),
    ],
    ids=["quantity", "category", "time of day", "truth value"],
)
def test_an_odd_value_of_any_kind_scores_above_the_ordinary_record(amount, country, instant, paid):
    baselines = Baselines(MIXED, ordinary(), seed=0)
    records = mixed([0.0, amount], ["at", country], [2 * DAY + 12 * 3600, instant], [1, paid])
    usual, odd = baselines.score(records)[KNN]
    assert odd > usual + 0.5


def test_the_isolation_forest_ranks_a_gross_value_first():
    generator = np.random.default_rng(0)
    baselines = Baselines(Schema(columns=(numeric("a"),)), numbers_only(generator.normal(size=(500, 1))), seed=0)
    scores = baselines.score(numbers_only([[0.0], [0.5], [30.0]]))["IsolationForest"]
    assert scores.argmax() == 2


def test_nulls_and_huge_values_still_get_finite_scores():
    nulls = mixed([np.nan, 1e308, -1e308], [None, "at", "at"], [np.nan, 0.0, 2e11], [np.nan, 1, 0])
    for scores in Baselines(MIXED, ordinary(), seed=0).score(nulls).values():
        assert np.isfinite(scores).all()


def test_a_column_that_is_always_null_is_no_hindrance():
    reference = numbers_only([[1.0, np.nan], [2.0, np.nan]])
    baselines = Baselines(Schema(columns=(numeric("a"), numeric("b"))), reference, seed=0)
    for scores in baselines.score(numbers_only([[1.0, 3.0]])).values():
        assert np.isfinite(scores).all()


def test_no_records_get_no_scores():
    for scores in Baselines(MIXED, ordinary(), seed=0).score(ordinary().rows(slice(0, 0))).values():
        assert scores.shape == (0,)


def test_many_reference_records_are_sampled():
    values = np.random.default_rng(0).normal(size=(MAX_REFERENCE_RECORDS + 10, 1))
    assert Baselines(Schema(columns=(numeric("a"),)), numbers_only(values), seed=0).reference_records == 20_000
