"""API keys for robots: made, listed and revoked by the command.

A key is 256 random bits, so its SHA-256 is as hard to guess as the key, and is all that is kept. What a robot may do
is the policy's to say, by the name of its key: several keys may have one name, so that one can be replaced while both
work.
"""

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from time import time

from ferro_oci_server.auth.credentials import Credentials, secret_of
from ferro_oci_server.auth.errors import BadCredentials
from ferro_oci_server.auth.principals import Principal
from ferro_oci_server.core.credentials import Credential, CredentialKind
from ferro_oci_server.core.credentials import Credentials as CredentialStore

__all__ = ["ApiKey", "ApiKeys"]

KIND = "key"

# What shows that something is one, to us and to those who look for secrets where they should not be.
_PREFIX = "ferro_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_PAGE = 100
_ID = 12


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, as far as it is kept."""

    id: str
    """The beginning of its digest."""
    name: str
    created_at: float
    expires_at: float | None


class ApiKeys:
    """An ``Authenticator`` of keys, sent as a password or as a bearer token, and what the command does with them."""

    def __init__(self, store: CredentialStore) -> None:
        self._store = store

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Whose key this is. What user name it comes with means nothing.

        Raises:
            BadCredentials: nobody's, or it has expired.
        """
        secret = secret_of(credentials)
        if not secret.startswith(_PREFIX):
            return None
        found = await self._store.get_credential(CredentialKind.API_KEY, _digest(secret))
        if found is None or (found.expires_at is not None and found.expires_at <= time()):
            raise BadCredentials("there is no such key")
        return Principal(KIND, json.loads(found.value)["name"])

    async def stamp(self, principal: Principal) -> str | None:
        """Changes with the keys of a name."""
        if principal.kind != KIND:
            return None
        now = time()
        ids = [key.id for key in await self.all() if key.name == principal.name and (key.expires_at or now + 1) > now]
        return hashlib.sha256(",".join(ids).encode()).hexdigest()[:16] if ids else None

    async def create(self, name: str, seconds: float | None = None) -> str:
        """Make a key, which is shown this once.

        Raises:
            ValueError: the name is none.
        """
        if _NAME.fullmatch(name) is None:
            raise ValueError("a key's name is at most 64 letters, digits, dots, hyphens and underscores")
        secret = _PREFIX + secrets.token_urlsafe(32)
        now = time()
        record = json.dumps({"name": name, "created_at": now}).encode("ascii")
        expires_at = None if seconds is None else now + seconds
        await self._store.add_credential(Credential(CredentialKind.API_KEY, _digest(secret), record, expires_at))
        return secret

    async def all(self) -> list[ApiKey]:
        """All keys."""
        keys: list[ApiKey] = []
        after = ""
        while True:
            page = await self._store.list_credentials(CredentialKind.API_KEY, after, _PAGE)
            for credential in page:
                record = json.loads(credential.value)
                keys.append(ApiKey(credential.key[:_ID], record["name"], record["created_at"], credential.expires_at))
            if len(page) < _PAGE:
                return keys
            after = page[-1].key

    async def revoke(self, name_or_id: str) -> list[ApiKey]:
        """Forget the keys of a name, or one by its id; return them. They are worth nothing from now on."""
        revoked = [key for key in await self.all() if name_or_id in (key.name, key.id)]
        for key in revoked:
            for credential in await self._store.list_credentials(CredentialKind.API_KEY, key.id, 1):
                if credential.key.startswith(key.id):
                    await self._store.delete_credential(CredentialKind.API_KEY, credential.key)
        return revoked


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()
