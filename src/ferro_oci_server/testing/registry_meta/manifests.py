"""What a ``RegistryMeta`` promises of manifests and tags."""

from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.core.records import ManifestInfo, ManifestRecord, StoredManifest
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.media_types import DOCKER_MANIFEST, OCI_IMAGE_MANIFEST
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.behaviour import behaviour
from ferro_oci_server.testing.registry_meta.samples import NAME, OTHER, digest_of, manifest, tags

__all__ = ["DeleteTests", "ManifestTests"]

LATEST = Tag("latest")


def _stored(record: ManifestRecord) -> StoredManifest:
    return StoredManifest(record.digest, record.media_type, record.content)


class ManifestTests:
    """Putting, finding and deleting."""

    @behaviour
    async def test_a_manifest_is_found_by_its_tag(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        assert await meta.get_manifest(NAME, LATEST) == _stored(manifest())

    @behaviour
    async def test_a_manifest_without_a_tag_is_found_by_its_digest(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest())
        assert await meta.get_manifest(NAME, manifest().digest) == _stored(manifest())

    @behaviour
    async def test_what_is_found_are_values_of_their_own_types(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        found = await meta.get_manifest(NAME, LATEST)
        assert found is not None
        assert (type(found.digest), type(found.content)) == (Digest, bytes)

    @behaviour
    async def test_every_byte_of_a_manifest_is_kept(self, meta: RegistryMeta) -> None:
        content = bytes(range(256)) + b"\r\n\0 \xef\xbb\xbf\xff"
        record = ManifestRecord(Digest.of(content), OCI_IMAGE_MANIFEST, content)
        await meta.put_manifest(NAME, record)
        assert await meta.get_manifest(NAME, record.digest) == _stored(record)

    @behaviour
    async def test_a_manifest_of_four_mebibytes_is_kept(self, meta: RegistryMeta) -> None:
        record = manifest("0123456789abcdef" * (4 * 1024 * 1024 // 16))
        await meta.put_manifest(NAME, record)
        assert await meta.get_manifest(NAME, record.digest) == _stored(record)

    @behaviour
    async def test_stat_tells_of_a_tag_what_get_gives(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        expected = ManifestInfo(manifest().digest, OCI_IMAGE_MANIFEST, len(manifest().content))
        assert await meta.stat_manifest(NAME, LATEST) == expected

    @behaviour
    async def test_stat_tells_of_a_digest_what_get_gives(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest())
        expected = ManifestInfo(manifest().digest, OCI_IMAGE_MANIFEST, len(manifest().content))
        assert await meta.stat_manifest(NAME, manifest().digest) == expected

    @behaviour
    async def test_nothing_is_found_where_there_is_no_repository(self, meta: RegistryMeta) -> None:
        assert await meta.get_manifest(NAME, LATEST) is None
        assert await meta.get_manifest(NAME, digest_of("x")) is None
        assert await meta.stat_manifest(NAME, LATEST) is None
        assert await meta.stat_manifest(NAME, digest_of("x")) is None

    @behaviour
    async def test_an_unknown_tag_or_digest_is_not_found(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        assert await meta.get_manifest(NAME, Tag("other")) is None
        assert await meta.get_manifest(NAME, digest_of("x")) is None

    @behaviour
    async def test_tags_differ_by_the_case_of_their_letters(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        assert await meta.get_manifest(NAME, Tag("Latest")) is None

    @behaviour
    async def test_a_manifest_of_another_repository_is_not_found(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(OTHER, manifest(), tags("latest"))
        await meta.put_manifest(NAME, manifest("mine"))
        assert await meta.get_manifest(NAME, LATEST) is None
        assert await meta.get_manifest(NAME, manifest().digest) is None

    @behaviour
    async def test_the_same_tag_of_two_repositories_points_at_two_manifests(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest("one"), tags("latest"))
        await meta.put_manifest(OTHER, manifest("two"), tags("latest"))
        assert await meta.get_manifest(NAME, LATEST) == _stored(manifest("one"))
        assert await meta.get_manifest(OTHER, LATEST) == _stored(manifest("two"))

    @behaviour
    async def test_all_tags_point_at_the_manifest_that_came_with_them(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("1", "1.0", "1.0.0"))
        found = [await meta.get_manifest(NAME, tag) for tag in tags("1", "1.0", "1.0.0")]
        assert found == [_stored(manifest())] * 3

    @behaviour
    async def test_a_tag_named_twice_is_one_tag(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("1", "1"))
        assert await meta.list_tags(NAME, "", 10) == ["1"]

    @behaviour
    async def test_a_tag_moves_to_the_manifest_put_last(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest("old"), tags("latest"))
        await meta.put_manifest(NAME, manifest("new"), tags("latest"))
        assert await meta.get_manifest(NAME, LATEST) == _stored(manifest("new"))

    @behaviour
    async def test_a_manifest_that_lost_its_tag_stays(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest("old"), tags("latest"))
        await meta.put_manifest(NAME, manifest("new"), tags("latest"))
        assert await meta.get_manifest(NAME, manifest("old").digest) == _stored(manifest("old"))

    @behaviour
    async def test_a_tag_moves_to_a_manifest_with_a_sha512_digest(self, meta: RegistryMeta) -> None:
        record = manifest()
        longer = ManifestRecord(Digest.of(record.content, Algorithm.SHA512), OCI_IMAGE_MANIFEST, record.content)
        await meta.put_manifest(NAME, record, tags("latest"))
        await meta.put_manifest(NAME, longer, tags("latest"))
        assert await meta.get_manifest(NAME, LATEST) == _stored(longer)
        assert await meta.get_manifest(NAME, record.digest) == _stored(record)

    @behaviour
    async def test_the_same_digest_again_moves_the_tags(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest("old"))
        await meta.put_manifest(NAME, manifest("new"), tags("latest"))
        await meta.put_manifest(NAME, manifest("old"), tags("latest"))
        assert await meta.get_manifest(NAME, LATEST) == _stored(manifest("old"))

    @behaviour
    async def test_the_same_digest_again_keeps_its_other_tags(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("1"))
        await meta.put_manifest(NAME, manifest(), tags("2"))
        assert await meta.list_tags(NAME, "", 10) == ["1", "2"]

    @behaviour
    async def test_the_same_digest_again_records_its_media_type_anew(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        await meta.put_manifest(NAME, manifest(media_type=DOCKER_MANIFEST))
        found = await meta.get_manifest(NAME, LATEST)
        assert found == _stored(manifest(media_type=DOCKER_MANIFEST))

    @behaviour
    async def test_the_media_type_of_another_repository_stays(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest())
        await meta.put_manifest(OTHER, manifest(media_type=DOCKER_MANIFEST))
        assert await meta.get_manifest(NAME, manifest().digest) == _stored(manifest())


class DeleteTests:
    """Deleting manifests and tags."""

    @behaviour
    async def test_a_deleted_manifest_is_gone(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest())
        assert await meta.delete_manifest(NAME, manifest().digest) is True
        assert await meta.get_manifest(NAME, manifest().digest) is None

    @behaviour
    async def test_every_tag_goes_with_its_manifest(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("1", "1.0"))
        await meta.put_manifest(NAME, manifest("other"), tags("2"))
        await meta.delete_manifest(NAME, manifest().digest)
        assert await meta.list_tags(NAME, "", 10) == ["2"]
        assert await meta.get_manifest(NAME, Tag("1")) is None

    @behaviour
    async def test_a_tag_that_moved_away_stays_when_its_first_manifest_goes(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest("old"), tags("latest"))
        await meta.put_manifest(NAME, manifest("new"), tags("latest"))
        await meta.delete_manifest(NAME, manifest("old").digest)
        assert await meta.get_manifest(NAME, LATEST) == _stored(manifest("new"))

    @behaviour
    async def test_deleting_an_unknown_manifest_tells_so(self, meta: RegistryMeta) -> None:
        assert await meta.delete_manifest(NAME, digest_of("x")) is False
        await meta.put_manifest(NAME, manifest())
        assert await meta.delete_manifest(NAME, digest_of("x")) is False
        await meta.delete_manifest(NAME, manifest().digest)
        assert await meta.delete_manifest(NAME, manifest().digest) is False

    @behaviour
    async def test_a_manifest_deleted_here_stays_elsewhere(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        await meta.put_manifest(OTHER, manifest(), tags("latest"))
        await meta.delete_manifest(NAME, manifest().digest)
        assert await meta.get_manifest(OTHER, LATEST) == _stored(manifest())

    @behaviour
    async def test_a_deleted_manifest_can_be_put_again(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        await meta.delete_manifest(NAME, manifest().digest)
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        assert await meta.get_manifest(NAME, LATEST) == _stored(manifest())

    @behaviour
    async def test_a_manifest_can_be_deleted_while_an_index_names_it(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest("child"))
        await meta.put_manifest(NAME, manifest("index", children=(manifest("child").digest,)))
        assert await meta.delete_manifest(NAME, manifest("child").digest) is True

    @behaviour
    async def test_a_deleted_tag_leaves_its_manifest(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("1", "2"))
        assert await meta.delete_tag(NAME, Tag("1")) is True
        assert await meta.get_manifest(NAME, Tag("1")) is None
        assert await meta.get_manifest(NAME, Tag("2")) == _stored(manifest())
        assert await meta.get_manifest(NAME, manifest().digest) == _stored(manifest())

    @behaviour
    async def test_deleting_an_unknown_tag_tells_so(self, meta: RegistryMeta) -> None:
        assert await meta.delete_tag(NAME, LATEST) is False
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        await meta.delete_tag(NAME, LATEST)
        assert await meta.delete_tag(NAME, LATEST) is False

    @behaviour
    async def test_a_tag_deleted_here_stays_elsewhere(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        await meta.put_manifest(OTHER, manifest(), tags("latest"))
        await meta.delete_tag(NAME, LATEST)
        assert await meta.list_tags(OTHER, "", 10) == ["latest"]
