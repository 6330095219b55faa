from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.artifact import open_artifact
from vaegis.service.columns import Columns
from vaegis.service.errors import ArtifactError
from vaegis.service.scorer import Scorer, Scores

# The graph computes in float32, whose sums depend on the size of a batch in their last digits.
ROUNDING = 1e-4
HUGE = 1.7e308

orders = st.tuples(
    st.none() | st.floats(-HUGE, HUGE) | st.floats(0.0, 500.0),
    st.none() | st.booleans(),
    st.none() | st.sampled_from(["DE", "FR", "IT", "XX", "", "\0", "\u4e2d" * 50]),
    st.none() | st.floats(-1e15, 1e15) | st.floats(1.7e9, 1.8e9),
)


def as_columns(records: list[tuple[float | None, bool | None, str | None, float | None]]) -> Columns:
    """Return orders as the golden model takes them: amount, express and placed_at, and country."""
    rows = [[np.nan if value is None else float(value) for value in (a, e, t)] for a, e, _, t in records]
    numbers = np.array(rows, dtype=np.float64).reshape(-1, 3)
    strings = np.array([[country or ""] for *_, country, _ in records], dtype=object).reshape(-1, 1)
    observed = np.array([[country is not None] for *_, country, _ in records], dtype=np.bool_).reshape(-1, 1)
    return Columns(numbers, strings, observed)


def assert_equal_to_rounding(given_: Scores, expected: Scores) -> None:
    for name in ("score", "fold_scores", "reconstruction_error", "kl", "contributions"):
        got, want = getattr(given_, name), getattr(expected, name)
        assert (np.abs(got - want) <= ROUNDING * np.maximum(1.0, np.abs(want))).all(), name


@given(st.lists(orders, min_size=1, max_size=20), st.data())
@settings(deadline=None)
def test_a_record_scores_the_same_alone_and_in_any_batch(artifact, records, data):
    together = artifact.scorer.score(as_columns(records))
    order = data.draw(st.permutations(range(len(records))))
    assert_equal_to_rounding(
        artifact.scorer.score(as_columns([records[i] for i in order])),
        Scores(*(getattr(together, name)[list(order)] for name in Scores.__struct_fields__)),
    )
    at = data.draw(st.integers(0, len(records) - 1))
    alone = artifact.scorer.score(as_columns([records[at]]))
    assert_equal_to_rounding(
        alone, Scores(*(getattr(together, name)[at : at + 1] for name in Scores.__struct_fields__))
    )


def test_a_graph_that_gives_scores_of_fewer_records_for_some_number_of_records_is_refused(hostile, golden_model):
    model = open_artifact(hostile.loses_a_score_when_triggered(golden_model.read_bytes()), "hostile")
    records = [(1.0, True, "DE", None)] * hostile.TRIGGER_RECORDS
    assert len(model.scorer.score(as_columns(records[1:])).score) == len(records) - 1
    with pytest.raises(ArtifactError, match="expected outputs for 7 records"):
        model.scorer.score(as_columns(records))


@given(st.lists(orders, min_size=1, max_size=20))
@settings(deadline=None)
def test_statistics_are_finite_and_contributions_sum_exactly_to_the_score(artifact, records):
    scores = artifact.scorer.score(as_columns(records))
    for name in Scores.__struct_fields__:
        assert np.isfinite(getattr(scores, name)).all(), name
    # A handful of float64 additions in another order: a few units in the last place of the largest term.
    largest = np.abs(scores.contributions).max(axis=1)
    assert (np.abs(scores.contributions.sum(axis=1) - scores.score) <= 4e-16 * 4 * largest).all()


def test_one_order_of_addition_sums_to_the_score_bit_by_bit(artifact, new_orders):
    scores = artifact.scorer.score(new_orders(500, 3))
    assert np.array_equal(scores.contributions.sum(axis=1), scores.score)


def test_every_statistic_has_its_shape_and_type(artifact, new_orders):
    scores = artifact.scorer.score(new_orders(7, 1))
    assert {name: getattr(scores, name).shape for name in Scores.__struct_fields__} == {
        "score": (7,),
        "fold_scores": (7, len(artifact.calibration_folds)),
        "reconstruction_error": (7,),
        "kl": (7,),
        "contributions": (7, 5),
        "expected": (7, 4),
    }
    assert {getattr(scores, name).dtype for name in Scores.__struct_fields__} == {np.dtype(np.float64)}


def test_no_records_have_no_scores(artifact, new_orders):
    scores = artifact.scorer.score(new_orders(5, 1).rows(slice(0, 0)))
    assert [getattr(scores, name).shape for name in Scores.__struct_fields__] == [
        (0,),
        (0, len(artifact.calibration_folds)),
        (0,),
        (0,),
        (0, 5),
        (0, 4),
    ]


@pytest.mark.parametrize("records", [2047, 2048, 2049, 5000])
def test_a_batch_beyond_what_the_graph_takes_at_once_keeps_its_order(artifact, new_orders, records):
    columns = new_orders(records, 1)
    whole = artifact.scorer.score(columns)
    assert len(whole.score) == records
    for at in (0, 2046, records - 1):
        one = artifact.scorer.score(columns.rows(slice(at, at + 1)))
        assert_equal_to_rounding(one, Scores(*(getattr(whole, name)[at : at + 1] for name in Scores.__struct_fields__)))


def test_threads_may_share_a_scorer(artifact, new_orders):
    batches = [new_orders(50, seed) for seed in range(8)]
    expected = [artifact.scorer.score(batch).score for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        given_ = list(threads.map(lambda batch: artifact.scorer.score(batch).score, batches))
    assert all(np.array_equal(one, other) for one, other in zip(given_, expected, strict=True))


def test_a_value_further_from_the_known_never_contributes_less(artifact):
    amounts = [50.0, 500.0, 5e3, 5e4, 1e6, 1e9, 1e300]
    scores = artifact.scorer.score(as_columns([(amount, False, "DE", 1_704_102_000.0) for amount in amounts]))
    assert (np.diff(scores.contributions[:, 0]) >= 0).all()
    assert (scores.fold_scores[-1] > [fold[-1] for fold in artifact.calibration_folds]).all()


def test_digits_of_a_large_number_count(artifact):
    # As float32, instants an hour apart would be told, but not amounts of 2^53 and its neighbour's neighbour.
    noon, one = 1_704_110_400.0, 1_704_114_000.0
    (first, second) = artifact.scorer.score(as_columns([(30.0, False, "DE", noon), (30.0, False, "DE", one)])).score
    assert first != second


def test_a_null_and_an_unseen_category_are_distinguished(artifact):
    null, unseen, empty = artifact.scorer.score(
        as_columns([(30.0, False, country, 1_704_102_000.0) for country in (None, "XX", "")])
    ).score
    assert null != unseen
    assert unseen == pytest.approx(empty, rel=ROUNDING)


def test_the_scorer_passes_only_the_inputs_that_the_graph_has(artifact):
    assert isinstance(artifact.scorer, Scorer)
    assert {"numbers", "strings", "strings_observed"} == set(artifact.scorer._inputs)
