"""POST /drill: a record that must be flagged takes the way of all others, and is counted apart from them."""

from __future__ import annotations

import pytest

from vaegis.service.contract import CategoricalColumn
from vaegis.service.http.drill import DrillAnswer, broken_value, column_to_break
from vaegis.service.http.errors import ParameterError
from vaegis.service.records.python_records import columns_from_records


def counts(app) -> dict[str, float | None]:
    value = app.metrics.registry.get_sample_value
    found = {name: value(f"vaegis_records_{name}_total", {"model": "orders"}) for name in ("scored", "flagged")}
    for outcome in ("flagged", "missed"):
        found[f"drills {outcome}"] = value("vaegis_drills_total", {"model": "orders", "outcome": outcome})
    return found


@pytest.mark.parametrize(("column", "broken"), [(None, "amount"), ("amount", "amount"), ("country", "country")])
def test_a_broken_record_is_flagged_for_its_column_and_counts_as_a_drill_alone(new_app, send, column, broken):
    app = new_app()
    response = send(app, "POST", "/drill", json={"column": column, "seed": 7})
    answer = DrillAnswer.model_validate_json(response.content)
    assert (answer.column, answer.leading_column, answer.was_flagged) == (broken, broken, True)
    assert response.headers["vaegis-model-digest"] == answer.model_digest
    assert counts(app) == {"scored": 0, "flagged": 0, "drills flagged": 1, "drills missed": 0}


def test_a_model_that_lets_it_through_misses_the_drill(new_app, send, artifact):
    golden = columns_from_records(artifact.contract.golden.records[:1], artifact.contract.columns)
    app = new_app(score=lambda *_: artifact.scorer.score(golden))
    assert send(app, "POST", "/drill", json={"seed": 7}).json()["was_flagged"] is False
    assert counts(app)["drills missed"] == 1


def test_a_seed_gives_the_same_record(new_app, send):
    drawn = send(new_app(), "POST", "/drill", json={}).json()
    assert send(new_app(), "POST", "/drill", json={"seed": drawn["seed"]}).json() == drawn


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"column": "express"}, 422),
        ({"column": "none"}, 422),
        ({"seed": -1}, 422),
        ({"x": 1}, 422),
        ({"model": "b"}, 404),
    ],
)
def test_what_cannot_be_tried_is_refused(new_app, send, body, status):
    app = new_app()
    assert send(app, "POST", "/drill", json=body).status_code == status
    assert counts(app) == {"scored": 0, "flagged": 0, "drills flagged": 0, "drills missed": 0}


def test_a_drill_costs_its_caller_a_record(new_app, send):
    app = new_app(rate_records_per_s=0.01, rate_burst_s=100)
    assert [send(app, "POST", "/drill", json={}).status_code for _ in range(2)] == [200, 429]


def test_the_broken_category_is_one_that_training_did_not_know():
    column = CategoricalColumn(
        name="c", missing_share=0.0, categories=("vaegis-drill", "vaegis-drill-"), shares=(0.5, 0.5)
    )
    assert broken_value(column) not in column.categories


def test_a_number_that_reaches_the_largest_cannot_be_broken(artifact):
    amount = column_to_break(artifact.contract.columns, "amount")
    with pytest.raises(ParameterError, match="reaches the largest"):
        broken_value(amount.model_copy(update={"maximum": 1e308}))
