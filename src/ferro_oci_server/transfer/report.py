"""What a transfer has done and found: counted while it runs."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Kind", "Report"]

Kind = str
"""What is counted: ``blobs``, ``manifests`` or ``tags``. Blobs are counted in each repository that has them."""


def _ignore(_: str) -> None:
    pass


@dataclass(slots=True)
class Report:
    """One pass of a transfer. ``tell`` is told at once of each problem: a line that says what is wrong with what."""

    tell: Callable[[str], None] = _ignore
    phase: str = ""
    """What is being done."""
    repositories: int = 0
    """Those that the source has, as far as the phase has come."""
    seen: Counter[Kind] = field(default_factory=Counter)
    """What the source has, likewise."""
    copied: Counter[Kind] = field(default_factory=Counter)
    copied_bytes: int = 0
    """Bytes of blobs, also of those that are under way."""
    linked: int = 0
    """Blobs of which the destination had the bytes, in another repository."""
    removed: Counter[Kind] = field(default_factory=Counter)
    missing: Counter[Kind] = field(default_factory=Counter)
    """What the source had at the end, and the destination not, or not as it is."""
    extra: Counter[Kind] = field(default_factory=Counter)
    """What the destination had at the end, and the source not."""
    _problems: set[str] = field(default_factory=set)

    def begin(self, phase: str) -> None:
        """Begin to go through the source anew."""
        self.phase = phase
        self.repositories = 0
        self.seen.clear()

    def problem(self, text: str) -> None:
        """Say what could not be copied, and why; once for each."""
        if text not in self._problems:
            self._problems.add(text)
            self.tell(text)

    def count(self, kind: Kind, ours: str | None, *, is_missing: bool) -> bool:
        """Count something that was compared, and tell whether the source has it: then it says ``ours`` of it."""
        self.seen[kind] += ours is not None
        self.extra[kind] += ours is None
        self.missing[kind] += is_missing
        return ours is not None

    @property
    def problems(self) -> int:
        """How many things could not be copied."""
        return len(self._problems)

    @property
    def is_complete(self) -> bool:
        """Whether the destination has all that the source has, as it is there."""
        return not self._problems and not self.missing.total()
