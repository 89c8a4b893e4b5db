"""Conditions: what a tag or a manifest must be for a change to happen. Spec: RFC 9110 section 13.1."""

import pytest

from ferro_oci_server.core.records import Condition

NOTHING: frozenset[str] = frozenset()
A, B = frozenset({"a"}), frozenset({"b"})


@pytest.mark.parametrize(
    ("match", "none_match", "current", "holds"),
    [
        (NOTHING, NOTHING, None, True),
        (NOTHING, NOTHING, "a", True),
        (A, NOTHING, "a", True),
        (A | B, NOTHING, "a", True),
        (B, NOTHING, "a", False),
        (A, NOTHING, None, False),
        (None, NOTHING, "a", True),
        (None, NOTHING, None, False),
        (NOTHING, A, "a", False),
        (NOTHING, A | B, "a", False),
        (NOTHING, B, "a", True),
        (NOTHING, A, None, True),
        (NOTHING, None, None, True),
        (NOTHING, None, "a", False),
        (A, B, "a", True),
        (A, A, "a", False),
        (A, None, "a", False),
    ],
)
def test_a_condition(
    match: frozenset[str] | None, none_match: frozenset[str] | None, current: str | None, holds: bool
) -> None:
    assert Condition(match=match, none_match=none_match).holds(current) is holds
