"""Two replicas on one PostgreSQL, whose transactions meet: what holds of the rows afterwards, whoever came first."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from ferro_oci_server.backends.meta.postgres import PostgresRegistryMeta
from ferro_oci_server.core.records import Blob, Condition, ManifestRecord, ReviewKind
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import ManifestBlobUnknown, PreconditionFailed
from ferro_oci_server.testing.registry_meta.samples import NAME, OTHER, add_blob, digest_of, manifest, new_session, tags
from support.postgres import PostgresServer

ROUNDS = 25
BUT_ABSENT = Condition(none_match=None)

# What must not be there, whatever has happened: each query finds what is lost, or what nobody would ever remove.
BROKEN = {
    "bytes of a blob that wait for their removal": "SELECT location FROM blobs JOIN trash USING (location)",
    "a blob that no repository links": """
        SELECT digest FROM blobs WHERE NOT EXISTS (SELECT FROM repository_blobs l WHERE l.digest = blobs.digest)""",
    "a manifest that needs a blob which is not linked": """
        SELECT r.digest FROM manifest_references r JOIN manifests m ON m.id = r.manifest_id
        WHERE NOT EXISTS (SELECT FROM repository_blobs l
                          WHERE l.repository_id = r.repository_id AND l.digest = r.digest)""",
    "an untagged manifest that nobody will review": """
        SELECT m.digest FROM manifests m JOIN repositories p ON p.id = m.repository_id
        WHERE NOT EXISTS (SELECT FROM tags t WHERE t.manifest_id = m.id)
          AND NOT EXISTS (SELECT FROM reviews v
                          WHERE v.kind = 'manifest' AND v.repository = p.name AND v.key = m.digest)""",
    "a link without a reference that nobody will review": """
        SELECT l.digest FROM repository_blobs l JOIN repositories p ON p.id = l.repository_id
        WHERE NOT EXISTS (SELECT FROM manifest_references r
                          WHERE r.repository_id = l.repository_id AND r.digest = l.digest)
          AND NOT EXISTS (SELECT FROM reviews v
                          WHERE v.kind = 'link' AND v.repository = p.name AND v.key = l.digest)""",
    "trash that nobody will remove": """
        SELECT location FROM trash WHERE NOT EXISTS (
            SELECT FROM reviews v WHERE v.kind IN ('trash', 'superseded') AND v.key = location)""",
    "a session that nobody will end": """
        SELECT id FROM uploads u WHERE NOT EXISTS (SELECT FROM reviews v WHERE v.kind = 'upload' AND v.key = u.id)""",
    "a review of a session that is over": """
        SELECT key FROM reviews v WHERE kind = 'upload' AND NOT EXISTS (SELECT FROM uploads u WHERE u.id = v.key)""",
}

Meet = Callable[[Callable[[PostgresRegistryMeta, PostgresRegistryMeta], Awaitable[None]]], None]
"""Runs a test with two stores."""


@pytest.fixture
def meet(postgres: PostgresServer, postgres_url: str) -> Meet:
    """Runs a test with two stores, and looks at the rows when it is over."""

    def run(body: Callable[[PostgresRegistryMeta, PostgresRegistryMeta], Awaitable[None]]) -> None:
        async def use() -> None:
            pair = PostgresRegistryMeta(postgres_url), PostgresRegistryMeta(postgres_url)
            try:
                await body(*pair)
                assert await pair[0].inspect_rows(10) == []
            finally:
                await asyncio.gather(*(meta.close() for meta in pair))

        asyncio.run(use())
        assert {name: rows for name, sql in BROKEN.items() if (rows := postgres.query(sql, "registry"))} == {}

    return run


async def age(meta: PostgresRegistryMeta) -> None:
    """Let everything that waits be due."""
    last = await meta.tick(-1, 0)
    await meta.tick(last, 1000)


async def both(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """What each came to: a result, or an error that a client may be told."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ManifestBlobUnknown | PreconditionFailed):
            raise result
    return results


async def later(seconds: float, work: Coroutine[Any, Any, Any]) -> Any:
    """Begin a little later: what takes several steps is then met at another one."""
    await asyncio.sleep(seconds)
    return await work


def test_a_manifest_and_the_review_of_its_blob(meet: Meet) -> None:
    async def body(one: PostgresRegistryMeta, two: PostgresRegistryMeta) -> None:
        for number in range(ROUNDS):
            blob = await add_blob(one, text=f"blob {number}")
            await age(one)
            record = manifest(f"manifest {number}", blobs=(blob.digest,))
            pushed, _ = await both(one.put_manifest(NAME, record, tags("v1")), two.review(ReviewKind.LINK, 0, 100))
            is_there = await two.get_blob(NAME, blob.digest) is not None
            assert is_there == (pushed is None)

    meet(body)


