from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from vaegis.service.columns import Columns
from vaegis.service.contract import (
    BooleanColumn,
    CategoricalColumn,
    Check,
    NumericColumn,
    Schema,
    TimestampColumn,
    ViolationCode,
)
from vaegis.service.errors import AlphaError
from vaegis.service.explanations import Explainer
from vaegis.service.pvalues import false_alarm_bound, p_values, threshold
from vaegis.service.reasons import Reason
from vaegis.service.records.python_records import columns_from_records
from vaegis.service.scorer import Scores
from vaegis.service.verdicts import Explain, Verdicts, judge
from vaegis.service.violations import Violation, ViolationChecks

AMOUNT = NumericColumn(
    name="amount",
    missing_share=0.1,
    minimum=0.0,
    maximum=100.0,
    quantiles=(1.0, 5.0, 10.0, 20.0, 30.0, 50.0, 90.0),
    step=0.01,
    noise_scale=1.0,
    degrees_of_freedom=4.0,
)
EXPRESS = BooleanColumn(name="express", missing_share=0.0, true_share=0.3)
COUNTRY = CategoricalColumn(name="country", missing_share=0.0, categories=("DE", "FR"), shares=(0.8, 0.2))
PLACED_AT = TimestampColumn(name="placed_at", missing_share=0.0, earliest=0.0, latest=1e9)
SCHEMA = Schema(columns=(AMOUNT, COUNTRY, EXPRESS, PLACED_AT))
FOLDS = [np.arange(99, dtype=np.float64)]
TUESDAY_NOON = datetime(2024, 1, 2, 12, 30, tzinfo=UTC).timestamp()
EXPECTED = (20.004, 1.0, 0.2, 26.0)  # FR, false, Tuesday 02 o'clock


def records(amount=20.0, express=1.0, country: str | None = "DE", placed_at=TUESDAY_NOON) -> Columns:
    return Columns(
        numbers=np.array([[amount, express, placed_at]]),
        strings=np.array([[country or ""]], dtype=object),
        strings_observed=np.array([[country is not None]]),
    )


def judge_by(schema, folds, columns, scores, **options) -> Verdicts:
    return judge(Explainer(schema), folds, columns, scores, ViolationChecks(schema).violations(columns), **options)


def of_record(verdicts: Verdicts, row: int = 0) -> SimpleNamespace:
    """Return the fields of one record's verdict, as Python's own types."""
    fields = {name: getattr(verdicts, name)[row] for name in Verdicts.__slots__}
    return SimpleNamespace(
        **{name: value.item() if isinstance(value, np.generic) else value for name, value in fields.items()}
    )


def verdict(
    terms: tuple[float, ...], columns: Columns | None = None, explain: Explain = Explain.ALL, alpha: float = 0.01
) -> SimpleNamespace:
    """Judge one record whose terms, by column and the latent one last, are given."""
    scores = Scores(
        score=np.array([sum(terms)]),
        fold_scores=np.array([[sum(terms)]]),
        reconstruction_error=np.array([7.0]),
        kl=np.array([2.0]),
        contributions=np.array([terms]),
        expected=np.array([EXPECTED]),
    )
    return of_record(judge_by(SCHEMA, FOLDS, columns or records(), scores, alpha=alpha, explain=explain))


def test_an_ordinary_record_is_no_anomaly_and_has_no_reason():
    one = verdict((1.0, 2.0, 0.0, 0.0, -1.0))
    assert (one.score, one.p_value, one.is_anomaly, one.reasons) == (2.0, 0.98, False, ())


@pytest.mark.parametrize(("score", "is_anomaly"), [(97.9, False), (98.0, False), (98.1, True)])
def test_a_record_is_an_anomaly_when_its_score_exceeds_the_threshold(score, is_anomaly):
    assert threshold(FOLDS, 0.01) == 98.0
    assert verdict((score, 0.0, 0.0, 0.0, 0.0)).is_anomaly is is_anomaly


