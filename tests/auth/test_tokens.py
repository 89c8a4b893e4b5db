"""The token service: who gets which token, what it is good for, and forged ones, which are good for nothing."""

import asyncio
import base64
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.pushing import Pushing, codes
from ferro_oci_server.auth import tokens as module
from ferro_oci_server.auth.credentials import BearerToken
from ferro_oci_server.auth.errors import BadCredentials
from ferro_oci_server.auth.policy_file import parse
from ferro_oci_server.auth.principals import Principal
from ferro_oci_server.core.credentials import CredentialKind
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.client import AsgiClient, Reply

from .conftest import Filled
from .tokens import RSA, jwk, token
from .world import PASSWORD, POLICY, SERVICE, STAMPS, Guarded, basic, bearer, gate, token_service, whole

pytestmark = pytest.mark.anyio

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def claims_of(text: str) -> dict[str, Any]:
    part = text.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


async def ask(guarded: Guarded, user: str | None, *scopes: str, **more: str) -> Any:
    query = urlencode([("service", SERVICE), *(("scope", scope) for scope in scopes), *more.items()])
    reply = await guarded.request("GET", f"/token?{query}", user)
    assert reply.status == 200, reply
    return json.loads(reply.body)


async def post(guarded: Guarded, **fields: str) -> Reply:
    body = urlencode({"service": SERVICE, **fields}).encode()
    return await guarded.request("POST", "/token", headers=FORM, body=body)


@pytest.mark.parametrize(
    ("user", "scopes", "access"),
    [
        ("reader", ["repository:private/app:pull"], {"private/app": ["pull"]}),
        ("reader", ["repository:private/app:pull,push,delete"], {"private/app": ["pull"]}),
        ("reader", ["repository:private/app:*"], {"private/app": ["pull"]}),
        ("admin", ["repository:a/b:*"], {"a/b": ["delete", "pull", "push"]}),
        ("admin", ["repository:a:pull", "repository:b:push"], {"a": ["pull"], "b": ["push"]}),
        ("admin", ["repository:a:pull repository:b:push"], {"a": ["pull"], "b": ["push"]}),
        ("admin", ["repository:a:pull", "repository:a:push"], {"a": ["pull", "push"]}),
        ("reader", ["repository:other:pull", "repository:private/app:pull"], {"private/app": ["pull"]}),
        (None, ["repository:private/app:pull"], {}),
        (None, ["repository:public/app:pull,push"], {"public/app": ["pull"]}),
        ("admin", ["repository:a:fly,pull"], {"a": ["pull"]}),
        ("admin", ["repository:A/../b:pull"], {}),
        ("admin", ["repository:*:pull"], {}),
        ("admin", ["repository(plugin):a:pull"], {}),
        ("admin", ["registry:catalog:*"], {"catalog": ["*"]}),
        ("admin", ["registry:other:*", "registry:catalog:pull"], {}),
        ("admin", ["", ":", "::", "a", "a:b", "repository::pull", "repository:a:"], {}),
        ("admin", [], {}),
    ],
)
async def test_a_token_is_good_for_what_was_asked_for_and_is_allowed(
    guarded: Guarded, user: str | None, scopes: list[str], access: dict[str, list[str]]
) -> None:
    given = await ask(guarded, user, *scopes)
    claims = claims_of(given["token"])
    assert {entry["name"]: entry["actions"] for entry in claims["access"]} == access
    assert given["access_token"] == given["token"]
    assert given["expires_in"] <= 300
    assert claims["exp"] - claims["iat"] == given["expires_in"]
    assert (claims["iss"], claims["aud"]) == (SERVICE, SERVICE)
    assert "refresh_token" not in given