def test_a_mount_and_the_last_unlink(meet: Meet) -> None:
    async def body(one: PostgresRegistryMeta, two: PostgresRegistryMeta) -> None:
        for number in range(ROUNDS):
            blob = await add_blob(one, text=f"blob {number}")
            mounting, unlinking = one.mount_blob(OTHER, blob.digest, NAME), two.unlink_blob(NAME, blob.digest)
            mounted, unlinked = await both(later(number * 0.0001, mounting), unlinking)
            assert unlinked is True
            assert (await two.get_blob(OTHER, blob.digest) is not None) == (mounted is not None)

    meet(body)


def test_two_that_unlink_what_only_they_link(meet: Meet) -> None:
    async def body(one: PostgresRegistryMeta, two: PostgresRegistryMeta) -> None:
        for number in range(ROUNDS):
            blob = await add_blob(one, text=f"blob {number}")
            await one.mount_blob(OTHER, blob.digest, NAME)
            assert await both(one.unlink_blob(NAME, blob.digest), two.unlink_blob(OTHER, blob.digest)) == [True, True]

    meet(body)


def test_one_digest_that_is_pushed_twice_leaves_one_of_its_locations_as_waste(meet: Meet) -> None:
    async def body(one: PostgresRegistryMeta, two: PostgresRegistryMeta) -> None:
        for number in range(ROUNDS):
            text = f"blob {number}"
            await both(add_blob(one, NAME, text, f"first {number}"), add_blob(two, OTHER, text, f"second {number}"))
            found = await one.get_blob(NAME, digest_of(text))
            assert found is not None
            assert await two.get_blob(OTHER, digest_of(text)) == found
        await age(one)
        assert len(await one.waste(ReviewKind.SUPERSEDED, 0, 1000)) == ROUNDS

    meet(body)


def test_of_two_that_close_a_session_one_does(meet: Meet) -> None:
    async def body(one: PostgresRegistryMeta, two: PostgresRegistryMeta) -> None:
        for number in range(ROUNDS):
            session = new_session()
            await one.create_upload(session)
            blob = Blob(digest_of(f"blob {number}"), 4, f"place {number}")
            closed = await both(one.complete_upload(session, blob), two.complete_upload(session, blob))
            assert sorted(closed) == [False, True]

    meet(body)


def test_of_closing_a_session_and_ending_it_one_happens(meet: Meet) -> None:
    async def body(one: PostgresRegistryMeta, two: PostgresRegistryMeta) -> None:
        for number in range(ROUNDS):
            session = new_session()
            await one.create_upload(session)
            blob = Blob(digest_of(f"blob {number}"), 4, f"place {number}")
            sealed = replace(session, offset=4, digest=blob.digest, location=blob.location)
            await one.advance_upload(session, sealed)
            closed, ended = await both(one.complete_upload(sealed, blob), two.delete_upload(NAME, session.id))
            assert closed is not ended
            assert (await one.get_blob(NAME, blob.digest) is not None) == closed

    meet(body)


def test_a_tick_is_counted_once(meet: Meet) -> None:
    async def body(one: PostgresRegistryMeta, two: PostgresRegistryMeta) -> None:
        last = 0
        for _ in range(ROUNDS):
            first, second = await both(one.tick(last, 10), two.tick(last, 10))
            assert first == second == last + 1
            last = first

    meet(body)


def test_a_tag_that_is_moved_twice_leaves_one_manifest_to_review(meet: Meet) -> None:
    async def body(one: PostgresRegistryMeta, two: PostgresRegistryMeta) -> None:
        for number in range(ROUNDS):
            records = [manifest(f"manifest {number} of {which}") for which in ("one", "two")]
            await both(*(meta.put_manifest(NAME, it, tags("v1")) for meta, it in zip((one, two), records, strict=True)))
            await both(one.put_manifest(NAME, records[0], tags(f"n{number}")), two.delete_tag(NAME, tags("v1")[0]))

    meet(body)


def test_of_two_that_want_a_new_tag_one_makes_it(meet: Meet) -> None:
    async def body(one: PostgresRegistryMeta, two: PostgresRegistryMeta) -> None:
        for number in range(ROUNDS):
            records = [manifest(f"manifest {number} of {which}") for which in ("one", "two")]
            new = tags(f"v{number}")
            results = await both(
                one.put_manifest(NAME, records[0], new, condition=BUT_ABSENT),
                two.put_manifest(NAME, records[1], new, condition=BUT_ABSENT),
            )
            assert {type(result) for result in results} == {type(None), PreconditionFailed}

    meet(body)


