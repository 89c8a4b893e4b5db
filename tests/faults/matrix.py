"""The matrix: fault x where x runs x invariants checked x lost."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock

__all__ = ["Matrix"]

_HEAD = ("fault", "where", "runs", "operations", "checks", "lost")


@dataclass
class _Row:
    runs: int = 0
    operations: set[str] = field(default_factory=set)
    checks: int = 0
    lost: int = 0


class Matrix:
    """Counts what was run, by fault and place. May be used by several threads."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], _Row] = {}
        self._lock = Lock()
        self.failures: list[str] = []

    @property
    def lost(self) -> int:
        """How many runs broke the contract."""
        return sum(row.lost for row in self._rows.values())

    @property
    def runs(self) -> int:
        """How many there were."""
        return sum(row.runs for row in self._rows.values())

    def count(self, fault: str, where: str, operation: str, checks: int, failure: str = "") -> None:
        """Add a run: how often the whole contract was checked in it, and how it was broken, if it was."""
        with self._lock:
            row = self._rows.setdefault((fault, where), _Row())
            row.runs += 1
            row.operations.add(operation)
            row.checks += checks
            row.lost += bool(failure)
            if failure:
                self.failures.append(f"{fault}, {where}, {operation}: {failure}")

    def lines(self) -> Iterable[str]:
        """The table, as Markdown, and what went wrong."""
        yield _line(_HEAD)
        yield _line(["---"] * len(_HEAD))
        for (fault, where), row in sorted(self._rows.items()):
            yield _line((fault, where, row.runs, len(row.operations), row.checks, row.lost))
        rows = self._rows.values()
        yield _line(("all", len(rows), self.runs, "", sum(row.checks for row in rows), self.lost))
        yield from self.failures


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
