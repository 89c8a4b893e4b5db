"""Medians and spreads."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Summary", "quotients", "summarize"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What several rounds gave."""

    median: float
    low: float
    high: float


def summarize(values: Sequence[float]) -> Summary | None:
    """The median of the rounds and how far they lie apart; ``None`` where there were none."""
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values))


def quotients(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """How many times the one the other was, round by round: what slowed the machine down slowed both."""
    return [value / other for value, other in zip(values, others, strict=False) if other > 0]
