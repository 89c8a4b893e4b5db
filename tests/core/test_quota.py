"""What a repository may hold: what is counted, when the store is asked, and what is refused."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.quota import Quota, Quotas, Resource
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import BlobTooLarge, QuotaExceeded
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.registry_meta.samples import NAME, OTHER, add_blob, digest_of, manifest, tags

pytestmark = pytest.mark.anyio

ANY = Quota(max_repository_tags=0, max_repository_manifests=0)


class Counted(InMemoryRegistryMeta):
    """Notes what it is asked, and takes its time to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Resource] = []

    async def usage(self, name: RepositoryName, resource: Resource) -> int:
        self.asked.append(resource)
        count = await super().usage(name, resource)
        await asyncio.sleep(0)
        return count


class Process:
    """Quotas on a store, and a clock that stands still."""

    def __init__(self, meta: InMemoryRegistryMeta, quota: Quota) -> None:
        self.now = 0.0
        self.meta = meta
        self.quotas = Quotas(quota, meta, lambda: self.now)

    async def put(self, text: str, names: Sequence[Tag] = ()) -> None:
        """Store a manifest, if there is room for it and its tags."""
        record = manifest(text)
        await self.quotas.admit_manifest(NAME, record.digest, names)
        await self.meta.put_manifest(NAME, record, names)

    async def push(self, text: str, name: RepositoryName = NAME) -> Digest:
        """Store a blob, if there is room for it."""
        await self.quotas.admit_blob(name, digest_of(text), len(text))
        return (await add_blob(self.meta, name, text)).digest


@pytest.fixture
def meta() -> Counted:
    return Counted()


# Tags and manifests.


async def test_a_new_tag_too_many_is_refused_and_others_are_moved(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_tags=2))
    await process.put("first", tags("v1", "v2"))
    with pytest.raises(QuotaExceeded, match="at most 2 tags"):
        await process.put("second", tags("v3"))
    with pytest.raises(QuotaExceeded):
        await process.put("second", tags("v1", "v3"))
    for text in ("second", "third", "fourth"):
        await process.put(text, tags("v1", "v2"))


async def test_tags_of_one_request_are_counted_together_each_once(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_tags=2))
    with pytest.raises(QuotaExceeded):
        await process.put("first", tags("v1", "v2", "v3"))
    await process.put("first", tags("v1", "v2", "v2"))


async def test_a_new_manifest_too_many_is_refused_and_others_are_pushed_again(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_manifests=2))
    await process.put("first")
    await process.put("second")
    with pytest.raises(QuotaExceeded, match="at most 2 manifests"):
        await process.put("third")
    await process.put("first", tags("v1"))


async def test_each_repository_has_a_limit_of_its_own(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_manifests=1))
    await meta.put_manifest(OTHER, manifest("other"))
    await process.put("first")


async def test_moving_tags_counts_nothing_however_full_the_repository_is(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_tags=2, max_repository_manifests=0))
    await process.put("first", tags("v1", "v2"))
    for number in range(5):
        process.now += 2
        await process.put(f"{number}", tags("v1", "v2"))
    assert meta.asked == [Resource.TAGS]


# Bytes.


async def test_a_blob_for_which_there_is_no_room_is_refused(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_bytes=10))
    await process.push("1234567")
    with pytest.raises(QuotaExceeded, match="at most 10 bytes"):
        await process.push("1234")
    await process.push("123")
    await process.push("1234567")
    await process.push("1234", OTHER)


async def test_room_is_what_is_left_for_the_blob_that_comes(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_bytes=10))
    await process.push("1234")
    assert await process.quotas.room(NAME, 0, 1) == 6
    assert await process.quotas.room(NAME, 2, 4) == 4
    with pytest.raises(QuotaExceeded):
        await process.quotas.room(NAME, 2, 5)


async def test_what_is_there_already_needs_no_room(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_bytes=4))
    digest = await process.push("1234")
    assert await process.quotas.room(NAME, 0, 4, digest) > 4
    with pytest.raises(QuotaExceeded):
        await process.quotas.room(NAME, 0, 4, digest_of("other"))


async def test_a_damaged_blob_can_be_pushed_again(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_bytes=4))
    digest = await process.push("1234")
    blob = await meta.get_blob(NAME, digest)
    assert blob is not None
    await meta.mark_blob(blob, suspect=True)
    process.now += 1
    assert await process.quotas.room(NAME, 0, 4) == 4
    await process.push("1234")


@pytest.mark.parametrize(("kept", "size"), [(0, 11), (10, 1), (11, 0)])
async def test_a_blob_too_large_is_refused_whatever_comes_of_it(meta: Counted, kept: int, size: int) -> None:
    process = Process(meta, Quota(max_blob_bytes=10))
    assert await process.quotas.room(NAME, 3, 0) == 7
    with pytest.raises(BlobTooLarge, match="at most 10 bytes"):
        await process.quotas.room(NAME, kept, size)


async def test_the_smaller_of_both_limits_counts(meta: Counted) -> None:
    process = Process(meta, Quota(max_blob_bytes=10, max_repository_bytes=12))
    assert await process.quotas.room(NAME, 0, 1) == 10
    await process.push("12345")
    assert await process.quotas.room(NAME, 0, 1) == 7


