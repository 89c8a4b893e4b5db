"""Tokens of others: which are taken, which are not, and what an issuer's server can do to us."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ferro_oci_server.auth import issuers as module
from ferro_oci_server.auth.credentials import BasicCredentials, BearerToken
from ferro_oci_server.auth.errors import AuthenticatorUnavailable, BadCredentials
from ferro_oci_server.auth.issuers import Issuers
from ferro_oci_server.auth.policy_file import IssuerSettings
from ferro_oci_server.auth.principals import Principal

from .issuer import KEYS, KeyServer, key_server
from .tokens import EC, ED, RSA, encode, jwk, token

pytestmark = pytest.mark.anyio

ISSUER, AUDIENCE = "https://ci.example", "registry.example"


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    fields = {"iss": ISSUER, "aud": AUDIENCE, "sub": "repo:org/app", "iat": now, "nbf": now, "exp": now + 300}
    # A time is told from now, which is when the test runs and not when it is collected.
    told = {key: value(now) if callable(value) else value for key, value in more.items()}
    return {key: value for key, value in {**fields, **told}.items() if value is not None}


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server() as server:
        yield server


@pytest.fixture
def issuers(server: KeyServer) -> Issuers:
    return Issuers([settings(server)])


def settings(server: KeyServer, **more: Any) -> IssuerSettings:
    return IssuerSettings(**{"kind": "ci", "issuer": ISSUER, "audience": AUDIENCE, "keys_url": server.url, **more})


async def login(issuers: Issuers, text: str) -> Principal | None:
    return await issuers.authenticate(BearerToken(text))


@pytest.mark.parametrize(
    ("key", "algorithm", "key_id"), [(RSA, "RS256", "rsa"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")]
)
async def test_a_valid_token_says_who_its_bearer_is(issuers: Issuers, key: Any, algorithm: str, key_id: str) -> None:
    text = token(claims(ref="refs/heads/main"), key, algorithm, key_id)
    for shown in (BearerToken(text), BasicCredentials("anybody", text)):
        principal = await issuers.authenticate(shown)
        assert principal is not None
        assert str(principal) == "ci:repo:org/app"
        assert principal.claims == {"sub": "repo:org/app", "ref": "refs/heads/main"}


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": [AUDIENCE, "other"]},
        {"nbf": None, "iat": None},
        {"exp": lambda now: now + 10**9},
        {"exp": lambda now: now + 100.5},
        # Clocks differ by up to a minute.
        {"exp": lambda now: now - 30},
        {"nbf": lambda now: now + 30},
    ],
)
async def test_a_token_may_have_these_claims(issuers: Issuers, changed: Mapping[str, Any]) -> None:
    assert await login(issuers, token(claims(**changed))) is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://other.example"},
        {"iss": ISSUER + "/"},
        {"iss": None},
        {"iss": [ISSUER]},
        {"aud": "other"},
        {"aud": None},
        {"aud": {AUDIENCE: 1}},
        {"aud": [[AUDIENCE]]},
        {"aud": AUDIENCE + "x"},
        {"exp": None},
        {"exp": 0},
        {"exp": lambda now: now - 61},
        {"exp": True},
        {"exp": "9999999999"},
        {"exp": [9999999999]},
        {"nbf": lambda now: now + 120},
        {"iat": lambda now: now + 120},
        {"nbf": "0"},
        {"sub": None},
        {"sub": ""},
        {"sub": 1},
    ],
)
async def test_a_token_may_not_have_these_claims(issuers: Issuers, changed: Mapping[str, Any]) -> None:
    with pytest.raises(BadCredentials):
        await login(issuers, token(claims(**changed)))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": ""},
        {"alg": None},
        {"alg": ["RS256"]},
        {"alg": "HS256"},
        {"alg": "RS512"},
        {"alg": "ES256"},
        {"alg": "RS256\0"},
        {"kid": None},
        {"kid": ""},
        {"kid": 1},
        {"kid": ["rsa"]},
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1 --"},
        {"kid": "http://127.0.0.1/key"},
        {"kid": "x" * 257},
        {"jwk": jwk(RSA, "rsa")},
        {"jku": "http://169.254.169.254/jwks"},
        {"x5u": "http://127.0.0.1/x"},
        {"x5c": ["AAAA"]},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        b'{"alg":"none","alg":"RS256","kid":"rsa"}',
        b'{"alg":"RS256","kid":"rsa"} {}',
        b'["RS256"]',
        b"\xff\xfe",
        b'{"alg":"RS256","kid":"rsa","x":NaN}',
        b'{"alg":"RS256","kid":"rsa","x":' + b"9" * 4000 + b"}",
        b'{"alg":"RS256","kid":"rsa","x":' + b"[" * 3000,
    ],
)
async def test_a_header_with_two_readings_has_none(
    issuers: Issuers, server: KeyServer, header: Mapping[str, Any] | bytes
) -> None:
    text = token(claims(), header=header)
    if text.startswith("eyJ"):
        with pytest.raises(BadCredentials):
            await login(issuers, text)
    else:
        assert await login(issuers, text) is None
    assert all(path == "/" for path, _ in server.requests)


async def test_a_public_key_is_no_secret(issuers: Issuers) -> None:
    """The confusion of RS256 with HS256: whoever knows the public key could sign with it."""
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, json.dumps(jwk(RSA, "rsa")).encode(), b""):
        with pytest.raises(BadCredentials):
            await login(issuers, token(claims(), secret, "HS256"))


@pytest.mark.parametrize(
    "text", ["eyJ.e.e", "eyJhbGciOiJSUzI1NiJ9.e30=.AA==", "eyJ" + "." * 8000, "eyJ..", "eyJ+.e30.AA"]
)
async def test_what_is_no_token_is_refused_or_for_others(issuers: Issuers, text: str) -> None:
    try:
        assert await login(issuers, text) is None
    except BadCredentials:
        assert text.count(".") == 2


async def test_a_signature_that_is_wrong_is_refused(issuers: Issuers) -> None:
    text = token(claims())
    head, body, signature = text.split(".")
    other = encode(json.dumps(claims(sub="admin")).encode())
    for forged in (f"{head}.{other}.{signature}", f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}.AA"):
        with pytest.raises(BadCredentials):
            await login(issuers, forged)
    for wrong in (
        token(claims(), ED, "EdDSA", "ec"),
        token(claims(), ED, "EdDSA", "rsa"),
        token(claims(), EC, "ES256"),
    ):
        with pytest.raises(BadCredentials):
            await login(issuers, wrong)


async def test_a_token_of_more_than_8_kilobytes_is_refused(issuers: Issuers) -> None:
    assert await login(issuers, token(claims(x="x" * 5000))) is not None
    with pytest.raises(BadCredentials):
        await login(issuers, token(claims(x="x" * 8000)))


async def test_a_token_of_one_issuer_is_not_signed_by_another() -> None:
    with key_server() as one, key_server() as other:
        one.show({"keys": [jwk(RSA, "k")]})
        other.show({"keys": [jwk(EC, "k")]})
        issuers = Issuers([settings(one), settings(other, kind="other", issuer="https://other.example")])
        assert await login(issuers, token(claims(iss="https://other.example"), EC, "ES256", "k")) is not None
        with pytest.raises(BadCredentials):
            await login(issuers, token(claims(), EC, "ES256", "k"))


async def test_the_name_is_the_claim_that_the_file_names(server: KeyServer) -> None:
    issuers = Issuers([settings(server, name_claim="email")])
    principal = await login(issuers, token(claims(email="a@example.com")))
    assert str(principal) == "ci:a@example.com"


async def test_a_checked_token_is_known_until_it_expires(
    issuers: Issuers, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = token(claims())
    principal = await login(issuers, text)
    assert await login(issuers, text) is principal
    now = time.time
    monkeypatch.setattr("ferro_oci_server.auth.jose.time", lambda: now() + 400)
    with pytest.raises(BadCredentials, match="expired"):
        await login(issuers, text)


async def test_keys_are_fetched_once_and_for_an_unknown_one_once_a_minute(
    issuers: Issuers, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await login(issuers, token(claims(jti=str(number))))
        with pytest.raises(BadCredentials):
            await login(issuers, token(claims(), EC, "ES256", f"unknown-{number}"))
    assert len(server.requests) == 1
    later = time.monotonic() + 61
    monkeypatch.setattr(module, "monotonic", lambda: later)
    server.show({"keys": [*KEYS["keys"], jwk(EC, "new")]})
    assert await login(issuers, token(claims(), EC, "ES256", "new")) is not None
    assert len(server.requests) == 2


async def test_keys_from_before_count_for_a_day(
    issuers: Issuers, server: KeyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    assert await login(issuers, token(claims(jti="0"))) is not None
    server.status = 500
    for hours, works in ((2, True), (23, True), (25, False)):
        monkeypatch.setattr(module, "monotonic", lambda hours=hours: started + hours * 3600)
        if works:
            assert await login(issuers, token(claims(jti=str(hours)))) is not None
        else:
            with pytest.raises(AuthenticatorUnavailable):
                await login(issuers, token(claims(jti=str(hours))))
    assert "500" in str([record.__dict__ for record in caplog.records])


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (302, {"Location": "http://127.0.0.1:1/keys"}, b""),
        (404, {}, b"{}"),
        (200, {}, b"not json"),
        (200, {}, b"{}"),
        (200, {}, b'{"keys": []}'),
        (200, {}, b'{"keys": [{"kty": "oct", "kid": "rsa", "k": "AAAA"}]}'),
        (200, {}, b'{"keys": "' + b"x" * 300_000 + b'"}'),
        (200, {}, b"[" * 100_000),
    ],
)
async def test_an_answer_that_is_no_keys_lets_nobody_in(
    issuers: Issuers, server: KeyServer, status: int, headers: dict[str, str], body: bytes
) -> None:
    server.status, server.headers, server.body = status, headers, lambda: body
    with pytest.raises(AuthenticatorUnavailable):
        await login(issuers, token(claims()))
    assert len(server.requests) == 1


async def test_keys_of_other_uses_and_short_ones_are_left_out(issuers: Issuers, server: KeyServer) -> None:
    short = rsa.generate_private_key(65537, 1024)
    server.show({"keys": [{**jwk(RSA, "enc"), "use": "enc"}, jwk(short, "short"), "x", None, jwk(EC, "ec")]})
    for key, key_id in ((RSA, "enc"), (short, "short")):
        with pytest.raises(BadCredentials):
            await login(issuers, token(claims(), key, "RS256", key_id))


async def test_keys_may_be_in_a_file_and_the_server_may_ask_who_asks(server: KeyServer, tmp_path: Path) -> None:
    write(tmp_path / "keys.json", json.dumps(KEYS))
    write(tmp_path / "token", "service-account-token\n")
    by_file = Issuers([settings(server, keys_url=None, keys_file=tmp_path / "keys.json")])
    assert await login(by_file, token(claims())) is not None
    assert server.requests == []
    assert await login(Issuers([settings(server, token_file=tmp_path / "token")]), token(claims())) is not None
    assert server.requests == [("/", "Bearer service-account-token")]


async def test_issuers_that_change_are_forgotten_and_others_are_not(issuers: Issuers, server: KeyServer) -> None:
    text = token(claims())
    assert await login(issuers, text) is not None
    issuers.use([settings(server)])
    assert await login(issuers, text) is not None
    assert len(server.requests) == 1
    issuers.use([settings(server, audience="other")])
    with pytest.raises(BadCredentials, match="somebody else"):
        await login(issuers, text)
    issuers.use([])
    assert await login(issuers, text) is None


async def test_an_issuer_that_is_taken_away_while_its_keys_are_fetched_is_trusted_no_more(
    issuers: Issuers, server: KeyServer
) -> None:
    loop, shown = asyncio.get_running_loop(), server.body
    is_asked, may_answer = asyncio.Event(), threading.Event()

    def slow() -> bytes:
        loop.call_soon_threadsafe(is_asked.set)
        may_answer.wait(10)
        return shown()

    server.body = slow
    text = token(claims())
    running = asyncio.create_task(login(issuers, text))
    await is_asked.wait()
    issuers.use([])
    may_answer.set()
    with pytest.raises(BadCredentials, match="not trusted"):
        await running
    assert issuers.recall(text.encode()) is None


async def test_other_credentials_are_for_others(issuers: Issuers) -> None:
    for shown in (BearerToken("abc"), BasicCredentials("alice", "password"), BasicCredentials("alice", "eyJä.b.c")):
        assert await issuers.authenticate(shown) is None


def write(path: Path, text: str) -> None:
    path.write_text(text)
