"""A storage folder to back up, filled and looked at without a server."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from api.pushing import Pushing
from ferro_oci_server.api.app import router
from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.backup import back_up
from ferro_oci_server.core.collector import Grace
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import image

T = TypeVar("T")

# Nothing waits any longer than until somebody collects.
NO_GRACE = Grace(link=0, manifest=0, upload=0, trash=0, superseded=0)


class Source:
    """A storage folder, its backup, and the folders to restore it into."""

    def __init__(self, folder: Path) -> None:
        self.storage = folder / "storage"
        self.backup = folder / "backup"
        self.restored = folder / "restored"
        self.storage.mkdir(exist_ok=True)

    def with_state(self, work: Callable[[AppState], Awaitable[T]], storage: Path | None = None) -> T:
        """Do something with a registry on the storage folder, or on another."""
        folder = storage or self.storage
        state = AppState(FsBlobStore(folder), SqliteRegistryMeta(folder / "registry.db"), grace=NO_GRACE)

        async def run() -> T:
            try:
                return await work(state)
            finally:
                await state.close()

        return asyncio.run(run())

    def with_client(self, work: Callable[[Pushing], Awaitable[T]], storage: Path | None = None) -> T:
        """The same with a client of that registry."""
        return self.with_state(lambda state: work(Pushing(AsgiClient(router(state)))), storage)

    def push(self, *layers: bytes) -> None:
        """Push an image of one layer for each, tagged by its layer."""

        async def work(pushing: Pushing) -> None:
            for layer in layers:
                content = image(layer)
                for blob in content.blobs:
                    # A client does not push again what is there, and pushing again would give it another location.
                    if (await pushing.get(f"blobs/{Digest.of(blob)}")).status == 404:
                        await pushing.blob(blob)
                assert (await pushing.manifest(content, layer.decode())).status == 201

        self.with_client(work)

    def delete(self, *layers: bytes) -> None:
        """Delete images, and collect them until their files are gone."""

        async def work(state: AppState) -> None:
            client = Pushing(AsgiClient(router(state)))
            for layer in layers:
                path = f"/v2/{client.name}/manifests/{image(layer).digest}"
                assert (await client.client.request("DELETE", path)).status == 202
            assert state.collector is not None
            # The link, then the bytes.
            for _ in range(2):
                await state.collector.tick(1)
                assert [verdict async for verdict in state.collect() if verdict.removed]

        self.with_state(work)

    def tags(self, storage: Path | None = None) -> Sequence[str]:
        """The tags whose whole image is served."""

        async def work(pushing: Pushing) -> Sequence[str]:
            reply = await pushing.get("tags/list")
            tags: list[str] = json.loads(reply.body)["tags"]
            return [tag for tag in tags if await _is_whole(pushing, tag)]

        return self.with_client(work, storage)

    def file(self, content: bytes, root: Path | None = None) -> Path:
        """The one file of a blob in the storage folder, or in another."""
        digest = Digest.of(content)
        [path] = ((root or self.storage) / "blobs" / "sha256" / digest.encoded[:2]).glob(f"{digest.encoded}.*")
        return path

    def blobs(self) -> dict[str, tuple[int, int]]:
        """Of each blob in the backup its inode and when it was written."""
        paths = [path for path in (self.backup / "blobs").rglob("*") if path.is_file()]
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}

    def save(self, *, keep: bool = False) -> tuple[int, int, tuple[str, ...]]:
        """Back up; how many blobs were copied and removed, and the problems."""
        saved = back_up(self.storage, self.backup, keep=keep)
        return saved.copied, saved.removed, saved.problems


async def _is_whole(pushing: Pushing, tag: str) -> bool:
    content = image(tag.encode())
    replies = [await pushing.get(f"manifests/{tag}")]
    replies += [await pushing.get(f"blobs/{Digest.of(blob)}") for blob in content.blobs]
    return [reply.body for reply in replies] == [content.body, *content.blobs]
