"""Patterns of names, and where in the order of names what they match can be.

A star stands for any characters, slashes among them, and for none. Every other character stands for itself: a pattern
has no way to match more than it shows.
"""

from bisect import bisect_right
from collections.abc import Iterable

__all__ = ["Pattern", "Spans"]

# Sorts behind every character that a name may have.
_LAST = "\x7f"


class Pattern:
    """One pattern. Matching takes time in proportion to the text, whatever the pattern."""

    __slots__ = ("_first", "_last", "_middle", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._first, *rest = text.split("*")
        self._last = rest.pop() if rest else None
        self._middle = tuple(part for part in rest if part)

    def matches(self, text: str) -> bool:
        """Whether the whole of a text is of this pattern."""
        if self._last is None:
            return text == self._first
        if not text.startswith(self._first) or not text.endswith(self._last):
            return False
        start, stop = len(self._first), len(text) - len(self._last)
        for part in self._middle:
            found = text.find(part, start, stop)
            if found < 0:
                return False
            start = found + len(part)
        return start <= stop

    @property
    def is_any(self) -> bool:
        """Whether it matches everything."""
        return not self.text.strip("*")

    @property
    def is_span(self) -> bool:
        """Whether it matches all of its span."""
        return self._last is None or (not self._last and not self._middle)

    @property
    def span(self) -> tuple[str, str]:
        """Two places in the order of names: what it matches is behind the first, and not behind the second."""
        prefix = self._first
        if not prefix:
            return "", _LAST
        before = prefix[:-1] + chr(ord(prefix[-1]) - 1) + _LAST
        return before, prefix if self._last is None else prefix + _LAST


class Spans:
    """Stretches of the order of names."""

    def __init__(self, spans: Iterable[tuple[str, str]]) -> None:
        merged: list[tuple[str, str]] = []
        for start, stop in sorted(spans):
            if merged and start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(merged[-1][1], stop)
            else:
                merged.append((start, stop))
        self._spans = merged
        self._starts = [start for start, _ in merged]

    def enter(self, place: str) -> str | None:
        """The first place from this one on behind which something of a span follows."""
        index = bisect_right(self._starts, place)
        if index and place < self._spans[index - 1][1]:
            return place
        return self._starts[index] if index < len(self._starts) else None

    def leave(self, place: str) -> str:
        """The first place from this one on that is in no span."""
        index = bisect_right(self._starts, place)
        if index and place < self._spans[index - 1][1]:
            return self._spans[index - 1][1]
        return place
