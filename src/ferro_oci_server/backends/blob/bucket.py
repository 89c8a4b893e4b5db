"""A folder of a bucket, in an object store of any make: whole objects in, parts of objects out.

1. What the store refuses, or does not answer in time, leaves here as ``StoreUnavailable``. The library below repeats a
   request that was refused for the moment (5xx, 429, a connection that broke), for a bounded time, and only where
   repeating is safe: every object has a name of its own, and is written once.
2. The library's threads do not survive a fork. Whoever forks must not have used a bucket before: else every call would
   wait for ever, so it is refused instead.
"""

import asyncio
import atexit
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from ferro_oci_server.core.ports import StoreCorrupted, StoreUnavailable

__all__ = ["Bucket", "ObjectMissing", "ObjectStat", "RemoteStore"]

RemoteStore: TypeAlias = S3Store | GCSStore | AzureStore

# What a reader holds of an object.
_PIECE = 1024 * 1024

# How often a download that got nowhere is begun again, after all that the library itself has tried.
_ATTEMPTS = 3

# Lists come in pages of this many, whatever we ask for.
_PAGE = 1000

# What browsers are told, should a client follow a link to an object: not to look what it may be.
_ATTRIBUTES = {"Content-Type": "application/octet-stream"}

# Messages of the library have whole answers in them.
_LONGEST_MESSAGE = 600

_used_by: int | None = None


