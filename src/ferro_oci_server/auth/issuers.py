"""Tokens of others: whatever issuer the policy file trusts, of CI systems, of clusters, of people.

A token is taken as a bearer token and as a password, whatever the user name is. Its issuer is who it claims to be from,
if its signature fits a key of that issuer. Keys are fetched from the one address that the policy file names, which no
token can change; they are fetched again when they are old, and for a key that is not known, but not more than once a
minute. When they cannot be fetched, those from before count for a day.

Spec: OpenID Connect Core 1.0; RFC 7517.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import Any

import httpx2
from jwt import PyJWK

from ferro_oci_server.auth.credentials import Credentials, secret_of
from ferro_oci_server.auth.errors import AuthenticatorUnavailable, BadCredentials
from ferro_oci_server.auth.jose import (
    Known,
    check_claims,
    claimed_issuer,
    load_key,
    looks_like_one,
    read_claims,
    read_header,
    verify,
)
from ferro_oci_server.auth.policy_file import IssuerSettings
from ferro_oci_server.auth.principals import Principal

__all__ = ["Issuers"]

_log = logging.getLogger("ferro_oci_server.auth")

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 24 * 3600.0
_SECONDS = 5.0
_MAX_BYTES = 256 * 1024
_MAX_KEYS = 100

# A verified token counts for this long without being verified again: so soon is a key that its issuer takes back gone.
_KNOWN_SECONDS = 300.0

# What says how long a token is valid, and for whom, says nothing of its bearer.
_NO_CLAIMS = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti", "azp", "nonce", "at_hash"})


class Issuers:
    """An ``Authenticator`` of the tokens of several issuers."""

    def __init__(
        self, settings: Iterable[IssuerSettings] = (), refresh: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Trust some issuers; ``refresh`` is awaited before a token is looked at, and may call ``use``."""
        self.refresh = refresh
        self._issuers: dict[str, _Issuer] = {}
        self._known = Known(_KNOWN_SECONDS)
        self.use(settings)

    def use(self, settings: Iterable[IssuerSettings]) -> None:
        """Trust these issuers from now on. Of those that stay as they are, the keys are still known."""
        before = self._issuers
        self._issuers = {}
        for it in settings:
            old = before.get(it.issuer)
            self._issuers[it.issuer] = old if old is not None and old.settings == it else _Issuer(it)
        self._known.clear()

    def recall(self, token: bytes) -> Principal | None:
        """Whose token this is, if it was checked a short while ago and has not expired."""
        return self._known.get(token)

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Whose token this is.

        Raises:
            BadCredentials: its issuer is not known, or it is not valid.
            AuthenticatorUnavailable: the issuer's keys cannot be had.
        """
        token = secret_of(credentials)
        if not looks_like_one(token) or not token.isascii():
            return None
        if self.refresh is not None:
            await self.refresh()
        if not self._issuers:
            return None
        known = self._known.get(token.encode("ascii"))
        if known is not None:
            return known
        header = read_header(token)
        issuer = self._issuers.get(claimed_issuer(token))
        if issuer is None:
            raise BadCredentials("the token's issuer is not trusted here")
        # Nobody is asked for keys for a token that would not be taken whatever its signature.
        expires = check_claims(read_claims(token), issuer.settings.issuer, issuer.settings.audience)
        claims = verify(token, header, await issuer.key(header.key_id))
        principal = _principal(issuer.settings, claims)
        if self._issuers.get(issuer.settings.issuer) is not issuer:
            # While its keys were fetched.
            raise BadCredentials("the token's issuer is not trusted here any more")
        self._known.put(token.encode("ascii"), principal, expires)
        return principal


def _principal(settings: IssuerSettings, claims: dict[str, Any]) -> Principal:
    name = claims.get(settings.name_claim)
    if not isinstance(name, str) or not name:
        raise BadCredentials("the token does not say whose it is")
    return Principal(settings.kind, name, {key: value for key, value in claims.items() if key not in _NO_CLAIMS})


class _Issuer:
    """One issuer, and the keys that are known of it."""

    def __init__(self, settings: IssuerSettings) -> None:
        self.settings = settings
        self._keys: dict[str, PyJWK] = {}
        self._lock = asyncio.Lock()
        self._fetched = self._tried = -_DAY

    async def key(self, key_id: str) -> PyJWK:
        """The key of that name.

        Raises:
            BadCredentials: the issuer has none.
            AuthenticatorUnavailable: it cannot be asked.
        """
        now = monotonic()
        key = self._keys.get(key_id)
        if key is None or now >= self._fetched + _HOUR:
            await self._refresh()
            key = self._keys.get(key_id)
        if monotonic() >= self._fetched + _DAY:
            raise AuthenticatorUnavailable(f"the keys of {self.settings.issuer} cannot be had")
        if key is None:
            raise BadCredentials("the token's key is not one of its issuer")
        return key

    async def _refresh(self) -> None:
        async with self._lock:
            if monotonic() < self._tried + _MINUTE:
                return
            self._tried = monotonic()
            try:
                document = json.loads(await self._fetch())
                self._keys = _keys_of(document)
            except (OSError, httpx2.HTTPError, ValueError, RecursionError) as exc:
                _log.error(
                    "an issuer's keys cannot be had; those from before count",
                    extra={"issuer": self.settings.issuer, "problem": str(exc) or type(exc).__name__},
                )
                return
            self._fetched = monotonic()

    async def _fetch(self) -> bytes:
        settings = self.settings
        if settings.keys_file is not None:
            return await asyncio.to_thread(settings.keys_file.read_bytes)
        assert settings.keys_url is not None
        # Files are read for it, and modules loaded.
        async with (
            await asyncio.to_thread(_client, settings) as client,
            asyncio.timeout(2 * _SECONDS),
            client.stream("GET", settings.keys_url) as response,
        ):
            if response.status_code != 200:
                raise ValueError(f"the answer is {response.status_code}")
            content = bytearray()
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > _MAX_BYTES:
                    raise ValueError("the answer is too long")
            return bytes(content)


def _client(settings: IssuerSettings) -> httpx2.AsyncClient:
    """What asks for keys: without redirects, and with no proxy and no credentials that the environment may have."""
    headers = {"Accept": "application/jwk-set+json, application/json"}
    if settings.token_file is not None:
        headers["Authorization"] = f"Bearer {settings.token_file.read_text(encoding='ascii').strip()}"
    context = ssl.create_default_context(cafile=settings.ca_file)
    return httpx2.AsyncClient(
        headers=headers, verify=context, timeout=_SECONDS, follow_redirects=False, trust_env=False
    )


def _keys_of(document: object) -> dict[str, PyJWK]:
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("the answer has no keys")
    keys: dict[str, PyJWK] = {}
    for entry in entries[:_MAX_KEYS]:
        key = load_key(entry)
        if key is not None and isinstance(key.key_id, str):
            keys[key.key_id] = key
    if not keys:
        raise ValueError("the answer has no keys that could be used")
    return keys
