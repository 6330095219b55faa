"""From slices of load to ratios, targets and pages."""

from benchmarks.serving import graph
from benchmarks.serving.closed_loop import Slice
from benchmarks.serving.experiment import FLOOR, PYDANTIC, SERVICE, STREAM_RECORDS, Compared
from benchmarks.serving.report import report
from benchmarks.serving.rounds import best_of, in_rounds, ratios


def piece(requests, *, cpu=1.0):
    return Slice(requests, 1.0, 0.001, 0.002, cpu, 0.1)


def test_contenders_take_turns_after_one_that_is_not_counted():
    order = []

    def contender(name):
        def contend(seconds):
            order.append(name)
            return piece(seconds)

        return contend

    slices = in_rounds({name: contender(name) for name in "ab"}, rounds=2, seconds=4.0)
    assert order == ["a", "b"] * 3
    assert [each.requests for each in slices["a"]] == [4.0, 4.0]


def test_ratios_are_taken_round_by_round():
    some, others = [piece(10), piece(1)], [piece(20), piece(2)]
    found = ratios(some, others, lambda each: each.rate)
    assert (found.median, found.least, found.greatest) == (0.5, 0.5, 0.5)


def test_the_best_is_the_one_with_most_requests_for_its_processor_time():
    assert best_of({"much": [piece(10, cpu=1.0)], "little": [piece(9, cpu=0.5)]}) == "little"


def test_the_page_sets_ratios_beside_targets_and_what_is_possible():
    slices = {graph.NAME: [piece(400)], SERVICE: [piece(240)], FLOOR: [piece(200)], PYDANTIC: [piece(100)]}
    page = report([], [Compared("default", "json-100", 100, slices)])
    assert "| default | 100 | bare floor | 1.20 (1.20 to 1.20) | 1.20 (1.20 to 1.20) | 1.15 | yes | 2.00 |" in page
    assert "| default | 100 | pydantic way | 2.40 (2.40 to 2.40) | 2.40 (2.40 to 2.40) | 3 | no | 4.00 |" in page
    assert "| 60% | 100% | 10% |" in page  # the graph's share, the server's core, the load's core


def test_a_format_that_is_not_served_is_named():
    slices = {graph.NAME: [piece(10)], "csv": [piece(4)]}
    page = report([], [Compared("light", "all", STREAM_RECORDS, slices, {"arrow": "415 Unsupported Media Type"})])
    assert "| light | csv | 0.40 (0.40 to 0.40) | 0.40 (0.40 to 0.40) | 0.35 | yes |" in page
    assert "arrow, 415 Unsupported Media Type" in page