async def test_two_tokens_are_never_the_same(guarded: Guarded) -> None:
    assert (await ask(guarded, "admin"))["token"] != (await ask(guarded, "admin"))["token"]


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        (f"service={SERVICE}", basic("admin", "wrong"), 401),
        (f"service={SERVICE}", basic("nobody"), 401),
        (f"service={SERVICE}", {"Authorization": "Basic !!!"}, 401),
        (f"service={SERVICE}", {"Authorization": "Bearer abc"}, 401),
        ("service=other", basic("admin"), 400),
        (f"service={SERVICE}&service=other", basic("admin"), 400),
        ("&".join(["scope=repository:a:pull"] * 101), basic("admin"), 400),
        ("", basic("admin"), 200),
        ("account=admin&client_id=docker&scope=repository:a:pull", basic("admin"), 200),
    ],
)
async def test_a_token_request_is_answered(
    guarded: Guarded, query: str, headers: Mapping[str, str], status: int
) -> None:
    reply = await guarded.request("GET", f"/token?{query}", headers)
    assert reply.status == status
    if status != 200:
        assert codes(reply) == ["UNAUTHORIZED" if status == 401 else "UNSUPPORTED"]
    else:
        assert reply.header("cache-control") == "no-store"
    assert (reply.header("www-authenticate") is not None) == (status == 401)


async def test_oauth_gives_the_same_tokens(guarded: Guarded) -> None:
    scope = "repository:private/app:pull,push repository:other:pull"
    reply = await post(guarded, grant_type="password", username="reader", password=PASSWORD, scope=scope)
    given = json.loads(reply.body)
    assert claims_of(given["access_token"])["access"] == [
        {"type": "repository", "name": "private/app", "actions": ["pull"]}
    ]
    assert given["scope"] == "repository:private/app:pull"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"grant_type": "password", "username": "reader", "password": "wrong"}, 401),
        ({"grant_type": "password", "username": "reader"}, 401),
        ({"grant_type": "password"}, 401),
        ({"grant_type": "password", "username": "nobody", "password": ""}, 401),
        ({"grant_type": "password", "username": "reader", "password": f"{PASSWORD}\0"}, 401),
        ({"grant_type": "refresh_token"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "x" * 43}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "ä\0"}, 401),
        ({"grant_type": "authorization_code", "code": "x"}, 400),
        ({}, 400),
        ({"grant_type": "password", "service": "other"}, 400),
        ({"grant_type": "password", "pad": "x" * 70_000}, 400),
        ({"grant_type": "password", **{f"f{number}": "x" for number in range(60)}}, 400),
    ],
)
async def test_a_wrong_form_is_refused(guarded: Guarded, fields: dict[str, str], status: int) -> None:
    assert (await post(guarded, **fields)).status == status


async def test_no_token_is_given_that_would_not_be_taken(guarded: Guarded) -> None:
    for count, status in ((5, 200), (60, 400)):
        scope = " ".join(f"repository:{'a' * 150}{number}:pull" for number in range(count))
        reply = await post(guarded, grant_type="password", username="admin", password=PASSWORD, scope=scope)
        assert reply.status == status


@pytest.mark.parametrize("body", [b"grant_type=password&grant_type=password", b"\xff=1", b"a=%ff"])
async def test_a_form_with_two_readings_is_refused(guarded: Guarded, body: bytes) -> None:
    assert (await guarded.request("POST", "/token", headers=FORM, body=body)).status == 400
    assert (await guarded.request("POST", "/token", body=b"grant_type=password")).status == 400


async def test_who_stays_logged_in_needs_no_password_again(guarded: Guarded) -> None:
    given = await ask(guarded, "reader", offline_token="true")
    reply = await post(
        guarded, grant_type="refresh_token", refresh_token=given["refresh_token"], scope="repository:private/app:pull"
    )
    shown = {"Authorization": f"Bearer {json.loads(reply.body)['access_token']}"}
    assert "refresh_token" not in json.loads(reply.body)
    assert (await guarded.request("GET", "/v2/private/app/manifests/v1", shown)).status == 200
    with_password = await post(
        guarded, grant_type="password", username="reader", password=PASSWORD, access_type="offline"
    )
    assert json.loads(with_password.body)["refresh_token"] != given["refresh_token"]


