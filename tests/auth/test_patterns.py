"""Patterns, and where in the order of names what they match can be."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferro_oci_server.auth.patterns import Pattern, Spans

NAMES = st.text("abz0-./_", max_size=8)
PATTERNS = st.text("ab*/", max_size=6)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("a/b", ["a/b"], ["a/b/c", "a", "xa/b", "a/B"]),
        ("a/*", ["a/b", "a/b/c"], ["a", "ab/c", "x/a/b", "b/a/"]),
        ("*", ["a", "a/b"], []),
        ("*/prod", ["a/prod", "a/b/prod"], ["prod", "a/prod/x", "a/prods"]),
        ("a*b*c", ["abc", "axxbxxc", "abbc"], ["ac", "acb", "ab"]),
        ("ab*ba", ["abba", "abxba"], ["aba", "ab", "ba"]),
        ("repo:org/*", ["repo:org/x"], ["repo:organisation/x", "repo:org"]),
        ("a.c", ["a.c"], ["abc"]),
        ("a[bc]", ["a[bc]"], ["ab"]),
    ],
)
def test_a_star_stands_for_anything_and_all_else_for_itself(
    pattern: str, matching: list[str], other: list[str]
) -> None:
    assert all(map(Pattern(pattern).matches, matching))
    assert not any(map(Pattern(pattern).matches, other))


@given(PATTERNS, NAMES)
def test_a_pattern_is_as_its_regular_expression(pattern: str, name: str) -> None:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert Pattern(pattern).matches(name) == (re.fullmatch(expression, name) is not None)


@given(PATTERNS.filter(bool), NAMES.filter(bool))
def test_what_a_pattern_matches_is_in_its_span(pattern: str, name: str) -> None:
    it = Pattern(pattern)
    start, stop = it.span
    inside = start < name <= stop
    assert inside or not it.matches(name)
    assert not it.is_span or inside == it.matches(name)


def test_a_text_with_many_chances_takes_no_longer() -> None:
    started = time.perf_counter()
    assert not Pattern("*a*a*a*a*a*a*a*a*b").matches("a" * 8000)
    assert time.perf_counter() - started < 0.1


@given(st.lists(PATTERNS.filter(bool), max_size=5), NAMES, NAMES.filter(bool))
def test_between_a_place_and_the_one_to_enter_at_there_is_nothing(patterns: list[str], place: str, name: str) -> None:
    spans = Spans(Pattern(pattern).span for pattern in patterns)
    entered = spans.enter(place)
    assert entered is None or entered >= place
    if any(Pattern(pattern).matches(name) for pattern in patterns) and name > place:
        assert entered is not None
        assert name > entered


@given(st.lists(PATTERNS.filter(bool), max_size=5), NAMES, NAMES.filter(bool))
def test_between_a_place_and_the_one_to_leave_at_everything_is_in_a_span(
    patterns: list[str], place: str, name: str
) -> None:
    spans = Spans(Pattern(pattern).span for pattern in patterns)
    left = spans.leave(place)
    assert left >= place
    if place < name <= left:
        assert any(start < name <= stop for start, stop in (Pattern(pattern).span for pattern in patterns))
