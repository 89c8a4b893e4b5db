"""What a ``RegistryMeta`` promises of blobs and of the uploads that become them."""

import asyncio
from dataclasses import replace

from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.core.records import Blob, UploadId
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.testing.behaviour import behaviour
from ferro_oci_server.testing.registry_meta.samples import NAME, OTHER, add_blob, digest_of, new_session

__all__ = ["BlobTests", "UploadTests"]

THIRD = RepositoryName("library/third")
BLOB = Blob(digest_of("blob"), 4, "somewhere")


class BlobTests:
    """Links of blobs in repositories."""

    @behaviour
    async def test_an_uploaded_blob_is_there(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta)
        assert await meta.get_blob(NAME, blob.digest) == blob

    @behaviour
    async def test_an_unknown_blob_is_not_found(self, meta: RegistryMeta) -> None:
        assert await meta.get_blob(NAME, digest_of("x")) is None
        await add_blob(meta)
        assert await meta.get_blob(NAME, digest_of("x")) is None

    @behaviour
    async def test_a_blob_is_seen_only_where_it_is_linked(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta, NAME)
        await add_blob(meta, OTHER, "another")
        assert await meta.get_blob(OTHER, blob.digest) is None

    @behaviour
    async def test_a_blob_uploaded_again_has_its_new_location_everywhere(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta, NAME, location="first")
        await add_blob(meta, OTHER, location="second")
        assert await meta.get_blob(NAME, blob.digest) == replace(blob, location="second")
        assert await meta.get_blob(OTHER, blob.digest) == replace(blob, location="second")

    @behaviour
    async def test_a_blob_is_mounted_from_its_source(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta, OTHER)
        assert await meta.mount_blob(NAME, blob.digest, OTHER) == blob
        assert await meta.get_blob(NAME, blob.digest) == blob

    @behaviour
    async def test_a_blob_is_mounted_from_anywhere_when_no_source_is_given(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta, OTHER)
        assert await meta.mount_blob(NAME, blob.digest, None) == blob
        assert await meta.get_blob(NAME, blob.digest) == blob

    @behaviour
    async def test_a_blob_is_not_mounted_from_a_source_without_it(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta, OTHER)
        await add_blob(meta, THIRD, "another")
        assert await meta.mount_blob(NAME, blob.digest, THIRD) is None
        assert await meta.mount_blob(NAME, blob.digest, RepositoryName("unknown")) is None
        assert await meta.get_blob(NAME, blob.digest) is None

    @behaviour
    async def test_an_unknown_blob_is_not_mounted(self, meta: RegistryMeta) -> None:
        await add_blob(meta, OTHER)
        assert await meta.mount_blob(NAME, digest_of("x"), OTHER) is None
        assert await meta.mount_blob(NAME, digest_of("x"), None) is None

    @behaviour
    async def test_a_blob_that_is_linked_nowhere_any_more_is_not_mounted(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta, OTHER)
        await meta.unlink_blob(OTHER, blob.digest)
        assert await meta.mount_blob(NAME, blob.digest, OTHER) is None
        assert await meta.mount_blob(NAME, blob.digest, None) is None

    @behaviour
    async def test_a_blob_may_be_mounted_where_it_is(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta)
        assert await meta.mount_blob(NAME, blob.digest, NAME) == blob
        assert await meta.mount_blob(NAME, blob.digest, None) == blob
        assert await meta.unlink_blob(NAME, blob.digest) is True
        assert await meta.get_blob(NAME, blob.digest) is None

    @behaviour
    async def test_a_mounted_blob_can_be_mounted_on(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta, OTHER)
        await meta.mount_blob(NAME, blob.digest, OTHER)
        await meta.unlink_blob(OTHER, blob.digest)
        assert await meta.mount_blob(THIRD, blob.digest, None) == blob

    @behaviour
    async def test_an_unlinked_blob_is_gone_here_and_stays_elsewhere(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta, NAME)
        await meta.mount_blob(OTHER, blob.digest, NAME)
        assert await meta.unlink_blob(NAME, blob.digest) is True
        assert await meta.get_blob(NAME, blob.digest) is None
        assert await meta.get_blob(OTHER, blob.digest) == blob

    @behaviour
    async def test_unlinking_what_is_not_linked_tells_so(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta, OTHER)
        assert await meta.unlink_blob(NAME, blob.digest) is False
        await meta.unlink_blob(OTHER, blob.digest)
        assert await meta.unlink_blob(OTHER, blob.digest) is False

    @behaviour
    async def test_an_unlinked_blob_can_be_uploaded_again(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta)
        await meta.unlink_blob(NAME, blob.digest)
        await add_blob(meta)
        assert await meta.get_blob(NAME, blob.digest) == blob


