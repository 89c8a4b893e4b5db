"""Asynchronous tests of stores, without a plugin."""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

__all__ = ["behaviour", "use"]


class _Store(Protocol):
    async def close(self) -> None: ...


S = TypeVar("S")
P = ParamSpec("P")
Store = TypeVar("Store", bound=_Store)
Result = TypeVar("Result")


def use(open_store: Callable[[], Store], body: Callable[[Store], Awaitable[Result]]) -> Result:
    """Open a store, run ``body`` with it in an event loop, close it, and return what ``body`` does."""

    async def run(store: Store) -> Result:
        try:
            return await body(store)
        finally:
            await store.close()

    # Opened before the loop runs: it may block.
    return asyncio.run(run(open_store()))


def behaviour(body: Callable[Concatenate[S, Store, P], Awaitable[None]]) -> Callable[..., None]:
    """Make a test of plain pytest out of an asynchronous method, whose first parameter is an open store.

    The store comes from the fixture ``open_store``, which gives what opens it.
    """

    def test(self: S, open_store: Callable[[], Store], *args: P.args, **kwargs: P.kwargs) -> None:
        use(open_store, lambda store: body(self, store, *args, **kwargs))

    functools.update_wrapper(test, body)
    # pytest reads in the signature which fixtures to bring.
    itself, store, *others = inspect.signature(body).parameters.values()
    parameters = [itself, store.replace(name="open_store"), *others]
    signature: Any = inspect.signature(body).replace(parameters=parameters)
    test.__signature__ = signature  # type: ignore[attr-defined]
    return test
