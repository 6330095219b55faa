"""What is told of an open load, and of single records beside bulk requests."""

import pytest

from benchmarks.serving import isolation, overload
from benchmarks.serving.arrivals import Arrived
from benchmarks.serving.open_model import OK, TOO_MANY, Answers, Outcome, Phase


def outcome(name, rate, seconds=10.0, **answers):
    found = {int(status.removeprefix("_")): Answers(*figures) for status, figures in answers.items()}
    return Outcome(Phase(name, rate, 0.0, seconds), sum(each.count for each in found.values()), 0, found)


@pytest.fixture
def calm():
    return {name: outcome(name, 50.0, _200=(500, 0.01, 0.02, 0.03)) for name in ("half", "before", "after", "live")}


def measured(outcomes):
    """Return what was measured of single records, at a capacity of 100 a second."""
    steady = Arrived(50.0, 500, 0.01, 0.02, 0.0)
    return overload.Overload(
        records=1,
        capacity=(100.0, 100.0),
        outcomes=outcomes,
        idle=outcomes["half"],
        steady=steady,
        idle_steady=steady,
        largest_bytes=150 * 10**6,
        accepted_cpu_s=0.01,
        refused_cpu_s=0.0004,
    )


def test_overload_is_judged_by_what_is_accepted_and_how_fast_the_rest_is_refused(calm):
    over = outcome("over", 300.0, _200=(950, 0.1, 0.2, 0.3), _429=(2050, 0.01, 0.02, 0.03))
    page = overload.report([], [measured(calm | {"over": over})])
    assert "| 1 | three times: accepted, as a share of capacity | 0.95 | 0.9 | yes |" in page
    assert "| 1 | three times: median time of a 429, ms | 10.0 | under 50 | yes |" in page
    assert "| 1 | three times: as much as refusing the rest leaves time for | 0.92 |  |  |" in page
    assert "| no |" not in page


def test_an_overload_that_is_refused_slowly_or_not_at_all_fails(calm):
    over = outcome("over", 300.0, _200=(500, 0.1, 0.2, 0.3), _503=(10, 0.01, 0.02, 0.03))
    page = overload.report([], [measured(calm | {"over": over})])
    assert page.count("| no |") == 3


def test_other_answers_than_the_expected_are_counted():
    found = outcome("over", 1.0, _200=(5, 0, 0, 0), _429=(3, 0, 0, 0), _503=(2, 0, 0, 0))
    assert (found.count(OK), found.count(TOO_MANY), found.others) == (5, 3, 2)
    assert found.accepted_rate == 0.5


def test_singles_are_compared_with_singles_alone():
    beside = {
        "alone": isolation.Beside([outcome("alone", 50.0, _200=(500, 0.001, 0.002, 0.003))]),
        "json": isolation.Beside([outcome("json", 50.0, _200=(500, 0.002, 0.062, 0.1))], {200: 7}),
    }
    page = isolation.report([], beside)
    assert "| json | 7 with 200 | 500 | 0 | 2.00 | 62.00 | 100.0 | 60.0 | 50 | no |" in page
