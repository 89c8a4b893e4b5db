"""What a ``RegistryMeta`` promises of the references of a manifest, and of conditions on a change."""

import asyncio

import pytest

from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.core.records import Condition
from ferro_oci_server.oci.errors import ManifestBlobUnknown, PreconditionFailed
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.behaviour import behaviour
from ferro_oci_server.testing.registry_meta.samples import NAME, OTHER, add_blob, digest_of, manifest, tags

__all__ = ["ConditionTests", "ReferenceTests"]


class ReferenceTests:
    """What must be there before a manifest that names it."""

    @behaviour
    async def test_a_manifest_whose_blobs_are_there_is_taken(self, meta: RegistryMeta) -> None:
        blobs = tuple([(await add_blob(meta, text=text)).digest for text in ("config", "layer")])
        await meta.put_manifest(NAME, manifest(blobs=blobs))
        assert await meta.stat_manifest(NAME, manifest().digest) is not None

    @behaviour
    async def test_all_that_is_missing_is_named_once(self, meta: RegistryMeta) -> None:
        there = (await add_blob(meta)).digest
        lost = sorted(map(digest_of, ("a", "b", "c")))
        record = manifest(blobs=(lost[2], there, lost[0], lost[0]), children=(lost[1], lost[0]))
        with pytest.raises(ManifestBlobUnknown) as caught:
            await meta.put_manifest(NAME, record)
        assert caught.value.missing == lost

    @behaviour
    async def test_a_refused_manifest_brings_no_repository_into_being(self, meta: RegistryMeta) -> None:
        with pytest.raises(ManifestBlobUnknown):
            await meta.put_manifest(NAME, manifest(blobs=(digest_of("x"),)), tags("latest"))
        assert await meta.list_tags(NAME, "", 1) is None
        assert await meta.list_repositories("", 10) == []

    @behaviour
    async def test_a_refused_manifest_changes_nothing(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest("old"), tags("latest"))
        refused = manifest("new", blobs=(digest_of("x"),), subject=digest_of("s"))
        with pytest.raises(ManifestBlobUnknown):
            await meta.put_manifest(NAME, refused, tags("latest", "new"))
        found = await meta.stat_manifest(NAME, Tag("latest"))
        assert found is not None
        assert found.digest == manifest("old").digest
        assert await meta.list_tags(NAME, "", 10) == ["latest"]
        assert await meta.stat_manifest(NAME, refused.digest) is None
        assert await meta.list_referrers(NAME, digest_of("s"), None, "", 10) == []

    @behaviour
    async def test_a_blob_of_another_repository_is_missing_here(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta, OTHER)
        await add_blob(meta, NAME, "mine")
        with pytest.raises(ManifestBlobUnknown):
            await meta.put_manifest(NAME, manifest(blobs=(blob.digest,)))

    @behaviour
    async def test_a_blob_that_was_unlinked_is_missing(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta)
        await meta.unlink_blob(NAME, blob.digest)
        with pytest.raises(ManifestBlobUnknown):
            await meta.put_manifest(NAME, manifest(blobs=(blob.digest,)))

    @behaviour
    async def test_a_child_may_be_a_manifest_or_a_blob(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta)
        await meta.put_manifest(NAME, manifest("child"))
        index = manifest("index", children=(manifest("child").digest, blob.digest))
        await meta.put_manifest(NAME, index)
        assert await meta.stat_manifest(NAME, index.digest) is not None

    @behaviour
    async def test_a_child_of_another_repository_is_missing_here(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(OTHER, manifest("child"))
        await meta.put_manifest(NAME, manifest("mine"))
        with pytest.raises(ManifestBlobUnknown):
            await meta.put_manifest(NAME, manifest("index", children=(manifest("child").digest,)))

    @behaviour
    async def test_a_manifest_is_not_taken_for_a_blob(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest("child"))
        child = manifest("child").digest
        with pytest.raises(ManifestBlobUnknown):
            await meta.put_manifest(NAME, manifest(blobs=(child,), children=(child,)))

    @behaviour
    async def test_optional_content_and_the_subject_may_be_missing(self, meta: RegistryMeta) -> None:
        record = manifest(optional=(digest_of("foreign layer"),), subject=digest_of("subject"))
        await meta.put_manifest(NAME, record)
        assert await meta.stat_manifest(NAME, record.digest) is not None

    @behaviour
    async def test_what_is_missing_can_be_allowed(self, meta: RegistryMeta) -> None:
        record = manifest(blobs=(digest_of("x"),), children=(digest_of("y"),))
        await meta.put_manifest(NAME, record, tags("latest"), allow_missing=True)
        assert await meta.list_tags(NAME, "", 10) == ["latest"]
        assert await meta.get_blob(NAME, digest_of("x")) is None

    @behaviour
    async def test_a_manifest_put_again_is_checked_again(self, meta: RegistryMeta) -> None:
        record = manifest(blobs=(digest_of("x"),))
        await meta.put_manifest(NAME, record, allow_missing=True)
        with pytest.raises(ManifestBlobUnknown):
            await meta.put_manifest(NAME, record, tags("latest"))

    @behaviour
    async def test_one_digest_may_be_referred_to_in_every_way(self, meta: RegistryMeta) -> None:
        blob = (await add_blob(meta)).digest
        record = manifest(blobs=(blob, blob), children=(blob,), optional=(blob,), subject=blob)
        await meta.put_manifest(NAME, record)
        assert await meta.stat_manifest(NAME, record.digest) is not None

    @behaviour
    async def test_one_missing_among_thousands_is_found(self, meta: RegistryMeta) -> None:
        children = [manifest(f"child {number}") for number in range(2_500)]
        await asyncio.gather(*(meta.put_manifest(NAME, child) for child in children))
        digests = [child.digest for child in children]
        await meta.put_manifest(NAME, manifest("whole", children=tuple(digests)))
        with pytest.raises(ManifestBlobUnknown) as caught:
            await meta.put_manifest(NAME, manifest("index", children=(*digests, digest_of("x"))))
        assert caught.value.missing == [digest_of("x")]


_OLD = manifest("old").digest
_ANYTHING: None = None


class ConditionTests:
    """When a change may happen."""

    @pytest.mark.parametrize(
        ("condition", "exists", "holds"),
        [
            pytest.param(Condition(), True, True, id="no condition"),
            pytest.param(Condition(match=_ANYTHING), True, True, id="match anything, there"),
            pytest.param(Condition(match=_ANYTHING), False, False, id="match anything, not there"),
            pytest.param(Condition(match=frozenset({_OLD, "x"})), True, True, id="match this"),
            pytest.param(Condition(match=frozenset({"x"})), True, False, id="match another"),
            pytest.param(Condition(match=frozenset({_OLD})), False, False, id="match this, not there"),
            pytest.param(Condition(none_match=_ANYTHING), True, False, id="match nothing, there"),
            pytest.param(Condition(none_match=_ANYTHING), False, True, id="match nothing, not there"),
            pytest.param(Condition(none_match=frozenset({_OLD})), True, False, id="not this"),
            pytest.param(Condition(none_match=frozenset({"x"})), True, True, id="not another"),
        ],
    )
    @behaviour
    async def test_a_tag_moves_if_its_condition_holds(
        self, meta: RegistryMeta, condition: Condition, exists: bool, holds: bool
    ) -> None:
        if exists:
            await meta.put_manifest(NAME, manifest("old"), tags("latest"))
        new = manifest("new")
        if holds:
            await meta.put_manifest(NAME, new, tags("latest"), condition=condition)
        else:
            with pytest.raises(PreconditionFailed):
                await meta.put_manifest(NAME, new, tags("latest"), condition=condition)
        found = await meta.stat_manifest(NAME, Tag("latest"))
        expected = new.digest if holds else _OLD if exists else None
        assert (found.digest if found else None) == expected

    @behaviour
    async def test_a_refused_change_changes_nothing(self, meta: RegistryMeta) -> None:
        with pytest.raises(PreconditionFailed):
            await meta.put_manifest(NAME, manifest(), tags("latest"), condition=Condition(match=_ANYTHING))
        assert await meta.list_tags(NAME, "", 1) is None

    @behaviour
    async def test_the_condition_is_asked_of_every_tag(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest("old"), tags("there"))
        with pytest.raises(PreconditionFailed):
            await meta.put_manifest(
                NAME, manifest("new"), tags("new", "there"), condition=Condition(none_match=_ANYTHING)
            )
        assert await meta.list_tags(NAME, "", 10) == ["there"]
        assert await meta.stat_manifest(NAME, manifest("new").digest) is None

    @behaviour
    async def test_without_a_tag_the_condition_is_asked_of_the_digest(self, meta: RegistryMeta) -> None:
        absent, present = Condition(none_match=_ANYTHING), Condition(match=frozenset({manifest().digest}))
        with pytest.raises(PreconditionFailed):
            await meta.put_manifest(NAME, manifest(), condition=present)
        await meta.put_manifest(NAME, manifest(), condition=absent)
        await meta.put_manifest(NAME, manifest(), condition=present)
        with pytest.raises(PreconditionFailed):
            await meta.put_manifest(NAME, manifest(), condition=absent)

    @behaviour
    async def test_with_a_tag_the_condition_is_not_asked_of_the_digest(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest())
        await meta.put_manifest(NAME, manifest(), tags("new"), condition=Condition(none_match=_ANYTHING))
        assert await meta.list_tags(NAME, "", 10) == ["new"]

    @behaviour
    async def test_of_many_that_create_one_tag_exactly_one_wins(self, meta: RegistryMeta) -> None:
        records = [manifest(f"candidate {number}") for number in range(20)]
        absent = Condition(none_match=_ANYTHING)
        results = await asyncio.gather(
            *(meta.put_manifest(NAME, record, tags("latest"), condition=absent) for record in records),
            return_exceptions=True,
        )
        winners = [record.digest for record, error in zip(records, results, strict=True) if error is None]
        found = await meta.stat_manifest(NAME, Tag("latest"))
        assert found is not None
        assert winners == [found.digest]
        assert sum(isinstance(error, PreconditionFailed) for error in results) == 19
