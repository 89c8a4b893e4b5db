"""What a repository has is counted, in a store that is a ``Usage`` too."""

from typing import Protocol

from ferro_oci_server.core.inspection import Inspection
from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.core.quota import Resource, Usage
from ferro_oci_server.testing.behaviour import behaviour
from ferro_oci_server.testing.registry_meta.samples import NAME, OTHER, add_blob, digest_of, manifest, tags

__all__ = ["CountedMeta", "UsageSuite"]


class CountedMeta(RegistryMeta, Usage, Protocol):
    """A store that can count."""


async def usage(meta: CountedMeta) -> tuple[int, int, int]:
    """Tags, manifests and bytes of the repository that the tests are about."""
    tag_count, manifest_count, size = [await meta.usage(NAME, resource) for resource in Resource]
    return tag_count, manifest_count, size


class UsageSuite:
    """The behaviours; a subclass gives a fixture ``open_store``, as for ``RegistryMetaSuite``."""

    @behaviour
    async def test_a_repository_that_does_not_exist_has_nothing(self, meta: CountedMeta) -> None:
        await add_blob(meta, OTHER)
        assert await usage(meta) == (0, 0, 0)

    @behaviour
    async def test_tags_and_manifests_are_counted_each_once(self, meta: CountedMeta) -> None:
        await meta.put_manifest(NAME, manifest("first"), tags("v1", "v2"))
        await meta.put_manifest(NAME, manifest("second"), tags("v2", "v3"))
        await meta.put_manifest(NAME, manifest("second"), tags("v3"))
        await meta.put_manifest(OTHER, manifest("third"), tags("v4"))
        assert await usage(meta) == (3, 2, 0)

    @behaviour
    async def test_bytes_are_those_of_blobs_that_are_linked_each_once(self, meta: CountedMeta) -> None:
        await add_blob(meta, text="12345")
        await add_blob(meta, text="12345", location="elsewhere")
        await add_blob(meta, OTHER, "1234567")
        await add_blob(meta, OTHER, "1234567890")
        await meta.mount_blob(NAME, digest_of("1234567"), OTHER)
        assert await usage(meta) == (0, 0, 12)

    @behaviour
    async def test_what_was_removed_is_not_counted(self, meta: CountedMeta) -> None:
        blob = await add_blob(meta)
        await meta.put_manifest(NAME, manifest("first"), tags("v1", "v2"))
        await meta.put_manifest(NAME, manifest("second"), tags("v3", "v4"))
        await meta.delete_tag(NAME, tags("v4")[0])
        await meta.delete_manifest(NAME, manifest("first").digest)
        await meta.unlink_blob(NAME, blob.digest)
        assert await usage(meta) == (1, 1, 0)

    @behaviour
    async def test_a_blob_that_must_be_pushed_again_is_not_counted_until_it_is(self, meta: CountedMeta) -> None:
        assert isinstance(meta, Inspection)
        blob = await add_blob(meta, text="12345")
        await meta.mark_blob(blob, suspect=True)
        assert await usage(meta) == (0, 0, 0)
        await add_blob(meta, text="12345", location="elsewhere")
        assert await usage(meta) == (0, 0, 5)
