"""A bucket as a tree: somebody else's registry in an object store."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from ferro_oci_server.backends.blob.bucket import Bucket, ObjectMissing
from ferro_oci_server.core.ports import StoreCorrupted

__all__ = ["BucketTree"]


class BucketTree:
    """The objects below one prefix."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def folders(self, path: str) -> Sequence[str]:
        """The names of the folders in a folder."""
        return await self._bucket.folders(path)

    async def files(self, path: str) -> Sequence[str]:
        """The paths of all files below a folder."""
        async with aclosing(self._bucket.list(path)) as found:
            return [stat.key.removeprefix(f"{path}/") async for stat in found]

    async def open(self, path: str) -> "_Reader | None":
        """Open an object."""
        stat = await self._bucket.stat(path)
        return None if stat is None else _Reader(self._bucket, path, stat.size)

    async def close(self) -> None:
        """Nothing is open."""


class _Reader:
    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self._bucket = bucket
        self._key = key
        self.size = size

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._bucket.read(self._key, start, stop)) as pieces:
                async for piece in pieces:
                    yield piece
        except ObjectMissing as exc:
            raise StoreCorrupted("an object has gone while it was read") from exc

    async def close(self) -> None:
        pass
