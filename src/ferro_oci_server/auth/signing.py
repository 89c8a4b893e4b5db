"""Keys that our tokens are signed with.

Every process makes its own, and never shows it: what it puts into the metadata store is the public half, so that every
other process can check. A key signs for a day, and is known for as long as its last token lasts. So there is no secret
to share, to keep, or to find in a backup, and tokens outlive the process that gave them out.

Spec: RFC 8037 (Ed25519), RFC 7638 (thumbprints).
"""

import asyncio
import base64
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from time import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt import PyJWK, PyJWS

from ferro_oci_server.auth.jose import load_key
from ferro_oci_server.core.credentials import Credential, CredentialKind, Credentials

__all__ = ["SigningKeys"]

_ROTATION = 24 * 3600.0
# A key is known until its last token is past, on machines whose clocks differ.
_MARGIN = 3600.0

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_MAX_KNOWN = 1000

_jws = PyJWS(algorithms=["EdDSA"])


class SigningKeys:
    """Signs, and finds the keys that others of this registry have signed with."""

    def __init__(self, store: Credentials, token_seconds: float) -> None:
        self._store = store
        self._token_seconds = token_seconds
        self._lock = asyncio.Lock()
        self._key: Ed25519PrivateKey | None = None
        self._id = ""
        self._until = 0.0
        self._known: OrderedDict[str, tuple[PyJWK, float]] = OrderedDict()

    async def sign(self, claims: Mapping[str, Any]) -> str:
        """A token with these claims."""
        async with self._lock:
            if self._key is None or time() >= self._until:
                await self._rotate()
            key, key_id = self._key, self._id
        assert key is not None
        payload = json.dumps(claims, separators=(",", ":")).encode("ascii")
        return _jws.encode(payload, key, "EdDSA", {"kid": key_id, "typ": "JWT"})

    async def find(self, key_id: str) -> PyJWK | None:
        """The key of a token; ``None`` where this registry has none of that name."""
        if _THUMBPRINT.fullmatch(key_id) is None:
            return None
        known = self._known.get(key_id)
        if known is None:
            credential = await self._store.get_credential(CredentialKind.SIGNING_KEY, key_id)
            key = None if credential is None else load_key(json.loads(credential.value))
            if credential is None or key is None:
                return None
            known = self._known[key_id] = key, credential.expires_at or 0.0
            if len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        return known[0] if time() < known[1] else None

    async def _rotate(self) -> None:
        key = Ed25519PrivateKey.generate()
        public = {"crv": "Ed25519", "kty": "OKP", "x": _encode(key.public_key().public_bytes_raw())}
        thumbprint = _encode(hashlib.sha256(json.dumps(public, separators=(",", ":")).encode("ascii")).digest())
        now = time()
        known_until = now + _ROTATION + self._token_seconds + _MARGIN
        document = json.dumps({**public, "alg": "EdDSA", "use": "sig"}).encode("ascii")
        await self._store.add_credential(Credential(CredentialKind.SIGNING_KEY, thumbprint, document, known_until))
        await self._store.expire_credentials(now)
        self._key, self._id, self._until = key, thumbprint, now + _ROTATION


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
