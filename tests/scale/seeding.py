"""A registry with as many references as wanted, made through the port of its metadata store, and images in it that die.

    rows only   images that live: nobody reads their blobs, so these have no files
    files       images that are pulled, with real bytes; images that die, whose files have the size but no content

Of each twenty blobs of an image none is another's, which is the hardest for the database: every row is its own.
"""

import asyncio
import json
import os
import random
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.blob.layout import location_of
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.backends.meta.sqlite_connection import DATABASE
from ferro_oci_server.core.collector import Grace
from ferro_oci_server.core.records import Blob, ManifestRecord, ReviewKind, UploadId, UploadSession
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.media_types import OCI_IMAGE_MANIFEST
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.images import CONFIG_TYPE, LAYER_TYPE

__all__ = ["BLOBS", "Image", "Registry", "content_of", "hurry"]

BLOBS = 20
"""How many blobs an image has, its config among them."""

_REPOSITORIES = 500
_IMAGES_AT_A_TIME = 32
_REVIEWS_AT_A_TIME = 1000
_SMALL = 4096
# For what is made before anything is measured: it need not survive a loss of power, and all indexes are in memory.
_HURRY = ("PRAGMA synchronous = OFF", "PRAGMA cache_size = -2000000", "PRAGMA wal_autocheckpoint = 100000")
# Of an image that dies, one blob is a large file and one is of some size: the disk has something to give back.
_SIZES = {1: 1024 * 1024, 2: 64 * 1024}
_NO_GRACE = Grace(link=0, manifest=0, upload=0, trash=0, superseded=0)


@dataclass(frozen=True, slots=True)
class Image:
    """An image, by its number."""

    number: int

    @property
    def repository(self) -> RepositoryName:
        return RepositoryName(f"scale/{self.number % _REPOSITORIES}")

    @property
    def tag(self) -> Tag:
        return Tag(f"v{self.number}")

    def size(self, blob: int, *, dies: bool) -> int:
        """How many bytes a blob has."""
        return _SIZES.get(blob, _SMALL) if dies else _SMALL


def content_of(image: Image, blob: int) -> bytes:
    """The bytes of a blob of an image that is pulled."""
    return random.Random(f"{image.number} {blob}").randbytes(_SMALL)


def hurry(connections: Iterable[sqlite3.Connection]) -> None:
    """Have what is written on these connections written soon rather than safely."""
    for connection in connections:
        for pragma in _HURRY:
            connection.execute(pragma)


class Registry:
    """A storage folder, its stores open in this process."""

    def __init__(self, storage: Path) -> None:
        storage.mkdir(parents=True, exist_ok=True)
        self.storage = storage
        self.meta = SqliteRegistryMeta(storage / DATABASE)
        self.state = AppState(FsBlobStore(storage), self.meta, grace=_NO_GRACE)
        self.images = 0
        """How many images were pushed: the number of the next."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.state.close()

    async def add_living(self, count: int) -> Sequence[Image]:
        """Push images that have rows and no files."""
        return await self._add(count, lambda image, blob: (_named(image, blob), _SMALL, None))

    async def add_pulled(self, count: int) -> Sequence[Image]:
        """Push images whose blobs can be read."""

        def blob(image: Image, blob: int) -> "_Made":
            content = content_of(image, blob)
            return Digest.of(content), len(content), content

        return await self._add(count, blob)

    async def add_dying(self, count: int) -> Sequence[Image]:
        """Push images whose blobs have files of some sizes."""
        return await self._add(count, lambda image, blob: (_named(image, blob), image.size(blob, dies=True), b""))

    async def settle(self) -> None:
        """Let everything that waits for a review because it was just pushed be looked at and kept."""
        assert self.state.collector is not None
        await self.state.collector.tick(1)
        while verdicts := await self.meta.review(ReviewKind.LINK, 0, _REVIEWS_AT_A_TIME):
            assert not any(verdict.removed for verdict in verdicts)

    async def kill(self, images: Iterable[Image]) -> None:
        """Take their tags from images."""
        await asyncio.gather(*(self.meta.delete_tag(image.repository, image.tag) for image in images))

    async def _add(self, count: int, make: Callable[[Image, int], "_Made"]) -> Sequence[Image]:
        images = [Image(self.images + number) for number in range(count)]
        self.images += count
        for first in range(0, count, _IMAGES_AT_A_TIME):
            await asyncio.gather(*(self._push(image, make) for image in images[first : first + _IMAGES_AT_A_TIME]))
        return images

    async def _push(self, image: Image, make: Callable[[Image, int], "_Made"]) -> None:
        made = [make(image, blob) for blob in range(BLOBS)]
        await asyncio.gather(*(self._push_blob(image.repository, *blob) for blob in made))
        descriptors = [
            {"mediaType": LAYER_TYPE if number else CONFIG_TYPE, "digest": digest, "size": size}
            for number, (digest, size, _) in enumerate(made)
        ]
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE_MANIFEST,
            "config": descriptors[0],
            "layers": descriptors[1:],
        }
        content = json.dumps(document, separators=(",", ":")).encode("ascii")
        blobs = tuple(digest for digest, _, _ in made)
        record = ManifestRecord(Digest.of(content), OCI_IMAGE_MANIFEST, content, blobs)
        await self.meta.put_manifest(image.repository, record, (image.tag,))

    async def _push_blob(self, name: RepositoryName, digest: Digest, size: int, content: bytes | None) -> None:
        session = UploadSession(_upload_id(digest), name, Algorithm.SHA256)
        location = location_of(digest, session.id)
        if content is not None:
            _write(self.storage / "blobs" / location, content, size)
        await self.meta.create_upload(session)
        assert await self.meta.complete_upload(session, Blob(digest, size, location))


_Made = tuple[Digest, int, bytes | None]


def _named(image: Image, blob: int) -> Digest:
    return Digest.of(f"{image.number} {blob}".encode())


def _upload_id(digest: Digest) -> UploadId:
    text = digest.encoded
    return UploadId("-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32])))


def _write(path: Path, content: bytes, size: int) -> None:
    """Write a file; one without content has the space that it would take."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        if content:
            file.write(content)
        else:
            os.posix_fallocate(file.fileno(), 0, size)
