"""What is said of figures that are known."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import report
from benchmarks.bars import OURS, Bar, bars, verdicts
from benchmarks.bench import Scale
from benchmarks.charts import chart
from benchmarks.questions import blobs, lists, reads, writes
from benchmarks.results import Case, Results, Sample

SCALE = Scale()


def results_of(*measured: tuple[Case, str, list[float]]) -> Results:
    results = Results()
    for case, subject, values in measured:
        for value in values:
            results.add(case, subject, Sample(value, {"load_cores": 0.2}))
    return results


def bar_about(text: str) -> Bar:
    (found,) = (bar for bar in bars(SCALE, SCALE.held) if bar.what.startswith(text))
    return found


def test_a_bar_compares_what_was_measured_in_the_same_round() -> None:
    case = reads.get_by_tag(SCALE.middle)
    results = results_of(
        (case, "files", [60.0, 30.0, 12.0]), (case, "files x2", [50.0]), (case, "distribution", [10.0, 5.0, 2.0])
    )
    found = verdicts(bar_about(f"{case.name}: of distribution"), results)
    assert [verdict.met for verdict in found.values()] == [True, False]
    measured = found[OURS[0]].measured
    assert measured is not None
    assert (measured.median, measured.low, measured.high) == (6.0, 6.0, 6.0)


def test_what_was_not_measured_is_not_met() -> None:
    for bar in bars(SCALE, SCALE.held):
        for verdict in verdicts(bar, Results()).values():
            assert (verdict.measured, verdict.met) == (None, False)


@pytest.mark.parametrize(("long", "met"), [(1.4, True), (1.6, False)])
def test_a_bar_may_be_about_our_own_growth(long: float, met: bool) -> None:
    first, last = lists.pages(SCALE.small)[0], lists.pages(SCALE.large)[0]
    results = results_of((first, "files", [1.0]), (last, "files", [long]))
    assert verdicts(bar_about(last.name), results)["files"].met is met


def test_the_report_has_a_verdict_for_each_bar() -> None:
    put = writes.put(SCALE.pushed_at, 4)
    push = blobs.push(SCALE.blob, "patch")
    results = results_of(
        (put, "files", [400.0]),
        (put, "distribution", [100.0]),
        (put, "seed", [20.0]),
        (push, "files", [900.0]),
        (push, "files x2", [700.0]),
        (push, "distribution", [600.0]),
    )
    lines = list(report.markdown(results, SCALE, {}))
    assert f"| {put.name}: of distribution | at least 4 x | 4 |  | met |" in lines
    assert f"| {put.name}: of seed | at least 40 x | 20 |  | **not met** |" in lines
    assert f"| {push.name}: of distribution | at least 1.5 x | 1.5 | 1.17 | met by `files` |" in lines
    assert sum(line.endswith("| not measured |") for line in lines) > 20


def test_ratios_say_how_many_times_better_ours_is() -> None:
    slow = Case("lists", "page", "ms", lower_is_better=True)
    lines = report.markdown(results_of((slow, "files", [2.0]), (slow, "distribution", [10.0])), SCALE, {})
    assert "| page | 5 |" in lines


def test_the_report_says_where_the_generator_was_the_limit() -> None:
    case = reads.get_by_tag(SCALE.middle)
    results = Results()
    results.add(case, "nginx", Sample(100_000, {"load_cores": 0.97}))
    results.add(case, "files", Sample(20_000, {"load_cores": 0.3}))
    lines = list(report.markdown(results, SCALE, {}))
    assert f"| {case.name} | requests/s | 20,000 | 100,000† |" in lines


def test_a_chart_has_a_line_for_each_subject_that_was_measured_at_several_sizes() -> None:
    measured = [
        (replace(case, title="a < b"), subject, [1.0 * (case.size or 0), 2.0])
        for case in (writes.put(0, 4), writes.put(1000, 4), writes.put(100_000, 4))
        for subject in ("files", "distribution")
        if subject == "files" or case.size == 0
    ]
    drawing = chart(results_of(*measured), writes.NAME)
    assert drawing is not None
    lines = ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}polyline")
    (line,) = lines
    assert len(line.attrib["points"].split()) == 3
    assert chart(Results(), writes.NAME) is None


def test_everything_is_written(tmp_path: Path) -> None:
    results = results_of(*((writes.put(size, 4), "files", [1.0, 3.0]) for size in (0, 1000)))
    table = report.write(results, SCALE, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "results.json", "writes.svg"}
    assert "![how it grows](writes.svg)" in table.read_text()
