"""Pages of long lists: found by the last entry seen, so that a deep page costs no more than the first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Page"]

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Page(Generic[Entry]):
    """Some entries of a list, in order."""

    entries: Sequence[Entry]
    more: bool
    """Whether others follow the last of these."""

    @classmethod
    def cut(cls, found: Sequence[Entry], limit: int) -> "Page[Entry]":
        """Make a page of ``limit`` entries from a search for one more, whose presence tells whether others follow.

        A page without entries has none that another could follow, so it is the last: the specification forbids a
        ``Link`` where ``n`` is zero.
        """
        return cls(found[:limit], more=0 < limit < len(found))