def test_the_p_value_compares_each_fold_with_its_own_member_and_the_score_is_no_part_of_it():
    scores = Scores(
        np.array([50.0]), np.array([[9.5, 90.5]]), *np.zeros((2, 1)), np.zeros((1, 5)), np.array([EXPECTED])
    )
    folds = [np.arange(10.0), np.arange(89.0)]
    one = of_record(judge_by(SCHEMA, folds, records(), scores, alpha=0.01, explain=Explain.NONE))
    assert (one.score, one.p_value, one.is_anomaly) == (50.0, 0.01, True)


def test_the_elbo_is_minus_the_sum_of_its_two_terms():
    one = verdict((0.0,) * 5)
    assert (one.elbo, one.reconstruction_error, one.kl) == (-9.0, 7.0, 2.0)


def test_contributions_come_largest_first_and_sum_with_the_latent_one_to_the_score():
    one = verdict((-1.0, 4.0, 2.0, 0.5, 3.0))
    assert one.contributions is not None
    assert [c.column for c in one.contributions] == ["country", "express", "placed_at", "amount"]
    assert sum(c.contribution for c in one.contributions) + one.latent_contribution == one.score


def test_equal_contributions_keep_the_order_of_the_schema():
    one = verdict((1.0,) * 5)
    assert one.contributions is not None
    assert [c.column for c in one.contributions] == ["amount", "country", "express", "placed_at"]


@pytest.mark.parametrize(
    ("explain", "of_normal", "of_anomaly"),
    [(Explain.NONE, False, False), (Explain.ANOMALIES, False, True), (Explain.ALL, True, True)],
)
def test_explain_says_which_verdicts_carry_contributions(explain, of_normal, of_anomaly):
    assert (verdict((0.0,) * 5, explain=explain).contributions is not None) is of_normal
    assert (verdict((200.0, 0.0, 0.0, 0.0, 0.0), explain=explain).contributions is not None) is of_anomaly


@pytest.mark.parametrize("explain", Explain)
def test_an_anomaly_has_its_reasons_whether_explained_or_not(explain):
    one = verdict((200.0, 0.0, 0.0, 0.0, 0.0), records(amount=500.0), explain=explain)
    assert one.reasons == (Reason.OUT_OF_RANGE,)


def test_a_normal_record_that_is_explained_has_no_reasons():
    one = verdict((5.0, 0.0, 0.0, 0.0, 5.0), records(amount=500.0))
    assert one.contributions is not None
    assert {c.reason for c in one.contributions} == {None}
    assert one.reasons == ()


def test_only_notable_terms_have_a_reason():
    # Of the columns' positive terms a tenth, 12 of 120, is notable; negative ones never are.
    one = verdict((100.0, 12.0, 8.0, -30.0, 24.0), records(amount=500.0, country="XX"))
    assert one.contributions is not None
    assert {c.column: c.reason for c in one.contributions} == {
        "amount": Reason.OUT_OF_RANGE,
        "country": Reason.UNSEEN_CATEGORY,
        "express": None,
        "placed_at": None,
    }
    assert one.reasons == (Reason.OUT_OF_RANGE, Reason.FAR_FROM_KNOWN, Reason.UNSEEN_CATEGORY)


def test_a_small_latent_term_is_no_reason():
    assert verdict((100.0, 0.0, 0.0, 0.0, 11.0), records(amount=500.0)).reasons == (Reason.OUT_OF_RANGE,)


def test_a_record_that_no_column_accounts_for_is_far_from_known():
    assert verdict((0.0, 0.0, 0.0, 0.0, 200.0)).reasons == (Reason.FAR_FROM_KNOWN,)