class UploadTests:
    """Sessions, from their start to their end."""

    @behaviour
    async def test_a_new_session_is_open(self, meta: RegistryMeta) -> None:
        session = new_session(algorithm=Algorithm.SHA512)
        await meta.create_upload(session)
        assert await meta.get_upload(NAME, session.id) == session

    @behaviour
    async def test_an_unknown_session_is_not_found(self, meta: RegistryMeta) -> None:
        assert await meta.get_upload(NAME, UploadId("unknown")) is None

    @behaviour
    async def test_a_session_of_another_repository_is_unknown(self, meta: RegistryMeta) -> None:
        session = new_session()
        stolen = replace(session, repository=OTHER)
        await meta.create_upload(session)
        assert await meta.get_upload(OTHER, session.id) is None
        assert await meta.advance_upload(stolen, replace(stolen, offset=10)) is False
        assert await meta.complete_upload(stolen, BLOB) is False
        assert await meta.delete_upload(OTHER, session.id) is False
        assert await meta.get_upload(NAME, session.id) == session

    @behaviour
    async def test_a_session_moves_with_the_digest_of_what_it_keeps(self, meta: RegistryMeta) -> None:
        session = new_session()
        await meta.create_upload(session)
        advanced = replace(session, offset=10, digest=digest_of("ten bytes"), checksum="abc", note="some where")
        assert await meta.advance_upload(session, advanced) is True
        found = await meta.get_upload(NAME, session.id)
        assert found == advanced
        assert type(found.digest) is Digest

    @behaviour
    async def test_a_digest_that_is_no_longer_known_is_forgotten(self, meta: RegistryMeta) -> None:
        session = new_session()
        await meta.create_upload(session)
        ten = replace(session, offset=10, digest=digest_of("ten bytes"), checksum="abc")
        await meta.advance_upload(session, ten)
        assert await meta.advance_upload(ten, replace(session, offset=20)) is True
        assert await meta.get_upload(NAME, session.id) == replace(session, offset=20)

    @behaviour
    async def test_a_session_holds_more_bytes_than_32_bits_count(self, meta: RegistryMeta) -> None:
        session = new_session()
        await meta.create_upload(session)
        await meta.advance_upload(session, replace(session, offset=2**42))
        huge = Blob(digest_of("huge"), 2**42, "somewhere")
        assert await meta.complete_upload(replace(session, offset=2**42), huge) is True
        assert await meta.get_blob(NAME, huge.digest) == huge

    @behaviour
    async def test_a_session_does_not_move_from_where_it_is_not(self, meta: RegistryMeta) -> None:
        session = new_session()
        await meta.create_upload(session)
        assert await meta.advance_upload(replace(session, offset=5), replace(session, offset=10)) is False
        assert await meta.get_upload(NAME, session.id) == session

    @behaviour
    async def test_of_two_that_move_a_session_exactly_one_wins(self, meta: RegistryMeta) -> None:
        session = new_session()
        await meta.create_upload(session)
        ways = [replace(session, offset=offset) for offset in (10, 20)]
        results = await asyncio.gather(*(meta.advance_upload(session, way) for way in ways))
        moved = await meta.get_upload(NAME, session.id)
        assert sorted(results) == [False, True]
        assert moved is not None
        assert moved.offset == (10 if results[0] else 20)

    @behaviour
    async def test_of_many_that_complete_a_session_exactly_one_wins(self, meta: RegistryMeta) -> None:
        session = new_session()
        await meta.create_upload(session)
        blobs = [Blob(digest_of(f"blob {number}"), 6, "somewhere") for number in range(10)]
        results = await asyncio.gather(*(meta.complete_upload(session, blob) for blob in blobs))
        found = [await meta.get_blob(NAME, blob.digest) for blob in blobs]
        assert sum(results) == 1
        assert [blob is not None for blob in found] == results

    @behaviour
    async def test_a_completed_session_has_ended(self, meta: RegistryMeta) -> None:
        session = new_session()
        await meta.create_upload(session)
        assert await meta.complete_upload(session, BLOB) is True
        assert await meta.get_upload(NAME, session.id) is None
        assert await meta.complete_upload(session, BLOB) is False
        assert await meta.advance_upload(session, replace(session, offset=10)) is False
        assert await meta.delete_upload(NAME, session.id) is False

    @behaviour
    async def test_completing_at_a_wrong_offset_changes_nothing(self, meta: RegistryMeta) -> None:
        session = new_session()
        await meta.create_upload(session)
        assert await meta.complete_upload(replace(session, offset=5), BLOB) is False
        assert await meta.get_upload(NAME, session.id) == session
        assert await meta.get_blob(NAME, BLOB.digest) is None
        assert await meta.list_tags(NAME, "", 1) is None

    @behaviour
    async def test_completing_an_unknown_session_moves_no_blob(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta)
        assert await meta.complete_upload(new_session(), replace(blob, location="elsewhere")) is False
        assert await meta.get_blob(NAME, blob.digest) == blob

    @behaviour
    async def test_a_deleted_session_has_ended_without_a_blob(self, meta: RegistryMeta) -> None:
        session = new_session()
        await meta.create_upload(session)
        assert await meta.delete_upload(NAME, session.id) is True
        assert await meta.get_upload(NAME, session.id) is None
        assert await meta.delete_upload(NAME, session.id) is False
        assert await meta.list_tags(NAME, "", 1) is None

    @behaviour
    async def test_open_sessions_are_counted(self, meta: RegistryMeta) -> None:
        sessions = [new_session(), new_session(OTHER), new_session()]
        for session in sessions:
            await meta.create_upload(session)
        assert await meta.count_uploads() == 3
        await meta.delete_upload(NAME, sessions[0].id)
        await meta.complete_upload(sessions[1], BLOB)
        assert await meta.count_uploads() == 1
