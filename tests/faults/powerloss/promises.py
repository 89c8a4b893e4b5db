"""What a registry has promised at a moment, and what it may look like then.

A workload writes a mark before an operation, with what it will change, and one when its caller has the answer. Each
thing has a key, and a value:

    blob, repository, digest        whether it is linked
    manifest, repository, digest    whether it is there
    tag, repository, name           a digest, or nothing
    upload, repository, id          its offset, or nothing
    referrer, repository, subject, digest    whether it is listed

1. A value that was acknowledged stays until an operation on the same key has begun that may replace it.
2. What an operation changes, it changes at once: where it was not answered, a part of it is never seen alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

__all__ = ["Effects", "Key", "Operation", "Promises"]

Key = tuple[str, ...]
Effects = Mapping[Key, object]

_NEVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that was begun. ``retry`` says how to do it again: see ``workloads``."""

    effects: Effects
    begun: int
    answered: int = _NEVER
    retry: Sequence[Any] = ()


@dataclass(frozen=True)
class Promises:
    """All operations up to a moment."""

    operations: Mapping[str, Operation] = field(default_factory=dict)
    contents: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """What will have been uploaded by a session when it ends, by its id: see ``workloads``."""

    def heard(self, mark: Mapping[str, Any], moment: int) -> "Promises":
        """The promises after a mark, which may begin an operation, answer one, or both."""
        name = str(mark["operation"])
        effects = {tuple(key): value for key, value in mark.get("effects", ())}
        operation = self.operations.get(name) or Operation(effects, moment, retry=mark.get("retry", ()))
        if mark["answered"]:
            # Some effects, such as the id of a session, are known only from the answer.
            operation = replace(operation, effects={**operation.effects, **effects}, answered=moment)
        return Promises(
            {**self.operations, name: operation},
            {**self.contents, **mark.get("contents", {})},
        )

    @cached_property
    def allowed(self) -> dict[Key, set[object]]:
        """What each thing may be."""
        keys = {key for operation in self.operations.values() for key in operation.effects}
        allowed = {key: self._allowed(key, self.operations.values()) for key in keys}
        for key in keys:
            # A session that is being closed says that it has all its bytes, before they leave it.
            if key[0] == "upload" and self.is_ending(key[2]):
                allowed[key].add(self.contents[key[2]][1])
        return allowed

    def torn(self, found: Mapping[Key, object]) -> list[str]:
        """The operations of which a part is seen, and a part is not."""
        return [name for name, operation in self._open() if self._is_torn(operation, found)]

    def is_ending(self, upload: str) -> bool:
        """Whether the end of a session was asked for, and not answered."""
        return any(
            key[0] == "upload" and key[2] == upload and value is None
            for _, operation in self._open()
            for key, value in operation.effects.items()
        )

    def is_given_up(self, upload: str) -> bool:
        """Whether a session was to end without a blob, and nobody was told that it has: its bytes may be gone first."""
        return any(
            key[0] == "upload" and key[2] == upload and len(operation.effects) == 1 and operation.effects[key] is None
            for _, operation in self._open()
            for key in operation.effects
        )

    def retries(self) -> list[Sequence[Any]]:
        """How to repeat what was not answered, as its client would."""
        return [operation.retry for _, operation in self._open() if operation.retry]

    def _open(self) -> list[tuple[str, Operation]]:
        return [(name, operation) for name, operation in self.operations.items() if operation.answered == _NEVER]

    def _allowed(self, key: Key, operations: Iterable[Operation]) -> set[object]:
        those = [operation for operation in operations if key in operation.effects]
        answered = [operation for operation in those if operation.answered != _NEVER]
        allowed: set[object] = {
            operation.effects[key]
            for operation in those
            if not any(operation.answered < later.begun for later in answered)
        }
        return allowed if answered else {*allowed, None}

    def _is_torn(self, operation: Operation, found: Mapping[Key, object]) -> bool:
        others = [other for other in self.operations.values() if other is not operation]
        seen = set()
        for key, value in operation.effects.items():
            rivals = [other for other in others if key in other.effects]
            # What others change at the same time, or had changed to the same, says nothing.
            if all(other.answered < operation.begun for other in rivals) and value not in self._allowed(key, rivals):
                seen.add(found[key] == value)
        return len(seen) > 1
