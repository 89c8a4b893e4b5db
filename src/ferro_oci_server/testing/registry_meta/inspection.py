"""What can be looked through, marked and restored, in a store that is an ``Inspection`` and a ``Reviews`` too."""

import asyncio
from dataclasses import replace
from typing import Protocol

from ferro_oci_server.core.inspection import InspectedBlob, Inspection
from ferro_oci_server.core.ports import RegistryMeta, Reviews
from ferro_oci_server.core.records import Blob, ManifestInfo, ReviewKind, Waste
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.media_types import OCI_IMAGE_INDEX
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.behaviour import behaviour
from ferro_oci_server.testing.registry_meta.samples import (
    NAME,
    OTHER,
    add_blob,
    digest_of,
    manifest,
    new_session,
    tags,
)

__all__ = ["InspectedMeta", "InspectionSuite"]

HOUR = 3600 * 1000


class InspectedMeta(RegistryMeta, Reviews, Inspection, Protocol):
    """A store that can be verified."""


async def add_blobs(meta: RegistryMeta, count: int) -> list[Digest]:
    """Upload some blobs; their digests in order."""
    return sorted([(await add_blob(meta, text=f"blob {number}")).digest for number in range(count)])


async def begin_to_remove(meta: Reviews, kind: ReviewKind) -> list[Waste]:
    """What a collector does before it removes bytes."""
    for _ in range(2):
        await meta.tick(await meta.tick(-1, 0), 1000)
    return await meta.waste(kind, 0, 10)