async def test_a_mount_needs_room(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_bytes=10))
    large, small = await process.push("1234567", OTHER), await process.push("123", OTHER)
    await process.push("12345")
    assert await process.quotas.admit_mount(NAME, small, OTHER) is True
    with pytest.raises(QuotaExceeded):
        await process.quotas.admit_mount(NAME, large, OTHER)


async def test_a_mount_of_what_is_not_there_is_left_to_the_store(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_bytes=1))
    assert await process.quotas.admit_mount(NAME, digest_of("nothing"), OTHER) is True


async def test_a_mount_that_names_no_source_may_not_be_tried_where_bytes_are_limited(meta: Counted) -> None:
    digest = (await add_blob(meta, OTHER)).digest
    assert await Process(meta, Quota(max_repository_bytes=10)).quotas.admit_mount(NAME, digest, None) is False
    assert await Process(meta, Quota()).quotas.admit_mount(NAME, digest, None) is True


# When the store is asked.


async def test_without_limits_nothing_is_asked(meta: Counted) -> None:
    process = Process(meta, ANY)
    await process.put("first", tags("v1"))
    digest = await process.push("blob")
    assert await process.quotas.room(NAME, 0, 2**62) > 2**62
    assert await process.quotas.admit_mount(NAME, digest, None)
    assert meta.asked == []


async def test_a_store_that_cannot_count_has_no_limits_but_that_of_a_blob() -> None:
    class Plain:
        """Does nothing."""

    quotas = Quotas(Quota(max_blob_bytes=5, max_repository_bytes=1, max_repository_tags=1), Plain())  # type: ignore[arg-type]
    await quotas.admit_manifest(NAME, digest_of("x"), tags("v1", "v2"))
    assert await quotas.room(NAME, 0, 5) == 5
    with pytest.raises(BlobTooLarge):
        await quotas.room(NAME, 0, 6)


async def test_the_store_is_asked_once_a_minute(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_manifests=0))
    for number in range(10):
        await process.put(f"{number}", tags(f"v{number}"))
    assert meta.asked == [Resource.TAGS]
    process.now += 60
    await process.put("last", tags("last"))
    assert meta.asked == [Resource.TAGS] * 2


async def test_many_that_come_at_once_ask_once(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_tags=5, max_repository_manifests=0))
    results = await asyncio.gather(
        *(process.put(f"{number}", tags(f"v{number}")) for number in range(8)), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None)] * 5 + [QuotaExceeded] * 3
    assert meta.asked == [Resource.TAGS]


async def test_what_is_let_in_while_the_store_counts_is_not_forgotten(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_bytes=10))
    await process.push("12345")
    process.now += 60

    async def grow() -> None:
        process.quotas._tally(NAME, Resource.BYTES).count += 3

    await asyncio.gather(process.quotas.room(NAME, 0, 1), grow())
    assert await process.quotas.room(NAME, 0, 1) == 2


async def test_what_another_process_let_in_is_seen_within_a_minute(meta: Counted) -> None:
    quota = Quota(max_repository_tags=2, max_repository_manifests=0)
    first, second = Process(meta, quota), Process(meta, quota)
    await first.put("first", tags("v1"))
    await second.put("second", tags("v2"))
    # Soft: of what the other did since, nothing is known yet.
    await first.put("third", tags("v3"))
    for process in (first, second):
        process.now += 60
        with pytest.raises(QuotaExceeded):
            await process.put("fourth", tags("v4"))


async def test_before_something_is_refused_the_store_is_asked_once_a_second(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_tags=1, max_repository_manifests=0))
    await process.put("first", tags("v1"))
    process.now += 1
    for _ in range(5):
        with pytest.raises(QuotaExceeded):
            await process.put("second", tags("v2"))
    assert meta.asked == [Resource.TAGS] * 2

    # Somebody else has made room.
    await meta.delete_tag(NAME, Tag("v1"))
    process.now += 1
    await process.put("second", tags("v2"))


async def test_what_was_removed_here_makes_room_at_once(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_tags=1, max_repository_manifests=0))
    await process.put("first", tags("v1"))
    with pytest.raises(QuotaExceeded):
        await process.put("second", tags("v2"))
    await meta.delete_tag(NAME, Tag("v1"))
    process.quotas.doubt(NAME)
    await process.put("second", tags("v2"))


async def test_what_could_not_be_stored_takes_no_room_for_long(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_bytes=5))
    await process.quotas.admit_blob(NAME, digest_of("lost"), 4)
    with pytest.raises(QuotaExceeded):
        await process.push("1234")
    process.now += 1
    await process.push("1234")


async def test_of_a_repository_that_was_forgotten_the_store_is_asked_again(
    meta: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ferro_oci_server.core.quota._MAX_TALLIES", 1)
    process = Process(meta, Quota(max_repository_bytes=5))
    for name in (NAME, OTHER, NAME):
        await process.quotas.room(name, 0, 1)
    assert meta.asked == [Resource.BYTES] * 3
    assert len(process.quotas._tallies) == 1


async def test_whoever_is_cancelled_while_the_store_counts_holds_nobody_up(meta: Counted) -> None:
    process = Process(meta, Quota(max_repository_bytes=5))
    asking = asyncio.create_task(process.quotas.room(NAME, 0, 1))
    await asyncio.sleep(0)
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    assert await process.quotas.room(NAME, 0, 1) == 5
