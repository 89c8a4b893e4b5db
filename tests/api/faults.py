"""Stores that fail: real ones, of which some methods raise."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

Store = TypeVar("Store")


class _Faulty:
    def __init__(self, store: Any, error: BaseException, methods: tuple[str, ...]) -> None:
        self._store = store
        self._error = error
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._fail if name in self._methods else getattr(self._store, name)

    @asynccontextmanager
    async def claim(self, upload: Any) -> AsyncIterator[Any]:
        async with self._store.claim(upload) as staged:
            yield _Faulty(staged, self._error, self._methods)

    async def _fail(self, *_: object, **__: object) -> Any:
        raise self._error


def faulty(store: Store, error: BaseException, *methods: str) -> Store:
    """``store``, except that these methods raise ``error``; of a blob store also those of a claimed upload."""
    return cast(Store, _Faulty(store, error, methods))