class ObjectMissing(Exception):
    """Raised when there is no object of that name."""


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What is known of an object without its content."""

    key: str
    size: int
    modified_at: datetime


class Bucket:
    """The objects below one prefix.

    ``store`` is what the library made, and may be silent for ``seconds``; ``public`` is the same under the name by
    which clients reach it.
    """

    def __init__(self, store: RemoteStore, seconds: float, public: RemoteStore | None = None) -> None:
        self._store = store
        self._seconds = seconds
        self._public = public or store

    async def put(self, key: str, content: Sequence[bytes]) -> None:
        """Write a small object, in one request.

        Raises:
            StoreUnavailable: it may or may not be there.
        """
        with _written():
            await obstore.put_async(self._store, key, content, attributes=_ATTRIBUTES, use_multipart=False)

    async def put_parts(self, key: str, batches: AsyncIterable[bytes], part: int, parts: int) -> None:
        """Write a large object in parts of ``part`` bytes, with ``parts`` in memory: one that fills, others being sent.

        A cancellation would leave its parts behind: whoever wants it to end lets ``batches`` end.

        Raises:
            StoreUnavailable: it may or may not be there.
        """
        with _written():
            await obstore.put_async(
                self._store,
                key,
                batches,
                attributes=_ATTRIBUTES,
                use_multipart=True,
                chunk_size=part,
                max_concurrency=parts,
            )

    async def get(self, key: str) -> bytes:
        """Read a small object.

        Raises:
            ObjectMissing: there is none.
            StoreUnavailable: it cannot be read now.
        """
        with _translated():
            return bytes(await (await obstore.get_async(self._store, key)).bytes_async())

    async def stat(self, key: str) -> ObjectStat | None:
        """What is known of an object; ``None`` where there is none.

        Raises:
            StoreUnavailable: it cannot be asked now.
        """
        try:
            with _translated():
                found = await obstore.head_async(self._store, key)
        except ObjectMissing:
            return None
        return ObjectStat(key, found["size"], found["last_modified"])

    async def has(self, key: str, size: int) -> bool:
        """Whether there is an object of that size, as far as can be found out without waiting for long."""
        try:
            async with asyncio.timeout(self._seconds):
                stat = await self.stat(key)
        except (StoreUnavailable, TimeoutError):
            return False
        return stat is not None and stat.size == size

    async def read(self, key: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Read an object from ``start`` up to ``stop``, a piece at a time; goes on where a connection broke.

        Raises:
            ObjectMissing: there is none.
            StoreCorrupted: it is shorter.
            StoreUnavailable: it cannot be read now.
        """
        attempts = 0
        while start < stop:
            attempts += 1
            try:
                async with aclosing(self._stream(key, start, stop)) as pieces:
                    async for piece in pieces:
                        start, attempts = start + len(piece), 0
                        yield piece
            except StoreUnavailable:
                # The store refuses a range that begins behind the end.
                stat = await self.stat(key)
                if stat is not None and stat.size < stop:
                    raise StoreCorrupted("an object has become shorter") from None
                if attempts == _ATTEMPTS:
                    raise
            if start < stop and attempts == _ATTEMPTS:
                raise StoreUnavailable("the object store sends less than it announces")

    async def list(self, folder: str) -> AsyncGenerator[ObjectStat, None]:
        """The objects below a folder, in the order of their keys.

        Raises:
            StoreUnavailable: the store cannot be asked now.
        """
        pages = obstore.list(self._store, folder, chunk_size=_PAGE)
        while True:
            with _translated():
                page = await anext(pages, None)
            if page is None:
                return
            for found in page:
                yield ObjectStat(found["path"], found["size"], found["last_modified"])

    async def folders(self, folder: str) -> Sequence[str]:
        """The names of what is directly below a folder and has objects below it.

        Raises:
            StoreUnavailable: the store cannot be asked now.
        """
        with _translated():
            found = await obstore.list_with_delimiter_async(self._store, folder)
        return [path.rpartition("/")[2] for path in found["common_prefixes"]]

    async def has_any(self, folder: str) -> bool:
        """Whether there is any object below a folder.

        Raises:
            StoreUnavailable: the store cannot be asked now.
        """
        async with aclosing(self.list(folder)) as found:
            return await anext(found, None) is not None

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, whether they are there or not.

        Raises:
            StoreUnavailable: some may still be there.
        """
        try:
            with _translated():
                await obstore.delete_async(self._store, keys)
        except ObjectMissing:
            # Some stores stop at the first that is not there.
            for key in keys:
                await self._delete_one(key)

    async def url(self, key: str, seconds: float) -> str:
        """Where whoever has the URL can read an object for some time.

        Raises:
            StoreUnavailable: it cannot be signed now.
        """
        with _translated():
            return await obstore.sign_async(self._public, "GET", key, timedelta(seconds=seconds))

    async def _stream(self, key: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The same as ``read``, once, and possibly to a place before ``stop``."""
        with _translated():
            stream = (await obstore.get_async(self._store, key, options={"range": (start, stop)})).stream(_PIECE)
            following = asyncio.ensure_future(anext(stream))
        try:
            while True:
                with _translated():
                    try:
                        piece = await following
                    except StopAsyncIteration:
                        return
                # Fetched while this one is sent.
                following = asyncio.ensure_future(anext(stream))
                yield piece
        finally:
            if not following.cancel() and not following.cancelled():
                # Else the loop complains about an exception that nobody has looked at.
                following.exception()

    async def _delete_one(self, key: str) -> None:
        try:
            with _translated():
                await obstore.delete_async(self._store, key)
        except ObjectMissing:
            pass


@contextmanager
def _translated() -> Iterator[None]:
    """Raise what is ours instead of what is the library's."""
    _check_process()
    try:
        yield
    except FileNotFoundError as exc:
        # Without its bucket, everything would look lost.
        if "NoSuchBucket" in str(exc):
            raise _unavailable(exc) from exc
        raise ObjectMissing from exc
    except BaseError as exc:
        raise _unavailable(exc) from exc


@contextmanager
def _written() -> Iterator[None]:
    """The same for a write, which needs no object that is there."""
    try:
        with _translated():
            yield
    except ObjectMissing as exc:
        raise _unavailable(exc.__cause__ or exc) from exc


def _unavailable(exc: BaseException) -> StoreUnavailable:
    message = str(exc).partition("\n")[0][:_LONGEST_MESSAGE]
    return StoreUnavailable(f"the object store cannot be used: {message}")


def _check_process() -> None:
    global _used_by  # noqa: PLW0603 (the library's threads are of the process, too)
    if _used_by == os.getpid():
        return
    if _used_by is not None:
        raise RuntimeError("a process that was forked off cannot use an object store that its parent has used")
    _used_by = os.getpid()
    # A thread that has just brought a result and still waits for the interpreter aborts the process if that ends first.
    atexit.register(time.sleep, 0.05)