async def test_a_refresh_token_is_kept_as_a_digest_alone(guarded: Guarded, filled: Filled) -> None:
    given = await ask(guarded, "reader", offline_token="true")
    assert filled.state.credentials is not None
    (kept,) = await filled.state.credentials.list_credentials(CredentialKind.REFRESH_TOKEN, "", 10)
    assert given["refresh_token"] not in f"{kept.key}{kept.value!r}"


async def test_nobody_stays_logged_in_who_is_nobody(guarded: Guarded) -> None:
    assert "refresh_token" not in await ask(guarded, None, offline_token="true")


@pytest.mark.parametrize("stamp", ["2", None])
async def test_a_changed_password_ends_what_was_given_for_the_old_one(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, stamp: str | None
) -> None:
    given = await ask(guarded, "reader", offline_token="true")
    if stamp is None:
        monkeypatch.delitem(STAMPS, "reader")
    else:
        monkeypatch.setitem(STAMPS, "reader", stamp)
    fields = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    assert (await post(guarded, **fields)).status == 401
    monkeypatch.undo()
    assert (await post(guarded, **fields)).status == 401


async def test_a_refresh_token_expires(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    given = await ask(guarded, "reader", offline_token="true")
    now = time.time
    monkeypatch.setattr(module, "time", lambda: now() + 31 * 24 * 3600)
    assert (await post(guarded, grant_type="refresh_token", refresh_token=given["refresh_token"])).status == 401


async def test_a_token_lasts_as_long_as_it_is_told_to_and_a_minute_for_clocks_that_differ(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert filled.state.credentials is not None
    service = module.TokenService(SERVICE, filled.state.credentials, parse(POLICY.encode()).policy, [], 7)
    given = await service.give(Principal("user", "admin"), [])
    claims = claims_of(given.token)
    assert (given.seconds, claims["exp"] - claims["iat"]) == (7, 7)
    now = time.time
    monkeypatch.setattr("ferro_oci_server.auth.jose.time", lambda: now() + 60)
    assert await service.authenticate(BearerToken(given.token)) is not None
    monkeypatch.setattr("ferro_oci_server.auth.jose.time", lambda: now() + 68)
    assert service.recall(given.token.encode()) is None
    with pytest.raises(BadCredentials, match="expired"):
        await service.authenticate(BearerToken(given.token))


async def test_what_is_no_longer_allowed_is_not_allowed_by_a_token(filled: Filled) -> None:
    shown = await bearer(AsgiClient(whole(filled.state)), "reader", "repository:private/app:pull")
    before = Guarded(AsgiClient(gate(filled.state)))
    assert (await before.request("GET", "/v2/private/app/tags/list", shown)).status == 200
    stricter = parse(POLICY.replace('"user:reader", ', "").encode()).policy
    after = Guarded(AsgiClient(gate(filled.state, policy=stricter)))
    assert (await after.request("GET", "/v2/private/app/tags/list", shown)).status == 404


@pytest.mark.parametrize(
    ("user", "source", "status"),
    [("admin", "&from=other/app", 201), ("admin", "", 201), ("pusher", "&from=other/app", 202), ("pusher", "", 202)],
)
async def test_a_token_for_pushing_mounts_from_what_its_owner_may_pull(
    guarded: Guarded, filled: Filled, user: str, source: str, status: int
) -> None:
    await Pushing(filled.open, "other/app").blob(b"elsewhere")
    shown = await bearer(guarded.client, user, "repository:private/new:pull,push")
    target = f"/v2/private/new/blobs/uploads/?mount={Digest.of(b'elsewhere')}{source}"
    assert (await guarded.request("POST", target, shown)).status == status


async def test_tokens_of_one_process_are_good_at_another_and_after_it_ended(filled: Filled) -> None:
    one, other = token_service(filled.state), token_service(filled.state)
    given = await one.give(Principal("user", "admin", {"x": 1}), [("repository", "a", frozenset({"pull"}))])
    principal = await other.authenticate(BearerToken(given.token))
    assert principal is not None
    assert (str(principal), principal.claims) == ("user:admin", {"x": 1})
    assert principal.scopes == {"a": frozenset({"pull"})}


async def test_keys_are_rotated_and_old_ones_are_known_for_as_long_as_their_tokens(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = token_service(filled.state)
    first = (await service.give(Principal("user", "a"), [])).token
    now, day = time.time, 24 * 3600.0
    monkeypatch.setattr("ferro_oci_server.auth.signing.time", lambda: now() + day + 1)
    second = (await service.give(Principal("user", "a"), [])).token
    assert first.split(".")[0] != second.split(".")[0]
    assert await token_service(filled.state).authenticate(BearerToken(first)) is not None
    monkeypatch.setattr("ferro_oci_server.auth.signing.time", lambda: now() + day + 3600 + 301)
    assert await token_service(filled.state).authenticate(BearerToken(first)) is None
    await asyncio.gather(*(service.give(Principal("user", "a"), []) for _ in range(3)))


async def test_no_private_key_is_kept(filled: Filled) -> None:
    await token_service(filled.state).give(Principal("user", "a"), [])
    assert filled.state.credentials is not None
    (kept,) = await filled.state.credentials.list_credentials(CredentialKind.SIGNING_KEY, "", 10)
    assert set(json.loads(kept.value)) == {"crv", "kty", "x", "alg", "use"}


async def forged(state: AppState, changed: Mapping[str, Any], header: Mapping[str, Any]) -> str:
    """A token that is signed with a real key of the service, which leaks in no other way than this."""
    service = token_service(state)
    given = await service.give(Principal("user", "admin"), [("repository", "private/app", frozenset({"pull"}))])
    key = service._keys._key
    assert isinstance(key, Ed25519PrivateKey)
    now = int(time.time())
    told = {key: value(now) if callable(value) else value for key, value in changed.items()}
    claims = {key: value for key, value in {**claims_of(given.token), **told}.items() if value is not None}
    return token(claims, key, "EdDSA", service._keys._id, header)


@pytest.mark.parametrize(
    ("changed", "header"),
    [
        ({"exp": lambda now: now - 120}, {}),
        ({"exp": None}, {}),
        ({"nbf": lambda now: now + 120}, {}),
        ({"iat": lambda now: now + 120}, {}),
        ({"aud": "other"}, {}),
        ({"aud": None}, {}),
        ({"iss": "other"}, {}),
        ({}, {"alg": "none"}),
        ({}, {"alg": "HS256"}),
        ({}, {"alg": "RS256"}),
        ({}, {"jwk": jwk(RSA, "x")}),
        ({}, {"jku": "http://127.0.0.1/"}),
        ({}, {"crit": ["exp"]}),
        ({}, {"kid": "x" * 43}),
        ({}, {"kid": "../key"}),
    ],
)
async def test_a_forged_token_is_worth_nothing(
    guarded: Guarded, filled: Filled, changed: Mapping[str, Any], header: Mapping[str, Any]
) -> None:
    good = await forged(filled.state, {}, {})
    bad = await forged(filled.state, changed, header)
    for text, status in ((good, 200), (bad, 401)):
        reply = await guarded.request("GET", "/v2/private/app/manifests/v1", {"Authorization": f"Bearer {text}"})
        assert reply.status == status


async def test_another_key_of_the_same_name_is_worth_nothing(filled: Filled) -> None:
    service = token_service(filled.state)
    given = await service.give(Principal("user", "admin"), [])
    other = token(claims_of(given.token), Ed25519PrivateKey.generate(), "EdDSA", service._keys._id)
    with pytest.raises(BadCredentials):
        await service.authenticate(BearerToken(other))
    head, body, signature = given.token.split(".")
    with pytest.raises(BadCredentials):
        await service.authenticate(BearerToken(f"{head}.{body}.{signature[:-4]}AAAA"))