def test_two_that_review_share_what_is_due(meet: Meet) -> None:
    async def body(one: PostgresRegistryMeta, two: PostgresRegistryMeta) -> None:
        digests = {(await add_blob(one, text=f"blob {number}")).digest for number in range(ROUNDS)}
        await age(one)
        found = await both(one.review(ReviewKind.LINK, 0, 1000), two.review(ReviewKind.LINK, 0, 1000))
        keys = [verdict.key for verdicts in found for verdict in verdicts]
        assert sorted(keys) == sorted(digests)
        await age(one)
        wasted = await both(one.waste(ReviewKind.TRASH, 0, 1000), two.waste(ReviewKind.TRASH, 0, 1000))
        assert len([waste.location for part in wasted for waste in part]) == ROUNDS

    meet(body)


def test_two_that_scrub_share_the_cycle(meet: Meet) -> None:
    async def body(one: PostgresRegistryMeta, two: PostgresRegistryMeta) -> None:
        digests = [(await add_blob(one, text=f"blob {number}")).digest for number in range(ROUNDS)]
        pages = await both(*(meta.next_to_scrub(4, 3_600_000) for meta in (one, two) * 4))
        assert sorted(it.blob.digest for page in pages for it in page) == sorted(digests)

    meet(body)


class _Client:
    """Does at random what clients and collectors do, on few names, so that they are always in each other's way."""

    def __init__(self, meta: PostgresRegistryMeta, seed: int) -> None:
        self._meta = meta
        self._chance = random.Random(seed)
        self._acts = [
            self._push,
            self._push,
            self._mount,
            self._unlink,
            self._tag,
            self._tag,
            self._untag,
            self._delete,
        ]
        self._acts += [self._give_up, self._collect, self._lease]

    async def run(self, steps: int) -> None:
        for _ in range(steps):
            with suppress(ManifestBlobUnknown, PreconditionFailed):
                await self._chance.choice(self._acts)()

    def _blob(self) -> Digest:
        return digest_of(f"blob {self._chance.randrange(4)}")

    def _record(self) -> ManifestRecord:
        number = self._chance.randrange(6)
        return manifest(f"manifest {number}", blobs=(digest_of(f"blob {number % 4}"),))

    async def _push(self) -> None:
        session, blob = new_session(self._name()), Blob(self._blob(), 4, str(uuid4()))
        await self._meta.create_upload(session)
        assert await self._meta.complete_upload(session, blob)

    def _name(self) -> Any:
        return self._chance.choice((NAME, OTHER))

    async def _mount(self) -> None:
        await self._meta.mount_blob(self._name(), self._blob(), self._chance.choice((None, NAME, OTHER)))

    async def _unlink(self) -> None:
        # Clients may unlink what a manifest refers to. These know better, so that it is always there.
        name, digest = self._name(), digest_of(f"loose {self._chance.randrange(2)}")
        await add_blob(self._meta, name, f"loose {self._chance.randrange(2)}", str(uuid4()))
        await self._meta.unlink_blob(name, digest)

    async def _tag(self) -> None:
        names = self._chance.sample(tags("a", "b", "c"), self._chance.randrange(3))
        condition = BUT_ABSENT if self._chance.random() < 0.2 else None
        await self._meta.put_manifest(self._name(), self._record(), names, condition=condition)

    async def _untag(self) -> None:
        await self._meta.delete_tag(self._name(), self._chance.choice(tags("a", "b", "c")))

    async def _delete(self) -> None:
        await self._meta.delete_manifest(self._name(), self._record().digest)

    async def _give_up(self) -> None:
        session = new_session(self._name())
        blob = Blob(self._blob(), 4, str(uuid4()))
        sealed = replace(session, offset=4, digest=blob.digest, location=blob.location)
        await self._meta.create_upload(session)
        assert await self._meta.advance_upload(session, sealed)
        ways = [self._meta.complete_upload(sealed, blob), self._meta.delete_upload(session.repository, session.id)]
        assert sorted(await asyncio.gather(*ways)) == [False, True]

    async def _collect(self) -> None:
        await self._meta.tick(await self._meta.tick(-1, 0), 10)
        for kind in (ReviewKind.MANIFEST, ReviewKind.LINK):
            await self._meta.review(kind, 0, 3)
        for kind in (ReviewKind.TRASH, ReviewKind.SUPERSEDED):
            found = await self._meta.waste(kind, 0, 3)
            await self._meta.forget_waste(kind, [waste.location for waste in found])

    async def _lease(self) -> None:
        await self._meta.get_blob(self._name(), self._blob(), lease=True)
        await self._meta.stat_manifest(self._name(), self._record().digest, lease=True)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_meets_nothing_is_lost_and_nothing_is_left(meet: Meet, seed: int) -> None:
    async def body(one: PostgresRegistryMeta, two: PostgresRegistryMeta) -> None:
        clients = [_Client((one, two)[number % 2], 100 * seed + number) for number in range(12)]
        await asyncio.gather(*(client.run(60) for client in clients))

    meet(body)