@pytest.mark.parametrize(
    ("terms", "values", "expected"),
    [
        ((100.0, 0.0, 0.0, 0.0, 0.0), {"amount": 500.0}, "amount:above_range"),
        ((100.0, 0.0, 0.0, 0.0, 0.0), {"amount": -5.0}, "amount:below_range"),
        ((100.0, 49.0, 0.0, 0.0, 49.0), {"country": "XX"}, "amount:rare_combination"),
        ((100.0, 50.0, 0.0, 0.0, 0.0), {"country": "XX"}, "amount:rare_combination+country:unseen_category"),
        ((60.0, 100.0, 0.0, 0.0, 0.0), {"country": None}, "amount:rare_combination+country:unexpected_missing"),
        ((60.0, 100.0, 60.0, 0.0, 0.0), {"country": "XX"}, "country:unseen_category+more"),
        ((60.0, 0.0, 0.0, 0.0, 100.0), {}, "amount:rare_combination+far_from_known"),
        ((0.0, 0.0, 0.0, 0.0, 200.0), {}, "far_from_known"),
    ],
)
def test_a_signature_names_the_columns_that_lead_and_why(terms, values, expected):
    for explain in Explain:
        assert verdict(terms, records(**values), explain).signature == expected


def test_a_signature_has_the_checks_alone_where_a_record_breaks_any():
    check = Check(code=ViolationCode.ABOVE_RANGE, limit=110.0)
    schema = Schema(columns=(AMOUNT.model_copy(update={"checks": (check,)}), COUNTRY, EXPRESS, PLACED_AT))
    terms = (10.0, 200.0, 0.0, 0.0, 0.0)
    scores = Scores(np.array([210.0]), np.array([[210.0]]), *np.zeros((2, 1)), np.array([terms]), np.array([EXPECTED]))
    one = of_record(judge_by(schema, FOLDS, records(amount=500.0), scores, alpha=0.01, explain=Explain.NONE))
    assert one.signature == "amount:above_range"


@pytest.mark.parametrize("explain", [Explain.ANOMALIES, Explain.ALL])
def test_a_column_that_breaks_a_check_comes_first_whatever_it_contributes(explain):
    broken = Violation("express", ViolationCode.UNEXPECTED_MISSING, None, None)
    terms = np.array([(200.0, 50.0, -1.0, 0.0, 0.0)])
    scores = Scores(np.array([249.0]), np.array([[249.0]]), *np.zeros((2, 1)), terms, np.array([EXPECTED]))
    one = of_record(
        judge(Explainer(SCHEMA), FOLDS, records(amount=500.0), scores, [(broken,)], alpha=0.01, explain=explain)
    )
    assert [c.column for c in one.contributions][:3] == ["express", "amount", "country"]
    assert one.contributions[0].reason is Reason.UNEXPECTED_MISSING
    assert one.reasons[:2] == (Reason.UNEXPECTED_MISSING, Reason.OUT_OF_RANGE)


def test_a_check_of_a_column_that_is_not_scored_stands_beside_the_columns_that_lead():
    broken = Violation("order_id", ViolationCode.UNUSUAL_FORM, "x", None)
    scores = Scores(
        np.array([200.0]), np.array([[200.0]]), *np.zeros((2, 1)), np.array([(200.0, 0, 0, 0, 0)]), np.array([EXPECTED])
    )
    options = {"alpha": 0.01, "explain": Explain.NONE}
    one = of_record(judge(Explainer(SCHEMA), FOLDS, records(amount=500.0), scores, [(broken,)], **options))
    assert one.signature == "amount:above_range+order_id:unusual_form"


def test_a_record_that_is_no_anomaly_has_no_signature():
    assert verdict((5.0, 0.0, 0.0, 0.0, 5.0), records(amount=500.0)).signature is None


def test_a_reason_that_several_columns_share_is_named_once():
    one = verdict((50.0, 50.0, 0.0, 0.0, 0.0), records(amount=np.nan, country=None))
    assert one.reasons == (Reason.UNEXPECTED_MISSING,)


