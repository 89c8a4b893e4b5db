"""The built-in token service: tokens that say what their bearer may do in which repository.

A token is good for what was asked for and is allowed, no more; and when it is used, the policy is asked again, so that
what is no longer allowed is not allowed by a token either. What a client gets by showing a token, it never gets a
token for: that would make one that lasts for ever.

Spec: distribution, "Token Authentication Specification" and "Oauth2 Token Authentication".
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from ferro_oci_server.auth.authenticators import Authenticator, stamp
from ferro_oci_server.auth.credentials import BearerToken, Credentials
from ferro_oci_server.auth.errors import BadCredentials
from ferro_oci_server.auth.jose import Known, check_claims, looks_like_one, read_header, verify
from ferro_oci_server.auth.policy import Policy
from ferro_oci_server.auth.principals import CATALOG_SCOPE, Action, Principal, Scopes
from ferro_oci_server.auth.signing import SigningKeys
from ferro_oci_server.core.credentials import Credential, CredentialKind
from ferro_oci_server.core.credentials import Credentials as CredentialStore
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["AccessToken", "TokenService", "parse_scopes"]

TOKEN_SECONDS = 300
"""How long a token lasts, unless it is said. Clients keep one for a minute whatever it says, and it is taken for a
minute longer than it says, so any number works with all of them."""

_REFRESH_SECONDS = 30 * 24 * 3600.0

_ACTIONS = {"pull": Action.PULL, "push": Action.PUSH, "delete": Action.DELETE}
_CATALOG = "catalog"

# docker asks for two at a time; a client that copies asks for the repositories that it copies between.
_MAX_SCOPES = 100


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token that was given out."""

    token: str
    issued_at: float
    seconds: int
    scopes: Scopes


class TokenService:
    """Gives out tokens, and knows them again: an ``Authenticator`` of bearer tokens."""

    def __init__(
        self,
        service: str,
        store: CredentialStore,
        policy: Policy,
        authenticators: Sequence[Authenticator],
        token_seconds: int = TOKEN_SECONDS,
    ) -> None:
        """``service`` names the registry in its tokens; ``authenticators`` know who may have one."""
        self.service = service
        self.authenticators = tuple(authenticators)
        self._store = store
        self._policy = policy
        self._token_seconds = token_seconds
        self._keys = SigningKeys(store, token_seconds)
        self._known = Known(token_seconds)

    def recall(self, token: bytes) -> Principal | None:
        """Whose token this is, if it was checked and has not expired."""
        return self._known.get(token)

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Whose token this is, and what it is good for.

        Raises:
            BadCredentials: it is signed with a key of ours, and not valid.
        """
        if not isinstance(credentials, BearerToken) or not looks_like_one(credentials.token):
            return None
        token = credentials.token
        header = read_header(token)
        key = await self._keys.find(header.key_id)
        if key is None:
            return None
        claims = verify(token, header, key)
        expires = check_claims(claims, self.service, self.service)
        principal = Principal(claims["kind"], claims["name"], claims.get("claims", {}), _scopes_of(claims["access"]))
        self._known.put(token.encode("ascii"), principal, expires)
        return principal

    async def give(self, principal: Principal, asked: Iterable[tuple[str, str, frozenset[str]]]) -> AccessToken:
        """A token for a principal, good for what was asked for and is allowed."""
        scopes = await self._allowed(principal, asked)
        now = time()
        access = [
            {"type": "repository", "name": name, "actions": sorted(actions)}
            if name != CATALOG_SCOPE
            else {"type": "registry", "name": _CATALOG, "actions": ["*"]}
            for name, actions in scopes.items()
        ]
        claims: dict[str, Any] = {
            "iss": self.service,
            "aud": self.service,
            "sub": str(principal),
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + self._token_seconds,
            "jti": secrets.token_urlsafe(12),
            "kind": principal.kind,
            "name": principal.name,
            "access": access,
        }
        if principal.claims:
            claims["claims"] = dict(principal.claims)
        return AccessToken(await self._keys.sign(claims), now, self._token_seconds, scopes)

    async def give_refresh_token(self, principal: Principal) -> str | None:
        """What the principal can get tokens with later, instead of its password; ``None`` where it cannot stay."""
        current = await stamp(self.authenticators, principal)
        if current is None:
            return None
        token = secrets.token_urlsafe(32)
        record = json.dumps({"kind": principal.kind, "name": principal.name, "stamp": current})
        await self._store.add_credential(
            Credential(CredentialKind.REFRESH_TOKEN, _digest(token), record.encode(), time() + _REFRESH_SECONDS)
        )
        return token

    async def refresh(self, token: str) -> Principal:
        """Who was given a refresh token.

        Raises:
            BadCredentials: nobody, or it has expired, or the password or the key that it was given for is another now.
        """
        digest = _digest(token)
        credential = await self._store.get_credential(CredentialKind.REFRESH_TOKEN, digest)
        if credential is None or (credential.expires_at or 0) <= time():
            raise BadCredentials("the refresh token is not known")
        record = json.loads(credential.value)
        principal = Principal(record["kind"], record["name"])
        if await stamp(self.authenticators, principal) != record["stamp"]:
            await self._store.delete_credential(CredentialKind.REFRESH_TOKEN, digest)
            raise BadCredentials("what the refresh token was given for has changed")
        return principal

    async def _allowed(
        self, principal: Principal, asked: Iterable[tuple[str, str, frozenset[str]]]
    ) -> dict[str, frozenset[str]]:
        scopes: dict[str, frozenset[str]] = {}
        for kind, name, words in asked:
            if (kind, name) == ("registry", _CATALOG) and "*" in words:
                if (await self._policy.may_list_any(principal)).allowed:
                    scopes[CATALOG_SCOPE] = frozenset({"*"})
            elif kind == "repository" and RepositoryName.is_valid(name):
                granted = await self._granted(principal, RepositoryName(name), words)
                if granted:
                    scopes[name] = scopes.get(name, frozenset()) | granted
        return scopes

    async def _granted(self, principal: Principal, name: RepositoryName, words: frozenset[str]) -> frozenset[str]:
        # Some clients ask for everything where they want to delete. They get what they may do, by name.
        wanted = _ACTIONS.keys() if "*" in words else words & _ACTIONS.keys()
        return frozenset(
            [word for word in wanted if (await self._policy.decide(principal, _ACTIONS[word], name)).allowed]
        )


def parse_scopes(texts: Iterable[str]) -> list[tuple[str, str, frozenset[str]]]:
    """Read scopes: each text may have several, with spaces between. What cannot be read asks for nothing.

    Raises:
        ValueError: there are too many.
    """
    asked = []
    # A plus sign is how some write a space in a query, and stands in no scope.
    for scope in [scope for text in texts for scope in text.replace("+", " ").split(" ") if scope]:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        asked.append((kind, name, frozenset(actions.split(","))))
    if len(asked) > _MAX_SCOPES:
        raise ValueError(f"there are more than {_MAX_SCOPES} scopes")
    return asked


def _scopes_of(access: Sequence[Any]) -> dict[str, frozenset[str]]:
    return {
        CATALOG_SCOPE if entry["type"] == "registry" else entry["name"]: frozenset(entry["actions"]) for entry in access
    }


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "backslashreplace")).hexdigest()