class InspectionSuite:
    """The behaviours; a subclass gives a fixture ``open_store``, as for ``RegistryMetaSuite``."""

    # Suspects

    @behaviour
    async def test_a_suspect_blob_is_found_nowhere(self, meta: InspectedMeta) -> None:
        blob = await add_blob(meta)
        await meta.mount_blob(OTHER, blob.digest, NAME)
        assert await meta.mark_blob(blob, suspect=True) is True
        assert await meta.get_blob(NAME, blob.digest) is None
        assert await meta.get_blob(OTHER, blob.digest, lease=True) is None

    @behaviour
    async def test_a_suspect_blob_is_not_mounted(self, meta: InspectedMeta) -> None:
        blob = await add_blob(meta)
        await meta.mark_blob(blob, suspect=True)
        assert await meta.mount_blob(OTHER, blob.digest, NAME) is None
        assert await meta.mount_blob(OTHER, blob.digest, None) is None
        assert await meta.list_tags(OTHER, "", 1) is None

    @behaviour
    async def test_a_suspect_blob_may_be_referred_to(self, meta: InspectedMeta) -> None:
        blob = await add_blob(meta)
        await meta.mark_blob(blob, suspect=True)
        await meta.put_manifest(NAME, manifest(blobs=(blob.digest,)), tags("v1"))

    @behaviour
    async def test_a_suspect_blob_that_is_pushed_again_is_found_again_everywhere(self, meta: InspectedMeta) -> None:
        blob = await add_blob(meta)
        await meta.mount_blob(OTHER, blob.digest, NAME)
        await meta.mark_blob(blob, suspect=True)
        again = await add_blob(meta, location="elsewhere")
        assert await meta.get_blob(NAME, blob.digest) == again
        assert await meta.get_blob(OTHER, blob.digest) == again

    @behaviour
    async def test_a_suspect_blob_that_was_unlinked_is_not_suspect_when_it_comes_back(
        self, meta: InspectedMeta
    ) -> None:
        blob = await add_blob(meta)
        await meta.mark_blob(blob, suspect=True)
        assert await meta.unlink_blob(NAME, blob.digest) is True
        again = await add_blob(meta, location="elsewhere")
        assert await meta.get_blob(NAME, blob.digest) == again

    @behaviour
    async def test_a_mark_can_be_lifted(self, meta: InspectedMeta) -> None:
        blob = await add_blob(meta)
        await meta.mark_blob(blob, suspect=True)
        assert await meta.mark_blob(blob, suspect=False) is True
        assert await meta.get_blob(NAME, blob.digest) == blob

    @behaviour
    async def test_a_blob_that_moved_is_not_marked_for_what_was_there_before(self, meta: InspectedMeta) -> None:
        old = await add_blob(meta)
        new = await add_blob(meta, location="elsewhere")
        assert await meta.mark_blob(old, suspect=True) is False
        assert await meta.get_blob(NAME, old.digest) == new

    @behaviour
    async def test_what_is_not_there_is_not_marked(self, meta: InspectedMeta) -> None:
        assert await meta.mark_blob(Blob(digest_of("x"), 1, "somewhere"), suspect=True) is False

    @behaviour
    async def test_suspects_are_counted(self, meta: InspectedMeta) -> None:
        blob = await add_blob(meta)
        await add_blob(meta, text="sound")
        assert (await meta.scrub_count()).suspects == 0
        await meta.mark_blob(blob, suspect=True)
        assert (await meta.scrub_count()).suspects == 1

    # Pages

    @behaviour
    async def test_blobs_are_listed_by_digest_page_by_page(self, meta: InspectedMeta) -> None:
        digests = await add_blobs(meta, 7)
        seen: list[Digest] = []
        while page := await meta.inspect_blobs(seen[-1] if seen else "", 3):
            seen += [inspected.blob.digest for inspected in page]
        assert seen == digests

    @behaviour
    async def test_a_blob_is_inspected_with_its_mark(self, meta: InspectedMeta) -> None:
        blob = await add_blob(meta)
        await meta.mark_blob(blob, suspect=True)
        inspected = await meta.inspect_blob(blob.digest)
        assert inspected is not None
        assert (inspected.blob, inspected.suspect) == (blob, True)
        assert await meta.inspect_blobs("", 10) == [inspected]
        assert await meta.inspect_blob(digest_of("x")) is None

    @behaviour
    async def test_manifests_are_listed_by_digest_in_their_repository(self, meta: InspectedMeta) -> None:
        records = [manifest(f"manifest {number}") for number in range(5)]
        for record in records:
            await meta.put_manifest(NAME, record)
        await meta.put_manifest(OTHER, manifest("another"))
        seen: list[Digest] = []
        while page := await meta.inspect_manifests(NAME, seen[-1] if seen else "", 2):
            seen += [inspected.stored.digest for inspected in page]
        assert seen == sorted(record.digest for record in records)

    @behaviour
    async def test_a_manifest_is_inspected_with_all_that_is_recorded(self, meta: InspectedMeta) -> None:
        subject = manifest("subject")
        record = manifest("signature", subject=subject.digest, artifact_type="application/x")
        await meta.put_manifest(NAME, record)
        (inspected,) = await meta.inspect_manifests(NAME, "", 10)
        assert inspected.repository == NAME
        assert inspected.stored.content == record.content
        assert inspected.stored.media_type == record.media_type
        assert inspected.size == len(record.content)
        assert (inspected.subject, inspected.artifact_type) == (subject.digest, "application/x")

    @behaviour
    async def test_a_manifest_is_inspected_with_what_of_its_references_is_there(self, meta: InspectedMeta) -> None:
        blob, child, gone = await add_blob(meta), manifest("child"), digest_of("gone")
        await meta.put_manifest(NAME, child)
        await add_blob(meta, OTHER, "gone")
        record = manifest("index", OCI_IMAGE_INDEX, children=(blob.digest, child.digest), optional=(gone,))
        await meta.put_manifest(NAME, record, tags("v1"))
        found = {it.stored.digest: it for it in await meta.inspect_manifests(NAME, "", 10)}[record.digest]
        assert found.references == {blob.digest, child.digest, gone}
        assert found.linked == {blob.digest}
        assert found.held == {child.digest}

    @behaviour
    async def test_the_links_of_a_repository_are_listed_by_digest_page_by_page(self, meta: InspectedMeta) -> None:
        digests = await add_blobs(meta, 7)
        await add_blob(meta, OTHER, "another")
        seen: list[Digest] = []
        while page := await meta.list_links(NAME, seen[-1] if seen else "", 3):
            seen += [inspected.blob.digest for inspected in page]
        assert seen == digests

    @behaviour
    async def test_a_link_is_listed_with_the_mark_of_its_blob(self, meta: InspectedMeta) -> None:
        blob = await add_blob(meta)
        await meta.mount_blob(OTHER, blob.digest, NAME)
        await meta.mark_blob(blob, suspect=True)
        assert await meta.list_links(OTHER, "", 10) == [InspectedBlob(blob, suspect=True)]
        await meta.unlink_blob(OTHER, blob.digest)
        assert await meta.list_links(OTHER, "", 10) == []

    @behaviour
    async def test_manifests_are_listed_without_their_content_page_by_page(self, meta: InspectedMeta) -> None:
        records = [manifest(f"manifest {number}") for number in range(7)]
        for record in records:
            await meta.put_manifest(NAME, record, tags(f"v{record.digest.encoded[:8]}"))
        await meta.put_manifest(OTHER, manifest("another"))
        seen: list[ManifestInfo] = []
        while page := await meta.list_manifests(NAME, seen[-1].digest if seen else "", 3):
            seen += page
        outlines = [ManifestInfo(record.digest, record.media_type, len(record.content)) for record in records]
        assert seen == sorted(outlines, key=lambda outline: outline.digest)

    @behaviour
    async def test_tags_are_listed_with_their_targets_page_by_page(self, meta: InspectedMeta) -> None:
        one, two = manifest("one"), manifest("two")
        await meta.put_manifest(NAME, one, tags("a", "c", "e", "B"))
        await meta.put_manifest(NAME, two, tags("b", "c", "d"))
        await meta.put_manifest(OTHER, one, tags("x"))
        seen: list[tuple[Tag, Digest]] = []
        while page := await meta.list_tag_targets(NAME, seen[-1][0] if seen else "", 2):
            seen += page
        targets = {"B": one, "a": one, "b": two, "c": two, "d": two, "e": one}
        assert seen == [(tag, record.digest) for tag, record in targets.items()]

    @behaviour
    async def test_of_a_repository_that_is_not_there_nothing_is_listed(self, meta: InspectedMeta) -> None:
        assert await meta.list_links(NAME, "", 10) == []
        assert await meta.list_manifests(NAME, "", 10) == []
        assert await meta.list_tag_targets(NAME, "", 10) == []

    @behaviour
    async def test_all_rows_of_a_sound_store_belong_to_something(self, meta: InspectedMeta) -> None:
        blob = await add_blob(meta)
        await meta.mount_blob(OTHER, blob.digest, NAME)
        await meta.put_manifest(NAME, manifest(blobs=(blob.digest,)), tags("v1"))
        await meta.put_manifest(NAME, manifest("signature", subject=manifest().digest))
        await meta.delete_manifest(NAME, manifest().digest)
        await meta.unlink_blob(NAME, blob.digest)
        assert await meta.inspect_rows(10) == []

    # The quarantine

    @behaviour
    async def test_bytes_that_wait_can_be_given_back_to_their_blob(self, meta: InspectedMeta) -> None:
        old = await add_blob(meta)
        new = await add_blob(meta, location="elsewhere")
        await meta.mark_blob(new, suspect=True)
        (spare,) = await meta.spare_bytes(old.digest)
        assert (spare.location, spare.size) == (old.location, old.size)
        assert await meta.restore_blob(new, spare) is True
        assert await meta.get_blob(NAME, old.digest) == old

    @behaviour
    async def test_bytes_that_were_given_back_are_not_removed_and_the_damaged_ones_are(
        self, meta: InspectedMeta
    ) -> None:
        old = await add_blob(meta)
        new = await add_blob(meta, location="elsewhere")
        (spare,) = await meta.spare_bytes(old.digest)
        await meta.restore_blob(new, spare)
        assert [waste.location for waste in await begin_to_remove(meta, ReviewKind.SUPERSEDED)] == ["elsewhere"]
        assert await begin_to_remove(meta, ReviewKind.TRASH) == []

    @behaviour
    async def test_bytes_of_a_blob_that_was_removed_can_be_given_to_the_next(self, meta: InspectedMeta) -> None:
        old = await add_blob(meta)
        await meta.unlink_blob(NAME, old.digest)
        new = await add_blob(meta, location="elsewhere")
        (spare,) = await meta.spare_bytes(old.digest)
        assert await meta.restore_blob(new, spare) is True
        assert await meta.get_blob(NAME, old.digest) == old

    @behaviour
    async def test_bytes_that_somebody_removes_cannot_be_given_back(self, meta: InspectedMeta) -> None:
        old = await add_blob(meta)
        new = await add_blob(meta, location="elsewhere")
        (spare,) = await meta.spare_bytes(old.digest)
        assert await begin_to_remove(meta, ReviewKind.SUPERSEDED) == [spare]
        assert await meta.spare_bytes(old.digest) == []
        assert await meta.restore_blob(new, spare) is False
        assert await meta.get_blob(NAME, old.digest) == new

    @behaviour
    async def test_a_removal_that_was_cut_off_is_begun_again(self, meta: InspectedMeta) -> None:
        await add_blob(meta)
        await add_blob(meta, location="elsewhere")
        begun = await begin_to_remove(meta, ReviewKind.SUPERSEDED)
        assert begun != []
        assert await begin_to_remove(meta, ReviewKind.SUPERSEDED) == begun

    @behaviour
    async def test_a_blob_that_moved_is_given_nothing_back(self, meta: InspectedMeta) -> None:
        old = await add_blob(meta)
        damaged = await add_blob(meta, location="elsewhere")
        (spare,) = await meta.spare_bytes(old.digest)
        new = await add_blob(meta, location="a third place")
        assert await meta.restore_blob(damaged, spare) is False
        assert await meta.get_blob(NAME, old.digest) == new
        assert spare in await meta.spare_bytes(old.digest)

    @behaviour
    async def test_what_does_not_wait_is_not_given_back(self, meta: InspectedMeta) -> None:
        blob = await add_blob(meta)
        assert await meta.spare_bytes(blob.digest) == []
        assert await meta.restore_blob(blob, Waste("nowhere", blob.digest, 4)) is False
        assert await meta.get_blob(NAME, blob.digest) == blob

    # Files

    @behaviour
    async def test_the_locations_of_blobs_and_of_trash_are_known(self, meta: InspectedMeta) -> None:
        one, two = await add_blob(meta, text="one"), await add_blob(meta, text="two")
        await meta.unlink_blob(NAME, two.digest)
        assert await meta.known_locations([one.location, two.location, "nowhere"]) == {one.location, two.location}
        assert await meta.known_locations([]) == set()

    @behaviour
    async def test_the_location_of_a_sealed_session_is_known(self, meta: InspectedMeta) -> None:
        session = new_session()
        await meta.create_upload(session)
        await meta.advance_upload(session, replace(session, location="there", digest=digest_of("blob")))
        assert await meta.known_locations(["there", "elsewhere"]) == {"there"}

    @behaviour
    async def test_a_checksum_stays_with_a_blob_until_it_is_pushed_again(self, meta: InspectedMeta) -> None:
        for checksum in ("abc", None):
            session = new_session()
            await meta.create_upload(session)
            blob = Blob(digest_of("blob"), 4, f"with {checksum}", checksum)
            await meta.complete_upload(session, blob)
            assert await meta.get_blob(NAME, blob.digest) == blob
            assert await meta.mount_blob(OTHER, blob.digest, NAME) == blob
            assert await meta.inspect_blob(blob.digest) == InspectedBlob(blob, suspect=False)

    @behaviour
    async def test_unknown_bytes_wait_as_trash_once(self, meta: InspectedMeta) -> None:
        waste = Waste("stray", digest_of("stray"), 5)
        assert await meta.trash_bytes(waste) is True
        assert await meta.trash_bytes(waste) is False
        assert await meta.known_locations(["stray"]) == {"stray"}
        assert await begin_to_remove(meta, ReviewKind.TRASH) == [waste]

    @behaviour
    async def test_bytes_of_a_blob_are_not_trash(self, meta: InspectedMeta) -> None:
        blob = await add_blob(meta)
        assert await meta.trash_bytes(Waste(blob.location, blob.digest, blob.size)) is False
        assert await begin_to_remove(meta, ReviewKind.TRASH) == []

    @behaviour
    async def test_bytes_that_were_taken_for_trash_can_still_become_a_blob(self, meta: InspectedMeta) -> None:
        session, blob = new_session(), Blob(digest_of("late"), 4, "late")
        await meta.create_upload(session)
        await meta.trash_bytes(Waste(blob.location, blob.digest, blob.size))
        assert await meta.complete_upload(session, blob) is True
        assert await begin_to_remove(meta, ReviewKind.TRASH) == []

    @behaviour
    async def test_bytes_that_are_being_removed_cannot_become_a_blob(self, meta: InspectedMeta) -> None:
        session, blob = new_session(), Blob(digest_of("late"), 4, "late")
        await meta.create_upload(session)
        await meta.trash_bytes(Waste(blob.location, blob.digest, blob.size))
        await begin_to_remove(meta, ReviewKind.TRASH)
        assert await meta.complete_upload(session, blob) is False
        assert await meta.get_blob(NAME, blob.digest) is None
        assert await meta.get_upload(NAME, session.id) == session

    # Repair by a push

    @behaviour
    async def test_a_manifest_that_is_pushed_again_has_the_content_that_came(self, meta: InspectedMeta) -> None:
        record = manifest("sound")
        await meta.put_manifest(NAME, replace(record, content=b"wrong"))
        await meta.put_manifest(NAME, record)
        found = await meta.get_manifest(NAME, record.digest)
        assert found is not None
        assert found.content == record.content

    # The scrub

    @behaviour
    async def test_a_cycle_gives_each_blob_to_one(self, meta: InspectedMeta) -> None:
        digests = await add_blobs(meta, 20)
        pages = await asyncio.gather(*(meta.next_to_scrub(3, HOUR) for _ in range(10)))
        assert sorted(inspected.blob.digest for page in pages for inspected in page) == digests

    @behaviour
    async def test_between_two_cycles_there_is_rest(self, meta: InspectedMeta) -> None:
        await add_blobs(meta, 2)
        assert len(await meta.next_to_scrub(10, HOUR)) == 2
        assert await meta.next_to_scrub(10, HOUR) == []
        assert await meta.next_to_scrub(10, HOUR) == []
        assert (await meta.scrub_count()).cycles == 1
        assert len(await meta.next_to_scrub(10, 0)) == 2

    @behaviour
    async def test_what_was_scrubbed_is_counted(self, meta: InspectedMeta) -> None:
        await add_blobs(meta, 3)
        await meta.next_to_scrub(2, HOUR)
        count = await meta.scrub_count()
        assert (count.cycles, count.blobs, count.bytes) == (0, 2, 12)