def test_values_are_shown_as_their_columns_write_them():
    one = verdict((4.0, 3.0, 2.0, 1.0, 0.0))
    assert one.contributions is not None
    shown = {c.column: (c.observed, c.expected) for c in one.contributions}
    assert shown == {
        "amount": (20.0, 20.0),
        "country": ("DE", "FR"),
        "express": (True, False),
        "placed_at": ("2024-01-02T12:30:00+00:00", "Tuesday 02:00 UTC"),
    }
    assert shown["express"][0] is True


def test_nulls_are_shown_as_none():
    one = verdict((4.0, 3.0, 2.0, 1.0, 0.0), records(np.nan, np.nan, None, np.nan))
    assert one.contributions is not None
    assert [c.observed for c in one.contributions] == [None] * 4


def test_an_empty_string_is_a_value_and_not_a_null():
    one = verdict((0.0, 200.0, 0.0, 0.0, 0.0), records(country=""))
    assert one.contributions is not None
    assert (one.contributions[0].observed, one.contributions[0].reason) == ("", Reason.UNSEEN_CATEGORY)


@pytest.mark.parametrize("seconds", [1e13, -1e13, 1e300, -1e300])
def test_an_instant_outside_the_calendar_is_shown_as_its_seconds(seconds):
    one = verdict((0.0, 0.0, 0.0, 1.0, 0.0), records(placed_at=seconds))
    assert one.contributions is not None
    assert one.contributions[0].observed == seconds


def test_whole_numbers_of_a_column_of_whole_numbers_are_shown_as_integers():
    whole = AMOUNT.model_copy(update={"step": 1.0})
    schema = Schema(columns=(whole,))
    columns = Columns(np.array([[3.0], [3.5]]), np.empty((2, 0), dtype=object), np.empty((2, 0), dtype=np.bool_))
    zeros = np.zeros(2)
    scores = Scores(zeros, zeros[:, None], zeros, zeros, np.zeros((2, 2)), np.array([[2.7], [2.2]]))
    first, second = judge_by(schema, FOLDS, columns, scores, alpha=0.01, explain=Explain.ALL).contributions
    assert [(type(c.observed), c.observed) for c in first + second] == [(int, 3), (float, 3.5)]
    assert [(type(c.expected), c.expected) for c in first + second] == [(int, 3), (int, 2)]


def test_no_records_get_no_verdicts():
    empty = np.zeros(0)
    scores = Scores(empty, np.zeros((0, 1)), empty, empty, np.zeros((0, 5)), np.zeros((0, 4)))
    none = judge_by(SCHEMA, FOLDS, records().rows(slice(0, 0)), scores, alpha=0.01, explain=Explain.ALL)
    assert [len(getattr(none, name)) for name in Verdicts.__slots__] == [0] * len(Verdicts.__slots__)


@pytest.mark.parametrize("explain", Explain)
def test_records_judged_together_get_what_each_gets_alone(artifact, new_orders, explain):
    columns = new_orders(300, 3)
    scores = artifact.scorer.score(columns)
    together = artifact.judge(columns, alpha=0.2, explain=explain)
    assert 0 < together.is_anomaly.sum() < len(together)
    for row in range(len(columns)):
        at = slice(row, row + 1)
        of_row = Scores(*(getattr(scores, name)[at] for name in Scores.__struct_fields__))
        alone = artifact.judge_scored(columns.rows(at), of_row, alpha=0.2, explain=explain)
        assert of_record(alone) == of_record(together, row)


def test_records_are_judged_by_the_models_own_alpha_where_none_is_given(artifact, new_orders):
    columns, own = new_orders(2000, 3), artifact.contract.calibration.alpha
    flagged = artifact.judge(columns).is_anomaly
    assert flagged.any()
    assert (flagged == artifact.judge(columns, alpha=own).is_anomaly).all()
    assert flagged.sum() < artifact.judge(columns, alpha=20 * own).is_anomaly.sum()


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan"), 1e-9])
def test_no_record_is_judged_by_an_alpha_that_cannot_be_promised(artifact, new_orders, alpha):
    with pytest.raises(AlphaError, match="alpha: expected"):
        artifact.judge(new_orders(1, 3), alpha=alpha)


