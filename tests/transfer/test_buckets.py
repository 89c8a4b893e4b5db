"""Into a bucket, and out of it again."""

import asyncio
import itertools
from pathlib import Path

import pytest

from api.pushing import Pushing
from ferro_oci_server.api.app import router
from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.blob.object_store import ObjectBlobStore
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.core.ports import BlobStore
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import image
from ferro_oci_server.transfer import RegistrySource, Transfer
from support.object_store import S3Server


@pytest.fixture
def states(folder: Path, s3: S3Server) -> list[AppState]:
    """Files, a bucket, and files again."""

    def made(name: str, blobs: BlobStore) -> AppState:
        return AppState(blobs, SqliteRegistryMeta(folder / f"{name}.db"))

    return [
        made("one", FsBlobStore(folder / "one")),
        made("two", ObjectBlobStore.from_url(s3.url())),
        made("three", FsBlobStore(folder / "three")),
    ]


def test_a_registry_moves_into_a_bucket_and_back(states: list[AppState]) -> None:
    contents = [image(b"large" * 3_000_000, b"shared"), image(b"small", b"shared", b"")]

    async def body() -> None:
        for number, content in enumerate(contents):
            await Pushing(AsgiClient(router(states[0])), f"app/{number}").content(content, "v1")
        for source, target in itertools.pairwise(states):
            origin = RegistrySource(source.blob_store, source.registry_meta)
            report = await Transfer(origin, target.blob_store, target.registry_meta).run()
            assert (report.is_complete, report.copied["blobs"], report.linked) == (True, 5, 2)
            assert [finding async for finding in target.verify()] == []
        reply = await Pushing(AsgiClient(router(states[2])), "app/1").get("manifests/v1")
        assert reply.body == contents[1].body
        for state in states:
            await state.close()

    asyncio.run(body())
