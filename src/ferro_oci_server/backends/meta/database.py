"""What a registry's tables need of a database, whichever it is.

What is asked and changed is written once: in ``mutations``, ``reviews`` and ``inspection`` over a ``Transaction``, and
in ``SqlRegistryMeta`` over a ``Database``. The words that databases differ in are in their statements.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from ferro_oci_server.backends.meta.statements import Statement

__all__ = ["Database", "Transaction", "Work"]

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Transaction(Protocol):
    """Runs statements, all in one transaction."""

    async def one(self, statement: Statement, **values: object) -> Any:
        """The only row, or ``None``."""
        ...

    async def every(self, statement: Statement, **values: object) -> list[Any]:
        """All rows."""
        ...

    async def change(self, statement: Statement, **values: object) -> bool:
        """Run a change and tell whether it changed anything."""
        ...

    async def change_many(self, statement: Statement, rows: Iterable[Mapping[str, object]]) -> None:
        """Run a change once for each row of values."""
        ...


Work: TypeAlias = Callable[Concatenate[Transaction, Given], Coroutine[Any, Any, Result]]
"""What is done in a transaction. It awaits nothing but the transaction, touches nothing beside it, and may be done anew
where the first transaction came to nothing."""


class Database(Protocol):
    """Holds the tables, and begins and ends transactions.

    Whatever the driver raises becomes ``StoreUnavailable`` or ``StoreCorrupted``.
    """

    async def one(self, statement: Statement, **values: object) -> Any:
        """The only row, or ``None``, of a question that is one statement."""
        ...

    async def every(self, statement: Statement, **values: object) -> list[Any]:
        """All rows of a question that is one statement."""
        ...

    async def ask(self, question: Work[Given, Result], *given: Given.args, **more: Given.kwargs) -> Result:
        """Answer a question of several statements, all as of one time. It changes nothing."""
        ...

    async def run(self, mutation: Work[Given, Result], *given: Given.args, **more: Given.kwargs) -> Result:
        """Change something, and return once it is durable. When this raises, nothing of it stays.

        Raises:
            OciError: what the mutation raised.
        """
        ...

    async def close(self) -> None:
        """Finish what was accepted and release everything; the last call."""
        ...
