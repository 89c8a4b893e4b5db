"""Stores with points before and after each of their calls.

    blob.<method>.before, .after       of a blob store, and of a claimed upload (append, commit)
    blob.append.piece                  after each piece of a body that is handed to the store
    blob.read.piece, blob.pieces.piece after each piece that is read of what is staged, or of a blob
    meta.<method>.before, .after       of a metadata store

1. Methods are not listed: what a port learns to do has its points at once.
2. An ``OSError`` at a point is what a store makes of it: ``StoreUnavailable``, or ``StoreFull`` for ENOSPC.
"""

import errno
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

from ferro_oci_server.core.ports import BlobReader, BlobStore, RegistryMeta, StagedUpload, StoreFull, StoreUnavailable
from ferro_oci_server.core.records import StagedBytes, UploadId
from ferro_oci_server.testing.faults.failpoints import Failpoints

__all__ = ["faulty_blob_store", "faulty_registry_meta"]


def faulty_blob_store(store: BlobStore, failpoints: Failpoints) -> BlobStore:
    """``store``, with points."""
    return cast(BlobStore, _with_methods_of(store, _FaultyBlobStore)(store, "blob", failpoints))


def faulty_registry_meta(meta: RegistryMeta, failpoints: Failpoints) -> RegistryMeta:
    """``meta``, with points."""
    return cast(RegistryMeta, _with_methods_of(meta, _Faulty)(meta, "meta", failpoints))


def _with_methods_of(target: object, kind: "type[_Faulty]") -> "type[_Faulty]":
    """A class that has them itself: what a store can do besides its port is found out by ``isinstance``."""
    names = [name for name in dir(target) if not name.startswith("_") and not hasattr(kind, name)]
    return type(kind.__name__, (kind,), {name: property(_getter(name)) for name in names})


def _getter(name: str) -> "Callable[[_Faulty], Any]":
    return lambda faulty: faulty.__getattr__(name)


class _Faulty:
    """Anything asynchronous, with points around its calls."""

    def __init__(self, target: Any, prefix: str, failpoints: Failpoints) -> None:
        self._target = target
        self._prefix = prefix
        self._failpoints = failpoints

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if inspect.iscoroutinefunction(value):
            return self._around(name, value)
        if inspect.isasyncgenfunction(value):
            return lambda *args, **kwargs: self._among(name, value(*args, **kwargs))
        return value

    def _around(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._reach(f"{name}.before")
            result = await method(*args, **kwargs)
            await self._reach(f"{name}.after")
            return result

        return call

    async def _among(self, name: str, pieces: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        async with aclosing(pieces):
            async for piece in pieces:
                await self._reach(f"{name}.piece")
                yield piece

    async def _reach(self, point: str) -> None:
        try:
            await self._failpoints.reach(f"{self._prefix}.{point}")
        except OSError as exc:
            kind = StoreFull if exc.errno == errno.ENOSPC else StoreUnavailable
            raise kind(str(exc)) from exc


class _FaultyBlobStore(_Faulty):
    async def open(self, location: str) -> BlobReader | None:
        await self._reach("open.before")
        reader = await self._target.open(location)
        return reader and cast(BlobReader, _Faulty(reader, self._prefix, self._failpoints))

    @asynccontextmanager
    async def claim(self, upload: UploadId) -> AsyncIterator[StagedUpload]:
        await self._reach("claim.before")
        async with self._target.claim(upload) as staged:
            await self._reach("claim.after")
            yield cast(StagedUpload, _FaultyStagedUpload(staged, self._prefix, self._failpoints))
        await self._reach("claim.end")


class _FaultyStagedUpload(_Faulty):
    async def append(self, staged: StagedBytes, pieces: AsyncIterator[bytes]) -> StagedBytes:
        await self._reach("append.before")
        async with aclosing(self._handed(pieces)) as handed:
            appended: StagedBytes = await self._target.append(staged, handed)
        await self._reach("append.after")
        return appended

    async def _handed(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for piece in pieces:
            yield piece
            # Not before: the store then has the piece.
            await self._reach("append.piece")
