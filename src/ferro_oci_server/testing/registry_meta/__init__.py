"""The behaviour that every ``RegistryMeta`` has: a sentence of the port, a test here.

    class TestMyRegistryMeta(PersistentRegistryMetaSuite):
        @pytest.fixture
        def open_store(self, tmp_path: Path) -> OpenMeta:
            return lambda: MyRegistryMeta(tmp_path / "registry")

``RegistryMetaSuite`` is for a store that forgets.
"""

import asyncio

from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.oci.errors import ManifestBlobUnknown
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.behaviour import behaviour, use
from ferro_oci_server.testing.registry_meta.access import GuardTests, OwnerTests
from ferro_oci_server.testing.registry_meta.blobs import BlobTests, UploadTests
from ferro_oci_server.testing.registry_meta.lists import ReferrerTests, RepositoryListTests, TagListTests
from ferro_oci_server.testing.registry_meta.manifests import DeleteTests, ManifestTests
from ferro_oci_server.testing.registry_meta.references import ConditionTests, ReferenceTests
from ferro_oci_server.testing.registry_meta.samples import (
    NAME,
    OpenMeta,
    add_blob,
    digest_of,
    manifest,
    new_session,
    tags,
)

__all__ = ["OpenMeta", "PersistentRegistryMetaSuite", "RegistryMetaSuite"]


class ConcurrencyTests:
    """Many callers at once, some of which fail or go away."""

    @behaviour
    async def test_many_concurrent_manifests_all_land(self, meta: RegistryMeta) -> None:
        names = tags(*(f"v{number:03}" for number in range(200)))
        await asyncio.gather(*(meta.put_manifest(NAME, manifest(name), (name,)) for name in names))
        assert await meta.list_tags(NAME, "", 1000) == list(names)

    @behaviour
    async def test_a_change_is_seen_as_soon_as_it_returns(self, meta: RegistryMeta) -> None:
        async def put(number: int) -> None:
            record = manifest(f"manifest {number}")
            await meta.put_manifest(NAME, record, tags(f"v{number}"))
            assert await meta.stat_manifest(NAME, Tag(f"v{number}")) is not None
            assert await meta.delete_manifest(NAME, record.digest) is True
            assert await meta.stat_manifest(NAME, Tag(f"v{number}")) is None

        await asyncio.gather(*map(put, range(30)))

    @behaviour
    async def test_a_refused_change_harms_none_of_its_neighbours(self, meta: RegistryMeta) -> None:
        records = [
            manifest(f"manifest {number}", blobs=(digest_of("x"),) if number % 3 == 0 else ()) for number in range(60)
        ]
        results = await asyncio.gather(*(meta.put_manifest(NAME, record) for record in records), return_exceptions=True)
        found = [await meta.stat_manifest(NAME, record.digest) is not None for record in records]
        assert found == [number % 3 != 0 for number in range(60)]
        assert [type(error) for error in results] == [type(None) if there else ManifestBlobUnknown for there in found]

    @behaviour
    async def test_a_cancelled_caller_harms_none_of_its_neighbours(self, meta: RegistryMeta) -> None:
        names = tags(*(f"v{number:02}" for number in range(40)))
        calls = [asyncio.create_task(meta.put_manifest(NAME, manifest(name), (name,))) for name in names]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        found = await meta.list_tags(NAME, "", 100)
        assert found is not None
        assert set(names[1::2]) <= set(found)

    @behaviour
    async def test_a_repository_that_many_create_at_once_is_one(self, meta: RegistryMeta) -> None:
        await asyncio.gather(*(add_blob(meta, text=f"blob {number}") for number in range(20)))
        assert await meta.list_repositories("", 10) == [NAME]

    @behaviour
    async def test_a_working_store_passes_its_check(self, meta: RegistryMeta) -> None:
        await meta.check()

    def test_closing_finishes_what_was_accepted(self, open_store: OpenMeta) -> None:
        async def body(meta: RegistryMeta) -> None:
            calls = [
                asyncio.create_task(meta.put_manifest(NAME, manifest(f"manifest {number}"))) for number in range(50)
            ]
            await asyncio.sleep(0)
            await meta.close()
            assert await asyncio.gather(*calls) == [None] * 50

        asyncio.run(body(open_store()))


class RegistryMetaSuite(
    ManifestTests,
    DeleteTests,
    ReferenceTests,
    ConditionTests,
    GuardTests,
    TagListTests,
    RepositoryListTests,
    ReferrerTests,
    BlobTests,
    UploadTests,
    OwnerTests,
    ConcurrencyTests,
):
    """All behaviours; a subclass gives a fixture ``open_store``: an ``OpenMeta``."""


class PersistentRegistryMetaSuite(RegistryMetaSuite):
    """The behaviours of a store that keeps its content: another one, opened on the same place, finds it."""

    def test_everything_is_there_after_opening_again(self, open_store: OpenMeta) -> None:
        session = new_session()
        signature = manifest("signature", subject=manifest().digest, annotations={"key": "value"})

        async def fill(meta: RegistryMeta) -> None:
            blob = await add_blob(meta)
            await meta.put_manifest(NAME, manifest(blobs=(blob.digest,)), tags("latest"))
            await meta.put_manifest(NAME, signature)
            await meta.create_upload(session)

        async def look(meta: RegistryMeta) -> None:
            found = await meta.get_manifest(NAME, Tag("latest"))
            referrers = await meta.list_referrers(NAME, manifest().digest, None, "", 10)
            assert found is not None
            assert found.content == manifest().content
            assert [(it.digest, it.annotations) for it in referrers] == [(signature.digest, {"key": "value"})]
            assert await meta.get_blob(NAME, digest_of("blob")) is not None
            assert await meta.get_upload(NAME, session.id) == session

        use(open_store, fill)
        use(open_store, look)

    def test_what_was_deleted_stays_deleted_after_opening_again(self, open_store: OpenMeta) -> None:

        async def fill(meta: RegistryMeta) -> None:
            blob = await add_blob(meta)
            await meta.put_manifest(NAME, manifest(), tags("latest"))
            await meta.delete_manifest(NAME, manifest().digest)
            await meta.unlink_blob(NAME, blob.digest)

        async def look(meta: RegistryMeta) -> None:
            assert await meta.list_tags(NAME, "", 10) == []
            assert await meta.get_blob(NAME, digest_of("blob")) is None

        use(open_store, fill)
        use(open_store, look)
