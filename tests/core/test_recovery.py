"""Metadata that is older than the bytes, or has lost some of what it knew, gets it back from the blob store."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ferro_oci_server.api.app import router
from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.blob.object_store import ObjectBlobStore
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.core.inspection import Finding, FindingKind
from ferro_oci_server.core.policy import MissingReferences
from ferro_oci_server.core.ports import BlobStore
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.behaviour import use
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import Content, image
from support.damage import flipped
from support.object_store import S3Server

from .damaging import blob_of, damage_at
from .test_collector import push, push_blob

BLOB = b"blob"
DIGEST = Digest.of(BLOB)

OpenAs = Callable[..., AppState]


@pytest.fixture(params=["files", "bucket"])
def open_state(request: pytest.FixtureRequest, folder: Path, empty_database: bytes) -> OpenAs:
    """Opens a registry on the same content again and again; ``sparse`` is where manifests may refer to nothing."""
    (folder / "registry.db").write_bytes(empty_database)
    url = ""
    if request.param == "bucket":
        s3: S3Server = request.getfixturevalue("s3")
        url = s3.url()

    def open_it(*sparse: str) -> AppState:
        store: BlobStore = ObjectBlobStore.from_url(url) if url else FsBlobStore(folder / "storage")
        meta = SqliteRegistryMeta(folder / "registry.db")
        return AppState(store, meta, missing_references=MissingReferences(sparse))

    return open_it


async def recover(state: AppState) -> list[Finding]:
    return [finding async for finding in state.recover()]


def client_of(opened: AppState) -> AsgiClient:
    return AsgiClient(router(opened))


async def push_manifest(state: AppState, content: Content, name: str) -> None:
    headers = {"Content-Type": content.media_type}
    reply = await client_of(state).request("PUT", f"/v2/{name}/manifests/v1", body=content.body, headers=headers)
    assert reply.status == 201


async def blob_status(client: AsgiClient, digest: Digest, name: str = "a/b") -> int:
    return (await client.request("GET", f"/v2/{name}/blobs/{digest}")).status


def test_a_row_gets_the_bytes_of_a_later_push(open_state: OpenAs, folder: Path) -> None:
    database, older = folder / "registry.db", folder / "older.db"

    async def push_first(state: AppState) -> str:
        await push(client_of(state), image(BLOB), "v1")
        return (await blob_of(state, DIGEST)).location

    async def push_later(state: AppState) -> str:
        await push_blob(client_of(state), BLOB)
        await state._blob_store.delete(first)
        return (await blob_of(state, DIGEST)).location

    async def look(state: AppState) -> None:
        assert await recover(state) == [Finding(FindingKind.BLOB, "", DIGEST, "its bytes are gone", "recovered")]
        assert (await blob_of(state, DIGEST)).location == later
        assert await blob_status(client_of(state), DIGEST) == 200
        assert await recover(state) == []

    first = use(open_state, push_first)
    shutil.copy(database, older)
    later = use(open_state, push_later)
    shutil.copy(older, database)
    use(open_state, look)


def test_a_manifest_gets_the_blobs_that_nothing_knows_any_more(
    open_state: OpenAs, folder: Path, empty_database: bytes
) -> None:
    content = image(BLOB, config=b'{"config": 1}')

    async def push_image(state: AppState) -> None:
        await push(client_of(state), content, "v1")

    async def push_manifests(state: AppState) -> None:
        for name in ("a/b", "c/d"):
            await push_manifest(state, content, name)
        assert await blob_status(client_of(state), DIGEST) == 404

    async def look_without_right(state: AppState) -> None:
        assert await recover(state) == []

    async def look(state: AppState) -> None:
        client = client_of(state)
        found = await recover(state)
        assert [finding.outcome for finding in found] == ["recovered"] * 4
        assert {(finding.repository, finding.key) for finding in found} == {
            (name, Digest.of(blob)) for name in ("a/b", "c/d") for blob in content.blobs
        }
        assert [await blob_status(client, DIGEST, name) for name in ("a/b", "c/d", "e/f")] == [200, 200, 404]
        assert await recover(state) == []

    use(open_state, push_image)
    (folder / "registry.db").write_bytes(empty_database)
    use(lambda: open_state("*"), push_manifests)
    use(lambda: open_state("*"), look_without_right)
    use(open_state, look)


def test_bytes_that_nothing_needs_are_left_alone(open_state: OpenAs, folder: Path, empty_database: bytes) -> None:
    async def push_image(state: AppState) -> None:
        await push(client_of(state), image(BLOB), "v1")

    async def look(state: AppState) -> None:
        assert await recover(state) == []
        assert len([location async for location in state._blob_store.list()]) == 2
        assert not any((await state.collected()).waiting.values())

    use(open_state, push_image)
    (folder / "registry.db").write_bytes(empty_database)
    use(open_state, look)


def test_what_is_nowhere_must_be_pushed_again(open_state: OpenAs) -> None:
    async def look(state: AppState) -> None:
        client = client_of(state)
        await push(client, image(BLOB), "v1")
        await state._blob_store.delete((await blob_of(state, DIGEST)).location)
        lost = [Finding(FindingKind.BLOB, "", DIGEST, "its bytes are gone", "must be pushed again")]
        assert await recover(state) == lost
        assert await blob_status(client, DIGEST) == 404
        await push_blob(client, BLOB)
        assert await blob_status(client, DIGEST) == 200
        assert await recover(state) == []

    use(open_state, look)


def test_bytes_that_are_damaged_are_given_to_nobody(open_state: OpenAs, folder: Path, empty_database: bytes) -> None:
    content = image(BLOB)

    async def push_image(state: AppState) -> None:
        await push(client_of(state), content, "v1")
        await damage_at(state, (await blob_of(state, DIGEST)).location, flipped)

    async def push_it(state: AppState) -> None:
        await push_manifest(state, content, "a/b")

    async def look(state: AppState) -> None:
        assert {(finding.key, finding.outcome) for finding in await recover(state)} == {
            (DIGEST, "must be pushed again"),
            (Digest.of(b"{}"), "recovered"),
        }
        assert await blob_status(client_of(state), DIGEST) == 404

    use(open_state, push_image)
    (folder / "registry.db").write_bytes(empty_database)
    use(lambda: open_state("*"), push_it)
    use(open_state, look)