@pytest.fixture(scope="module")
def judged(artifact) -> Callable[..., SimpleNamespace]:
    """Judge one order with the golden model."""

    def judge_one(**record: object) -> SimpleNamespace:
        usual = {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2024-03-05T10:00:00Z"}
        columns = columns_from_records(
            [usual | record], artifact.contract.columns, unknown_columns="reject", max_faults=1
        )
        return of_record(artifact.judge(columns, alpha=0.1, explain=Explain.ALL))

    return judge_one


def test_the_golden_model_finds_an_ordinary_order_normal(judged):
    one = judged()
    assert not one.is_anomaly
    assert one.p_value > 0.2


@pytest.mark.parametrize(
    ("record", "column", "reason"),
    [
        ({"amount": 1e6}, "amount", Reason.OUT_OF_RANGE),
        ({"amount": -50.0}, "amount", Reason.OUT_OF_RANGE),
        ({"country": "XX"}, "country", Reason.UNSEEN_CATEGORY),
        ({"express": None}, "express", Reason.UNEXPECTED_MISSING),
        ({"placed_at": None}, "placed_at", Reason.UNEXPECTED_MISSING),
        ({"placed_at": "2024-03-10T03:00:00Z"}, "placed_at", Reason.RARE_COMBINATION),  # a Sunday night
    ],
)
def test_the_golden_model_names_the_column_at_fault_and_why(judged, record, column, reason):
    one = judged(**record)
    assert one.is_anomaly
    assert one.contributions is not None
    assert (one.contributions[0].column, one.contributions[0].reason) == (column, reason)
    assert reason in one.reasons


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_the_false_alarm_rate_on_fresh_normal_records_is_within_alpha(artifact, new_orders, alpha):
    n, folds, fresh = artifact.contract.calibration.records, artifact.calibration_folds, 4000
    p = p_values(folds, artifact.scorer.score(new_orders(fresh, 17)).fold_scores)
    flagged = int((p <= alpha).sum())
    # Given one calibration split, the chance to flag a normal record is Beta(m, n + 1 - m), so the number flagged is
    # beta-binomial. A right model falls outside these bounds once in 5,000 seeds. Of several members only a bound is
    # proven, and a mean over members that differ has fewer small p-values.
    several = len(folds) > 1
    at_most, _ = beta_binomial_tails(fresh, flagged, rank=int((n + 1) * alpha / (2 if several else 1)), calibration=n)
    rank = int((n + 1) * false_alarm_bound(folds, alpha))
    _, at_least = beta_binomial_tails(fresh, flagged, rank=rank, calibration=n)
    assert min(at_most, at_least) > 1e-4, f"{flagged} of {fresh} flagged"


def beta_binomial_tails(trials: int, count: int, *, rank: int, calibration: int) -> tuple[float, float]:
    """Return P(X <= count) and P(X >= count) for X flagged of `trials` records above the rank-th calibration score."""
    a, b = rank, calibration + 1 - rank

    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    def chance(k: int) -> float:
        ways = -math.log(trials + 1) - log_beta(trials - k + 1, k + 1)
        return math.exp(ways + log_beta(k + a, trials - k + b) - log_beta(a, b))

    chances = [chance(k) for k in range(trials + 1)]
    return sum(chances[: count + 1]), sum(chances[count:])


def test_the_bounds_of_the_false_alarm_test_notice_a_doubled_rate():
    at_most, at_least = beta_binomial_tails(4000, 80, rank=10, calibration=1000)
    assert at_most > 0.9
    assert at_least < 0.05
    assert beta_binomial_tails(4000, 40, rank=10, calibration=1000)[1] > 0.4
