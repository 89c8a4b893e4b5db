"""What waits for a review, and what comes of it, in a store that is a ``Reviews`` too."""

from dataclasses import replace
from typing import Protocol

from ferro_oci_server.core.ports import RegistryMeta, Reviews
from ferro_oci_server.core.records import Blob, ReviewKind, Waste
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.media_types import OCI_IMAGE_INDEX
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

__all__ = ["ReviewSuite", "ReviewingMeta"]


class ReviewingMeta(RegistryMeta, Reviews, Protocol):
    """A store that can be collected."""


async def age(meta: Reviews, milliseconds: int = 1000) -> None:
    """Let the store's clock go on, so that what waits now has waited for that long."""
    for _ in range(2):
        last = await meta.tick(-1, 0)
        await meta.tick(last, milliseconds)


async def review(meta: Reviews, kind: ReviewKind) -> dict[str, bool]:
    """Age and review everything of a kind; which keys were removed and which kept."""
    await age(meta)
    return {verdict.key: verdict.removed for verdict in await meta.review(kind, 1000, 1000)}


class ReviewSuite:
    """The behaviours; a subclass gives a fixture ``open_store``, as for ``RegistryMetaSuite``."""

    @behaviour
    async def test_the_clock_goes_on_once_for_each_tick(self, meta: ReviewingMeta) -> None:
        first = await meta.tick(0, 10)
        second = await meta.tick(first, 10)
        assert second != first
        assert await meta.tick(first, 10) == second

    @behaviour
    async def test_nothing_is_due_before_its_time(self, meta: ReviewingMeta) -> None:
        await add_blob(meta)
        assert await meta.review(ReviewKind.LINK, 0, 10) == []
        await age(meta, 500)
        assert await meta.review(ReviewKind.LINK, 1000, 10) == []
        assert await meta.get_blob(NAME, digest_of("blob")) is not None

    @behaviour
    async def test_a_blob_that_nothing_refers_to_goes_and_its_bytes_wait(self, meta: ReviewingMeta) -> None:
        blob = await add_blob(meta)
        assert await review(meta, ReviewKind.LINK) == {blob.digest: True}
        assert await meta.get_blob(NAME, blob.digest) is None
        await age(meta)
        (waste,) = await meta.waste(ReviewKind.TRASH, 1000, 10)
        assert (waste.location, waste.digest, waste.size) == (blob.location, blob.digest, blob.size)

    @behaviour
    async def test_a_blob_that_a_manifest_refers_to_stays_and_waits_no_longer(self, meta: ReviewingMeta) -> None:
        blob = await add_blob(meta)
        await meta.put_manifest(NAME, manifest(blobs=(blob.digest,)), tags("v1"))
        assert await review(meta, ReviewKind.LINK) == {blob.digest: False}
        assert await review(meta, ReviewKind.LINK) == {}
        assert await meta.get_blob(NAME, blob.digest) == blob

    @behaviour
    async def test_a_blob_goes_after_the_manifest_that_referred_to_it(self, meta: ReviewingMeta) -> None:
        blob = await add_blob(meta)
        record = manifest(blobs=(blob.digest,))
        await meta.put_manifest(NAME, record, tags("v1"))
        await review(meta, ReviewKind.LINK)
        await meta.delete_manifest(NAME, record.digest)
        assert await review(meta, ReviewKind.LINK) == {blob.digest: True}

    @behaviour
    async def test_a_blob_that_one_of_two_manifests_refers_to_stays(self, meta: ReviewingMeta) -> None:
        blob = await add_blob(meta)
        one, two = manifest("one", blobs=(blob.digest,)), manifest("two", optional=(blob.digest,))
        await meta.put_manifest(NAME, one, tags("one"))
        await meta.put_manifest(NAME, two, tags("two"))
        await meta.delete_manifest(NAME, one.digest)
        assert await review(meta, ReviewKind.LINK) == {blob.digest: False}

    @behaviour
    async def test_bytes_wait_only_when_no_repository_links_them(self, meta: ReviewingMeta) -> None:
        blob = await add_blob(meta)
        await meta.mount_blob(OTHER, blob.digest, NAME)
        await meta.put_manifest(OTHER, manifest(blobs=(blob.digest,)), tags("v1"))
        await review(meta, ReviewKind.LINK)
        await age(meta)
        assert await meta.get_blob(NAME, blob.digest) is None
        assert await meta.get_blob(OTHER, blob.digest) == blob
        assert await meta.waste(ReviewKind.TRASH, 0, 10) == []

    @behaviour
    async def test_being_asked_for_puts_a_review_off(self, meta: ReviewingMeta) -> None:
        blob = await add_blob(meta)
        await age(meta)
        assert await meta.get_blob(NAME, blob.digest, lease=True) == blob
        assert await meta.review(ReviewKind.LINK, 1000, 10) == []
        assert await review(meta, ReviewKind.LINK) == {blob.digest: True}

    @behaviour
    async def test_a_manifest_that_is_asked_for_is_put_off_too(self, meta: ReviewingMeta) -> None:
        record = manifest()
        await meta.put_manifest(NAME, record)
        await age(meta)
        assert await meta.stat_manifest(NAME, record.digest, lease=True) is not None
        assert await meta.review(ReviewKind.MANIFEST, 1000, 10) == []

    @behaviour
    async def test_a_manifest_without_a_tag_goes(self, meta: ReviewingMeta) -> None:
        record = manifest()
        await meta.put_manifest(NAME, record)
        assert await review(meta, ReviewKind.MANIFEST) == {record.digest: True}
        assert await meta.stat_manifest(NAME, record.digest) is None

    @behaviour
    async def test_a_manifest_with_a_tag_never_waits(self, meta: ReviewingMeta) -> None:
        await meta.put_manifest(NAME, manifest())
        await meta.put_manifest(NAME, manifest(), tags("v1"))
        assert await review(meta, ReviewKind.MANIFEST) == {}

    @behaviour
    async def test_a_manifest_whose_tag_moved_or_was_deleted_goes(self, meta: ReviewingMeta) -> None:
        one, two = manifest("one"), manifest("two")
        await meta.put_manifest(NAME, one, tags("v1"))
        await meta.put_manifest(NAME, two, tags("v1", "v2"))
        assert await review(meta, ReviewKind.MANIFEST) == {one.digest: True}
        await meta.delete_tag(NAME, tags("v1")[0])
        assert await review(meta, ReviewKind.MANIFEST) == {two.digest: False}
        await meta.delete_tag(NAME, tags("v2")[0])
        assert await review(meta, ReviewKind.MANIFEST) == {two.digest: True}

    @behaviour
    async def test_a_manifest_that_loses_two_tags_at_once_waits_once(self, meta: ReviewingMeta) -> None:
        one, two = manifest("one"), manifest("two")
        await meta.put_manifest(NAME, one, tags("v1", "v2"))
        await meta.put_manifest(NAME, one, tags("v1", "v2"))
        assert await review(meta, ReviewKind.MANIFEST) == {}
        await meta.put_manifest(NAME, two, tags("v1", "v2"))
        assert await review(meta, ReviewKind.MANIFEST) == {one.digest: True}

    @behaviour
    async def test_the_children_of_an_index_stay_with_it_and_go_after_it(self, meta: ReviewingMeta) -> None:
        child, blob = manifest("child"), await add_blob(meta)
        await meta.put_manifest(NAME, child)
        index = manifest("index", OCI_IMAGE_INDEX, children=(child.digest, blob.digest))
        await meta.put_manifest(NAME, index, tags("v1"))
        assert await review(meta, ReviewKind.MANIFEST) == {child.digest: False}
        assert await review(meta, ReviewKind.LINK) == {blob.digest: False}
        await meta.delete_manifest(NAME, index.digest)
        assert (await review(meta, ReviewKind.MANIFEST))[child.digest] is True
        assert (await review(meta, ReviewKind.LINK))[blob.digest] is True

    @behaviour
    async def test_a_referrer_stays_with_its_subject_and_goes_after_it(self, meta: ReviewingMeta) -> None:
        subject = manifest("subject")
        referrer = manifest("referrer", subject=subject.digest)
        await meta.put_manifest(NAME, referrer)
        await meta.put_manifest(NAME, subject, tags("v1"))
        assert await review(meta, ReviewKind.MANIFEST) == {referrer.digest: False}
        await meta.delete_manifest(NAME, subject.digest)
        assert await review(meta, ReviewKind.MANIFEST) == {referrer.digest: True}

    @behaviour
    async def test_a_removed_manifest_lets_go_of_all_that_it_kept(self, meta: ReviewingMeta) -> None:
        blob = await add_blob(meta)
        record = manifest(blobs=(blob.digest,))
        await meta.put_manifest(NAME, record)
        await review(meta, ReviewKind.LINK)
        assert await review(meta, ReviewKind.MANIFEST) == {record.digest: True}
        assert await review(meta, ReviewKind.LINK) == {blob.digest: True}

    @behaviour
    async def test_bytes_that_were_pushed_again_are_superseded(self, meta: ReviewingMeta) -> None:
        old = await add_blob(meta)
        session = new_session()
        await meta.create_upload(session)
        await meta.complete_upload(session, Blob(old.digest, old.size, "elsewhere"))
        await age(meta)
        assert [waste.location for waste in await meta.waste(ReviewKind.SUPERSEDED, 1000, 10)] == [old.location]
        found = await meta.get_blob(NAME, old.digest)
        assert found is not None
        assert found.location == "elsewhere"

    @behaviour
    async def test_bytes_that_are_forgotten_are_counted(self, meta: ReviewingMeta) -> None:
        blob = await add_blob(meta)
        await meta.unlink_blob(NAME, blob.digest)
        await age(meta)
        await meta.forget_waste(ReviewKind.TRASH, [blob.location])
        assert await meta.waste(ReviewKind.TRASH, 0, 10) == []
        collected = await meta.collected()
        assert collected.removed[ReviewKind.TRASH] == 1
        assert collected.bytes[ReviewKind.TRASH] == blob.size

    @behaviour
    async def test_a_session_that_does_not_move_is_idle(self, meta: ReviewingMeta) -> None:
        resting, moving, ended = new_session(), new_session(), new_session()
        for session in (resting, moving, ended):
            await meta.create_upload(session)
        await age(meta)
        await meta.advance_upload(moving, replace(moving, offset=5))
        await meta.delete_upload(NAME, ended.id)
        assert await meta.idle_uploads(1000, 10) == [resting]

    @behaviour
    async def test_an_idle_session_is_told_with_all_that_is_known_of_it(self, meta: ReviewingMeta) -> None:
        session = new_session()
        sealed = replace(session, offset=4, digest=digest_of("blob"), checksum="abc", note="here", location="there")
        await meta.create_upload(session)
        await meta.advance_upload(session, sealed)
        await age(meta)
        assert await meta.idle_uploads(1000, 10) == [sealed]

    @behaviour
    async def test_what_a_sealed_session_may_have_left_waits_as_trash(self, meta: ReviewingMeta) -> None:
        session = new_session()
        await meta.create_upload(session)
        sealed = replace(session, offset=4, digest=digest_of("blob"), location="there")
        await meta.advance_upload(session, sealed)
        assert await meta.delete_upload(NAME, session.id) is True
        assert await meta.complete_upload(sealed, Blob(digest_of("blob"), 4, "there")) is False
        await age(meta)
        assert await meta.waste(ReviewKind.TRASH, 1000, 10) == [Waste("there", digest_of("blob"), 4)]

    @behaviour
    async def test_a_preview_changes_nothing_and_says_what_a_review_would(self, meta: ReviewingMeta) -> None:
        blob = await add_blob(meta)
        for _ in range(2):
            ((_, verdict),) = await meta.preview(ReviewKind.LINK, 0, 10)
            assert (verdict.key, verdict.removed) == (blob.digest, True)
        assert await meta.get_blob(NAME, blob.digest) == blob

    @behaviour
    async def test_a_preview_goes_on_behind_the_last_review_seen(self, meta: ReviewingMeta) -> None:
        digests = [(await add_blob(meta, text=f"blob {number}")).digest for number in range(5)]
        seen: list[Digest] = []
        after = 0
        while found := await meta.preview(ReviewKind.LINK, after, 2):
            after = found[-1][0]
            seen += [Digest(verdict.key) for _, verdict in found]
        assert seen == digests

    @behaviour
    async def test_what_waits_is_counted_by_kind(self, meta: ReviewingMeta) -> None:
        await add_blob(meta)
        await meta.create_upload(new_session())
        waiting = (await meta.collected()).waiting
        assert (waiting[ReviewKind.LINK], waiting[ReviewKind.UPLOAD]) == (1, 1)
