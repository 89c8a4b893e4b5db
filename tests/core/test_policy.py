"""Which repositories may hold manifests whose content is missing."""

import pytest

from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.oci.name import RepositoryName


@pytest.mark.parametrize(
    ("text", "name", "allowed"),
    [
        ("refuse", "a", False),
        ("allow", "a", True),
        ("allow", "a/b/c", True),
        ("mirror/*", "mirror/a", True),
        ("mirror/*", "mirror/a/b", True),
        ("mirror/*", "mirror", False),
        ("mirror/*", "a/mirror/b", False),
        ("mirror/*, cache", "cache", True),
        ("mirror/*,cache", "cache/a", False),
        ("*-mirror", "a-mirror", True),
    ],
)
def test_patterns_are_matched_against_the_whole_name(text: str, name: str, allowed: bool) -> None:
    assert MissingReferences.parse(text).allowed_in(RepositoryName(name)) is allowed


@pytest.mark.parametrize("text", ["", ",", "a,", " ", "a,,b"])
def test_a_pattern_is_not_empty(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        MissingReferences.parse(text)


def test_nothing_is_allowed_unless_it_is_said() -> None:
    assert not MissingReferences().allowed_in(RepositoryName("a"))
