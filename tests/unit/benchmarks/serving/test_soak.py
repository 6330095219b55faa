"""What is told of the memory of a long run."""

from benchmarks.serving import soak


def test_growth_counts_from_the_first_tenth_on():
    def turn(kind, records, megabytes):
        return soak.Turn(kind, records, {200: 1}, [50 * 10**6, megabytes * 10**6])

    turns = [turn("a", 5, 100), turn("b", 10, 120), turn("a", 50, 121), turn("b", 100, 130)]
    figures = soak.summary(turns, [0.5, 1.0, 3.0], 100)
    assert [(figure.measured, figure.reached) for figure in figures] == [
        ("1.00", True),
        ("130.0", True),
        ("8.3%", False),
    ]
    assert "| 100 | 50.0, 130.0 |" in soak.report([], figures, turns)
