"""What a ``RegistryMeta`` promises of its lists: order, pages, and what is on them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import pytest

from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.core.records import ManifestRecord
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.media_types import DOCKER_MANIFEST, OCI_IMAGE_MANIFEST
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.behaviour import behaviour
from ferro_oci_server.testing.registry_meta.samples import NAME, OTHER, add_blob, digest_of, manifest, new_session, tags

__all__ = ["ReferrerTests", "RepositoryListTests", "TagListTests"]


async def _walk(page: Callable[[str], Awaitable[list[str]]]) -> list[str]:
    """All entries, page by page."""
    found: list[str] = []
    while entries := await page(found[-1] if found else ""):
        found.extend(entries)
    return found


class TagListTests:
    """Tags of one repository."""

    @behaviour
    async def test_tags_sort_by_their_bytes(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("a", "_", "A", "Z", "0", "a.b", "a-b", "aa", "9", "a_b"))
        expected = ["0", "9", "A", "Z", "_", "a", "a-b", "a.b", "a_b", "aa"]
        assert await meta.list_tags(NAME, "", 100) == expected

    @behaviour
    async def test_listed_tags_are_tags(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        assert [type(tag) for tag in await meta.list_tags(NAME, "", 1) or ()] == [Tag]

    @behaviour
    async def test_pages_show_every_tag_once(self, meta: RegistryMeta) -> None:
        names = tags(*(f"v{number}" for number in range(25)))
        await meta.put_manifest(NAME, manifest(), names)

        async def page(after: str) -> list[str]:
            return [*(await meta.list_tags(NAME, after, 4) or ())]

        assert await _walk(page) == sorted(names)

    @behaviour
    async def test_a_page_begins_behind_a_tag_that_is_not_there(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("a", "c"))
        assert await meta.list_tags(NAME, "b", 10) == ["c"]

    @pytest.mark.parametrize(
        ("after", "expected"),
        [
            ("a\0", ["ab", "b"]),
            ("a\xe9", ["b"]),
            ("\U0001f600", []),
            ("a\ud800", ["b"]),
            ("a b", ["ab", "b"]),
            ("a'--", ["ab", "b"]),
            ("%", ["a", "ab", "b"]),
        ],
        ids=ascii,
    )
    @behaviour
    async def test_a_page_may_begin_behind_any_text(self, meta: RegistryMeta, after: str, expected: list[str]) -> None:
        await meta.put_manifest(NAME, manifest(), tags("a", "ab", "b"))
        assert await meta.list_tags(NAME, after, 10) == expected
        assert await meta.list_repositories(after, 10) == [name for name in [NAME] if name > after]

    @behaviour
    async def test_the_page_behind_the_last_tag_is_empty(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("a"))
        assert await meta.list_tags(NAME, "a", 10) == []

    @behaviour
    async def test_a_page_of_none_tells_whether_the_repository_exists(self, meta: RegistryMeta) -> None:
        assert await meta.list_tags(NAME, "", 0) is None
        await meta.put_manifest(NAME, manifest(), tags("a"))
        assert await meta.list_tags(NAME, "", 0) == []

    @behaviour
    async def test_an_unknown_repository_has_no_list(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(OTHER, manifest(), tags("a"))
        assert await meta.list_tags(NAME, "", 10) is None

    @behaviour
    async def test_a_repository_without_tags_has_an_empty_list(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest())
        assert await meta.list_tags(NAME, "", 10) == []

    @behaviour
    async def test_a_moved_or_deleted_tag_is_listed_accordingly(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest("1"), tags("a", "b"))
        await meta.put_manifest(NAME, manifest("2"), tags("b", "c"))
        await meta.delete_tag(NAME, Tag("a"))
        assert await meta.list_tags(NAME, "", 10) == ["b", "c"]


class RepositoryListTests:
    """Which repositories there are."""

    @behaviour
    async def test_repositories_sort_by_their_bytes(self, meta: RegistryMeta) -> None:
        names = [RepositoryName(name) for name in ("a/b", "a", "a-b", "a.b", "a0", "a_b", "b", "0")]
        for name in names:
            await meta.put_manifest(name, manifest())
        assert await meta.list_repositories("", 100) == ["0", "a", "a-b", "a.b", "a/b", "a0", "a_b", "b"]

    @behaviour
    async def test_pages_show_every_repository_once(self, meta: RegistryMeta) -> None:
        names = [RepositoryName(f"r/{number}") for number in range(11)]
        for name in names:
            await meta.put_manifest(name, manifest())

        async def page(after: str) -> list[str]:
            return [*(await meta.list_repositories(after, 3))]

        assert await _walk(page) == sorted(names)

    @behaviour
    async def test_listed_repositories_are_names(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest())
        assert [type(name) for name in await meta.list_repositories("", 10)] == [RepositoryName]
        assert await meta.list_repositories("", 0) == []

    @behaviour
    async def test_a_repository_comes_into_being_with_its_first_manifest(self, meta: RegistryMeta) -> None:
        assert await meta.list_tags(NAME, "", 1) is None
        await meta.put_manifest(NAME, manifest())
        assert await meta.list_tags(NAME, "", 1) is not None

    @behaviour
    async def test_a_repository_comes_into_being_with_its_first_blob(self, meta: RegistryMeta) -> None:
        await add_blob(meta)
        assert await meta.list_tags(NAME, "", 1) is not None
        assert await meta.list_tags(NAME, "", 10) == []

    @behaviour
    async def test_a_repository_comes_into_being_with_a_mounted_blob(self, meta: RegistryMeta) -> None:
        blob = await add_blob(meta, OTHER)
        await meta.mount_blob(NAME, blob.digest, OTHER)
        assert await meta.list_repositories("", 10) == [NAME, OTHER]

    @behaviour
    async def test_nothing_else_brings_a_repository_into_being(self, meta: RegistryMeta) -> None:
        session = new_session()
        await meta.create_upload(session)
        await meta.advance_upload(session, replace(session, offset=10))
        await meta.mount_blob(NAME, digest_of("x"), None)
        await meta.mount_blob(NAME, digest_of("x"), OTHER)
        await meta.unlink_blob(NAME, digest_of("x"))
        await meta.delete_tag(NAME, Tag("latest"))
        await meta.delete_manifest(NAME, digest_of("x"))
        await meta.list_tags(NAME, "", 10)
        await meta.delete_upload(NAME, session.id)
        assert await meta.list_repositories("", 10) == []

    @behaviour
    async def test_a_repository_that_was_emptied_stays(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(), tags("latest"))
        await meta.delete_manifest(NAME, manifest().digest)
        assert await meta.list_tags(NAME, "", 10) == []


SUBJECT = digest_of("subject")


def _signature(number: int = 0, artifact_type: str | None = "application/x-signature") -> ManifestRecord:
    return manifest(f"signature {number}", subject=SUBJECT, artifact_type=artifact_type)


class ReferrerTests:
    """What refers to a subject."""

    @behaviour
    async def test_a_referrer_is_listed_with_all_that_describes_it(self, meta: RegistryMeta) -> None:
        record = manifest(subject=SUBJECT, artifact_type="application/x-sbom", annotations={"org.example.key": "value"})
        await meta.put_manifest(NAME, record)
        assert await meta.list_referrers(NAME, SUBJECT, None, "", 10) == [record.descriptor()]

    @behaviour
    async def test_a_referrer_may_have_no_type_and_no_annotations(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(subject=SUBJECT))
        (found,) = await meta.list_referrers(NAME, SUBJECT, None, "", 10)
        assert (found.artifact_type, found.annotations) == (None, None)

    @pytest.mark.parametrize(
        "annotations",
        [
            {},
            {"": ""},
            {"nul": "\0"},
            {"half a pair": "\ud800 \udfff"},
            {"\U0001f600": "\U0001f433\u202e"},
            {'"\\': "\r\n"},
        ],
        ids=ascii,
    )
    @behaviour
    async def test_annotations_may_hold_any_text(self, meta: RegistryMeta, annotations: Mapping[str, str]) -> None:
        await meta.put_manifest(NAME, manifest(subject=SUBJECT, annotations=annotations))
        (found,) = await meta.list_referrers(NAME, SUBJECT, None, "", 10)
        assert found.annotations == annotations

    @behaviour
    async def test_referrers_sort_by_digest_and_pages_show_each_once(self, meta: RegistryMeta) -> None:
        records = [_signature(number) for number in range(11)]
        for record in records:
            await meta.put_manifest(NAME, record)

        async def page(after: str) -> list[str]:
            return [found.digest for found in await meta.list_referrers(NAME, SUBJECT, None, after, 3)]

        assert await _walk(page) == sorted(record.digest for record in records)

    @behaviour
    async def test_sha512_referrers_follow_those_with_sha256(self, meta: RegistryMeta) -> None:
        content = b"signature"
        long = ManifestRecord(Digest.of(content, Algorithm.SHA512), OCI_IMAGE_MANIFEST, content, subject=SUBJECT)
        await meta.put_manifest(NAME, long)
        await meta.put_manifest(NAME, _signature())
        found = await meta.list_referrers(NAME, SUBJECT, None, "", 10)
        assert [referrer.digest for referrer in found] == [_signature().digest, long.digest]

    @behaviour
    async def test_a_type_shows_only_referrers_of_that_type(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, _signature(0, "application/x-signature"))
        await meta.put_manifest(NAME, _signature(1, "application/x-sbom"))
        await meta.put_manifest(NAME, _signature(2, None))
        found = await meta.list_referrers(NAME, SUBJECT, "application/x-sbom", "", 10)
        assert found == [_signature(1, "application/x-sbom").descriptor()]

    @behaviour
    async def test_pages_of_a_type_show_each_once(self, meta: RegistryMeta) -> None:
        records = [_signature(number, f"application/x-{number % 2}") for number in range(14)]
        for record in records:
            await meta.put_manifest(NAME, record)

        async def page(after: str) -> list[str]:
            found = await meta.list_referrers(NAME, SUBJECT, "application/x-1", after, 2)
            return [referrer.digest for referrer in found]

        assert await _walk(page) == sorted(record.digest for record in records[1::2])

    @pytest.mark.parametrize("artifact_type", ["", "x", "\0", "\xe9", "\ud800"], ids=ascii)
    @behaviour
    async def test_a_type_that_nothing_has_shows_nothing(self, meta: RegistryMeta, artifact_type: str) -> None:
        await meta.put_manifest(NAME, _signature())
        assert await meta.list_referrers(NAME, SUBJECT, artifact_type, "", 10) == []

    @behaviour
    async def test_only_referrers_of_that_subject_are_listed(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, _signature())
        await meta.put_manifest(NAME, manifest("other", subject=digest_of("other subject")))
        await meta.put_manifest(NAME, manifest("no subject"))
        assert await meta.list_referrers(NAME, SUBJECT, None, "", 10) == [_signature().descriptor()]

    @behaviour
    async def test_referrers_of_another_repository_are_not_listed(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(OTHER, _signature())
        assert await meta.list_referrers(NAME, SUBJECT, None, "", 10) == []
        await meta.put_manifest(NAME, manifest())
        assert await meta.list_referrers(NAME, SUBJECT, None, "", 10) == []

    @behaviour
    async def test_a_deleted_referrer_is_not_listed(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, _signature(0))
        await meta.put_manifest(NAME, _signature(1))
        await meta.delete_manifest(NAME, _signature(0).digest)
        assert await meta.list_referrers(NAME, SUBJECT, None, "", 10) == [_signature(1).descriptor()]
        assert await meta.list_referrers(NAME, SUBJECT, _signature().artifact_type, "", 10) == [
            _signature(1).descriptor()
        ]

    @behaviour
    async def test_a_deleted_referrer_that_is_put_again_is_listed_again(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, _signature())
        await meta.delete_manifest(NAME, _signature().digest)
        await meta.put_manifest(NAME, _signature())
        assert await meta.list_referrers(NAME, SUBJECT, None, "", 10) == [_signature().descriptor()]

    @behaviour
    async def test_a_referrer_put_twice_is_listed_once_with_its_last_media_type(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest(subject=SUBJECT))
        await meta.put_manifest(NAME, manifest(media_type=DOCKER_MANIFEST, subject=SUBJECT))
        found = await meta.list_referrers(NAME, SUBJECT, None, "", 10)
        assert [referrer.media_type for referrer in found] == [DOCKER_MANIFEST]

    @behaviour
    async def test_referrers_stay_when_their_subject_goes(self, meta: RegistryMeta) -> None:
        subject = manifest("the subject")
        referrer = manifest("referrer", subject=subject.digest)
        await meta.put_manifest(NAME, subject)
        await meta.put_manifest(NAME, referrer)
        await meta.delete_manifest(NAME, subject.digest)
        assert await meta.list_referrers(NAME, subject.digest, None, "", 10) == [referrer.descriptor()]
