"""Keys of robots."""

import time

import pytest

from ferro_oci_server.auth import api_keys
from ferro_oci_server.auth.api_keys import ApiKeys
from ferro_oci_server.auth.credentials import BasicCredentials, BearerToken, Credentials
from ferro_oci_server.auth.errors import BadCredentials
from ferro_oci_server.auth.principals import Principal
from ferro_oci_server.backends.meta.memory_credentials import InMemoryCredentials
from ferro_oci_server.core.credentials import CredentialKind

pytestmark = pytest.mark.anyio


@pytest.fixture
def keys() -> ApiKeys:
    return ApiKeys(InMemoryCredentials())


@pytest.mark.parametrize("shown", [BearerToken, lambda secret: BasicCredentials("anybody", secret)])
async def test_a_key_says_which_robot_it_is(keys: ApiKeys, shown: type[BearerToken]) -> None:
    credentials: Credentials = shown(await keys.create("ci"))
    assert str(await keys.authenticate(credentials)) == "key:ci"


async def test_what_is_no_key_is_for_others_and_what_is_like_one_is_refused(keys: ApiKeys) -> None:
    secret = await keys.create("ci")
    assert await keys.authenticate(BasicCredentials("ci", "password")) is None
    for wrong in ("ferro_", secret[:-1], secret + "x", secret.upper().replace("FERRO_", "ferro_"), "ferro_ä"):
        with pytest.raises(BadCredentials):
            await keys.authenticate(BasicCredentials("ci", wrong))


async def test_a_key_expires(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = await keys.create("ci", 60)
    assert await keys.authenticate(BearerToken(secret)) is not None
    now = time.time
    monkeypatch.setattr(api_keys, "time", lambda: now() + 61)
    with pytest.raises(BadCredentials):
        await keys.authenticate(BearerToken(secret))


async def test_one_of_two_keys_of_a_name_is_revoked_by_its_id_and_both_by_the_name(keys: ApiKeys) -> None:
    old, new = await keys.create("ci"), await keys.create("ci")
    other = await keys.create("other")
    ids = {
        secret: key.id for key in await keys.all() for secret in (old, new) if api_keys._digest(secret)[:12] == key.id
    }
    assert [key.id for key in await keys.revoke(ids[old])] == [ids[old]]
    with pytest.raises(BadCredentials):
        await keys.authenticate(BearerToken(old))
    assert await keys.authenticate(BearerToken(new)) is not None
    assert len(await keys.revoke("ci")) == 1
    with pytest.raises(BadCredentials):
        await keys.authenticate(BearerToken(new))
    assert await keys.authenticate(BearerToken(other)) is not None
    assert await keys.revoke("ci") == []


async def test_no_secret_is_kept() -> None:
    store = InMemoryCredentials()
    secret = await ApiKeys(store).create("ci")
    (kept,) = await store.list_credentials(CredentialKind.API_KEY, "", 10)
    assert secret.removeprefix("ferro_") not in f"{kept}"


async def test_many_keys_are_all_listed(keys: ApiKeys) -> None:
    for number in range(250):
        await keys.create(f"robot-{number}")
    assert {key.name for key in await keys.all()} == {f"robot-{number}" for number in range(250)}


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", "x" * 65, "ä", "a\n"])
async def test_a_name_that_is_none_is_refused(keys: ApiKeys, name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        await keys.create(name)


async def test_a_stamp_changes_with_the_keys_of_a_name(keys: ApiKeys) -> None:
    principal = Principal("key", "ci")
    assert await keys.stamp(principal) is None
    await keys.create("ci")
    first = await keys.stamp(principal)
    await keys.create("other")
    assert await keys.stamp(principal) == first
    await keys.create("ci")
    assert await keys.stamp(principal) not in (None, first)
    assert await keys.stamp(Principal("user", "ci")) is None
