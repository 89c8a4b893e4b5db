"""What a ``RegistryMeta`` promises of guards, of owners, and, where it is a ``Credentials``, of credentials."""

import asyncio
from dataclasses import replace
from typing import Protocol

import pytest

from ferro_oci_server.core.access import TagGuard
from ferro_oci_server.core.credentials import Credential, CredentialKind, Credentials
from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.oci.errors import Denied
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.behaviour import behaviour
from ferro_oci_server.testing.registry_meta.samples import NAME, OTHER, manifest, new_session, tags

__all__ = ["CredentialKeepingMeta", "CredentialSuite", "GuardTests", "OwnerTests"]

FIXED = TagGuard(fixed=frozenset(tags("latest", "v1")))
EXISTING = TagGuard(existing=frozenset(tags("latest", "v1")))


class CredentialKeepingMeta(RegistryMeta, Credentials, Protocol):
    """A store that keeps credentials."""


class GuardTests:
    """Which tags may be made, and which may be moved."""

    @behaviour
    async def test_a_fixed_tag_is_made_once(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest("old"), tags("latest"), guard=FIXED)
        with pytest.raises(Denied):
            await meta.put_manifest(NAME, manifest("new"), tags("latest"), guard=FIXED)
        assert await digest_at(meta, "latest") == manifest("old").digest
        assert await meta.stat_manifest(NAME, manifest("new").digest) is None

    @behaviour
    async def test_a_fixed_tag_may_be_pushed_again_as_it_is(self, meta: RegistryMeta) -> None:
        for _ in range(2):
            await meta.put_manifest(NAME, manifest(), tags("latest"), guard=FIXED)

    @behaviour
    async def test_a_tag_that_is_not_there_may_not_be_made_where_only_existing_may_be_moved(
        self, meta: RegistryMeta
    ) -> None:
        with pytest.raises(Denied):
            await meta.put_manifest(NAME, manifest(), tags("latest"), guard=EXISTING)
        assert await meta.list_tags(NAME, "", 1) is None
        await meta.put_manifest(NAME, manifest("old"), tags("latest"))
        await meta.put_manifest(NAME, manifest("new"), tags("latest"), guard=EXISTING)
        assert await digest_at(meta, "latest") == manifest("new").digest

    @behaviour
    async def test_one_tag_that_is_refused_refuses_all(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(NAME, manifest("old"), tags("v1"))
        with pytest.raises(Denied):
            await meta.put_manifest(NAME, manifest("new"), tags("latest", "v1"), guard=FIXED)
        assert await meta.list_tags(NAME, "", 10) == ["v1"]
        assert await digest_at(meta, "v1") == manifest("old").digest

    @behaviour
    async def test_a_guard_asks_of_this_repository(self, meta: RegistryMeta) -> None:
        await meta.put_manifest(OTHER, manifest("old"), tags("latest"))
        await meta.put_manifest(NAME, manifest("new"), tags("latest"), guard=FIXED)

    @behaviour
    async def test_of_many_that_make_a_fixed_tag_one_does(self, meta: RegistryMeta) -> None:
        results = await asyncio.gather(
            *(meta.put_manifest(NAME, manifest(f"{number}"), tags("latest"), guard=FIXED) for number in range(20)),
            return_exceptions=True,
        )
        assert sorted(str(type(result)) for result in results) == sorted([str(type(None)), *[str(Denied)] * 19])


class OwnerTests:
    """Whose the uploads are."""

    @behaviour
    async def test_a_session_keeps_its_owner(self, meta: RegistryMeta) -> None:
        session = replace(new_session(), owner="alice")
        await meta.create_upload(session)
        assert await meta.get_upload(NAME, session.id) == session
        advanced = replace(session, offset=5)
        assert await meta.advance_upload(session, advanced) is True
        assert await meta.get_upload(NAME, session.id) == advanced

    @behaviour
    async def test_the_sessions_of_one_owner_are_counted(self, meta: RegistryMeta) -> None:
        for owner in ("alice", "alice", "bob", ""):
            await meta.create_upload(replace(new_session(), owner=owner))
        assert [await meta.count_uploads(owner) for owner in ("alice", "bob", "carol", None)] == [2, 1, 0, 4]


class CredentialSuite:
    """Credentials. A subclass gives a fixture ``open_store`` of a store that is a ``Credentials`` too."""

    @behaviour
    async def test_a_credential_is_as_it_was_added(self, meta: CredentialKeepingMeta) -> None:
        credential = Credential(CredentialKind.API_KEY, "0a1b", b"\x00\xff{}", 1_800_000_000.25)
        assert await meta.add_credential(credential) is True
        assert await meta.get_credential(CredentialKind.API_KEY, "0a1b") == credential
        assert await meta.get_credential(CredentialKind.REFRESH_TOKEN, "0a1b") is None
        assert await meta.get_credential(CredentialKind.API_KEY, "0a") is None

    @behaviour
    async def test_a_credential_is_added_once(self, meta: CredentialKeepingMeta) -> None:
        first = Credential(CredentialKind.SIGNING_KEY, "k", b"first")
        assert await meta.add_credential(first) is True
        assert await meta.add_credential(replace(first, value=b"second")) is False
        assert await meta.get_credential(CredentialKind.SIGNING_KEY, "k") == first

    @behaviour
    async def test_the_credentials_of_a_kind_are_listed_in_order(self, meta: CredentialKeepingMeta) -> None:
        for key in ("b", "c", "a", "d"):
            await meta.add_credential(Credential(CredentialKind.API_KEY, key, b""))
        await meta.add_credential(Credential(CredentialKind.SIGNING_KEY, "bb", b""))
        found = await meta.list_credentials(CredentialKind.API_KEY, "a", 2)
        assert [credential.key for credential in found] == ["b", "c"]

    @behaviour
    async def test_a_deleted_credential_is_gone(self, meta: CredentialKeepingMeta) -> None:
        await meta.add_credential(Credential(CredentialKind.API_KEY, "a", b""))
        assert await meta.delete_credential(CredentialKind.API_KEY, "a") is True
        assert await meta.delete_credential(CredentialKind.API_KEY, "a") is False
        assert await meta.get_credential(CredentialKind.API_KEY, "a") is None

    @behaviour
    async def test_what_expired_long_ago_is_forgotten(self, meta: CredentialKeepingMeta) -> None:
        for key, expires_at in (("old", 1000.0), ("new", 3000.0), ("always", None)):
            await meta.add_credential(Credential(CredentialKind.REFRESH_TOKEN, key, b"", expires_at))
        await meta.expire_credentials(2000.0)
        found = await meta.list_credentials(CredentialKind.REFRESH_TOKEN, "", 10)
        assert [credential.key for credential in found] == ["always", "new"]


async def digest_at(meta: RegistryMeta, tag: str) -> str | None:
    """What a tag points at."""
    found = await meta.stat_manifest(NAME, Tag(tag))
    return None if found is None else found.digest
