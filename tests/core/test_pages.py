"""Pages: a search for one entry more tells whether others follow."""

import pytest

from ferro_oci_server.core.pages import Page


@pytest.mark.parametrize(
    ("found", "limit", "entries", "more"),
    [
        ([], 3, [], False),
        ([1, 2], 3, [1, 2], False),
        ([1, 2, 3], 3, [1, 2, 3], False),
        ([1, 2, 3, 4], 3, [1, 2, 3], True),
        ([], 0, [], False),
        ([1], 0, [], False),
    ],
)
def test_a_page_is_cut_from_a_search_for_one_more(found: list[int], limit: int, entries: list[int], more: bool) -> None:
    assert Page.cut(found, limit) == Page(entries, more)
