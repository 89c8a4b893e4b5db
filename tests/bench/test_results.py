"""From samples to medians, ratios, and back from a file."""

import pytest

from benchmarks.figures import Summary, quotients, summarize
from benchmarks.results import Case, Results, Sample

GET = Case("reads", "GET", "requests/s", "32 connections", 1000, "tags")


def test_a_summary_has_the_median_and_the_spread() -> None:
    assert summarize([3.0, 1.0, 2.0]) == Summary(2.0, 1.0, 3.0)
    assert summarize([4.0, 1.0]) == Summary(2.5, 1.0, 4.0)
    assert summarize([]) is None


def test_quotients_are_of_the_same_round() -> None:
    # The machine was half as fast in the second round: the ratio is that of the first.
    assert quotients([10.0, 5.0], [2.0, 1.0]) == [5.0, 5.0]
    assert quotients([10.0, 5.0, 7.0], [2.0]) == [5.0]
    assert quotients([1.0], [0.0]) == []


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (GET, "GET, 1,000 tags, 32 connections"),
        (Case("q", "push", "MB/s", "", 1, "connections"), "push, 1 connection"),
        (Case("q", "start", "s"), "start"),
    ],
)
def test_the_name_of_a_case_has_all_that_tells_it_from_others(case: Case, name: str) -> None:
    assert case.name == name


def test_results_come_back_from_a_file() -> None:
    results = Results({"date": "today"})
    results.declare(GET)
    for value in (1.0, 2.0):
        results.add(GET, "files", Sample(value, {"p99_ms": value * 10}))
    results.fail(GET, "seed", "no answer")
    again = Results.from_json(results.as_json())
    assert again.facts == {"date": "today"}
    assert again.cases == {GET.name: GET}
    assert again.values(GET, "files") == [1.0, 2.0]
    assert again.more(GET, "files", "p99_ms") == [10.0, 20.0]
    assert again.values(GET, "seed") == []
    assert again.failures == {(GET.name, "seed"): "no answer"}
    assert again.subjects([GET]) == ["files", "seed"]
