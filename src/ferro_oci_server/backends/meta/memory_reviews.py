"""What waits for a review, in memory, by the registry's own clock."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice, takewhile

from ferro_oci_server.core.records import Collected, ReviewKind

__all__ = ["ReviewQueue"]


class ReviewQueue:
    """Reviews in the order in which they began to wait."""

    def __init__(self) -> None:
        self._waiting: dict[ReviewKind, dict[tuple[str, str], int]] = {kind: {} for kind in ReviewKind}
        self._last_number = 0
        self._ticks: list[tuple[int, int]] = []
        """The last review's number at each tick, and the milliseconds of the clock."""
        self._removed: Counter[ReviewKind] = Counter()
        self._bytes: Counter[ReviewKind] = Counter()

    def wait(self, kind: ReviewKind, repository: str, keys: Iterable[str]) -> None:
        """Let reviews begin to wait, anew if they have been waiting."""
        waiting = self._waiting[kind]
        for key in keys:
            self._last_number += 1
            waiting.pop((repository, key), None)
            waiting[repository, key] = self._last_number

    def drop(self, kind: ReviewKind, repository: str, key: str) -> None:
        """Let a review wait no longer."""
        self._waiting[kind].pop((repository, key), None)

    def has_waited(self, kind: ReviewKind, repository: str, key: str) -> bool:
        """Whether a review has waited since before the last tick."""
        number = self._waiting[kind].get((repository, key))
        return number is not None and bool(self._ticks) and number <= self._ticks[-1][0]

    def tick(self, last: int, milliseconds: int) -> int:
        """Let the clock go on, if nobody has since ``last``; return the last tick."""
        if last == len(self._ticks):
            at = self._ticks[-1][1] if self._ticks else 0
            self._ticks.append((self._last_number, at + milliseconds))
        return len(self._ticks)

    def oldest(self, kind: ReviewKind, age: int, limit: int) -> list[tuple[str, str]]:
        """The repository and the key of reviews that have waited for ``age`` milliseconds."""
        now = self._ticks[-1][1] if self._ticks else 0
        due = max((number for number, at in self._ticks if at <= now - age), default=0)
        waiting = self._waiting[kind].items()
        return [place for place, _ in islice(takewhile(lambda item: item[1] <= due, waiting), limit)]

    def following(self, kind: ReviewKind, after: int, limit: int) -> list[tuple[int, str, str]]:
        """Reviews with numbers behind ``after``."""
        found = (
            (number, repository, key) for (repository, key), number in self._waiting[kind].items() if number > after
        )
        return list(islice(found, limit))

    def count(self, kind: ReviewKind, size: int) -> None:
        """Count what was removed."""
        self._removed[kind] += 1
        self._bytes[kind] += size

    def collected(self) -> Collected:
        """What waits, and what has been removed."""
        waiting = {kind: len(places) for kind, places in self._waiting.items() if places}
        return Collected(waiting, dict(self._removed), dict(self._bytes))
