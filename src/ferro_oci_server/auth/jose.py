"""JSON Web Tokens, read more strictly than the standard asks: what has two readings has none here.

The signature is checked by PyJWT, with a key that knows its own algorithm. Before that, and this is why it is done
here: a token has three parts of at most 8 KiB together, no name is in them twice, and its header has nothing in it that
could bring a key along, name a place to get one from, or change how the rest is read.

Spec: RFC 7515, RFC 7519, RFC 8725.
"""

import base64
import binascii
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from time import time
from typing import Any

from jwt import PyJWK, PyJWS
from jwt.exceptions import PyJWTError

from ferro_oci_server.auth.errors import BadCredentials
from ferro_oci_server.auth.principals import Principal

__all__ = [
    "MAX_BYTES",
    "Header",
    "Known",
    "check_claims",
    "claimed_issuer",
    "load_key",
    "looks_like_one",
    "read_claims",
    "read_header",
    "verify",
]

ALGORITHMS = frozenset({"RS256", "ES256", "ES384", "EdDSA"})
"""Those of the issuers that there are. None is symmetric: a public key is never a secret."""

MAX_BYTES = 8 * 1024
"""Of a token. What is larger is refused before it is read."""

_PART = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_KEY_ID = re.compile(r"[\x21-\x7e]{1,256}", re.ASCII)

# RFC 7515 and 7797: keys in the token, places of keys, extensions that must be known, other encodings of the payload.
_REFUSED = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"})

_SKEW = 60
_LEAST_RSA_BITS = 2048
_MAX_KNOWN = 10_000

_jws = PyJWS(algorithms=sorted(ALGORITHMS))


@dataclass(frozen=True, slots=True)
class Header:
    """What counts in the header of a token."""

    algorithm: str
    key_id: str


def looks_like_one(text: str) -> bool:
    """Whether a text has the form of a token, whatever is in it."""
    return text.startswith("eyJ") and text.count(".") == 2


def read_header(token: str) -> Header:
    """Read a token's header. Nothing in it is true before the signature has been checked.

    Raises:
        BadCredentials: it is none that we take.
    """
    header = _part(token, 0)
    if _REFUSED & header.keys():
        raise BadCredentials("the token's header has what none may have")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise BadCredentials("the token's algorithm is not taken here")
    if not isinstance(key_id, str) or _KEY_ID.fullmatch(key_id) is None:
        raise BadCredentials("the token does not name its key")
    return Header(algorithm, key_id)


def claimed_issuer(token: str) -> str:
    """Who a token claims to be from: good for choosing whose keys to check it with, and for nothing else.

    Raises:
        BadCredentials: it does not say.
    """
    issuer = read_claims(token).get("iss")
    if not isinstance(issuer, str):
        raise BadCredentials("the token does not name its issuer")
    return issuer


def read_claims(token: str) -> dict[str, Any]:
    """What a token claims, none of which is true before the signature has been checked.

    Raises:
        BadCredentials: it cannot be read.
    """
    return _part(token, 1)


def verify(token: str, header: Header, key: PyJWK) -> dict[str, Any]:
    """The claims of a token whose signature is right.

    Raises:
        BadCredentials: it is not, or the key is for another algorithm.
    """
    if key.algorithm_name != header.algorithm:
        raise BadCredentials("the token's algorithm is not that of its key")
    try:
        _jws.decode(token, key, algorithms=[header.algorithm])
    except (PyJWTError, ValueError):
        raise BadCredentials("the token's signature is wrong") from None
    return _part(token, 1)


def check_claims(claims: Mapping[str, Any], issuer: str, audience: str, skew: float = _SKEW) -> float:
    """See that a token is from ``issuer``, for ``audience``, and valid now; return when it expires.

    Raises:
        BadCredentials: it is not.
    """
    if claims.get("iss") != issuer:
        raise BadCredentials("the token is from another issuer")
    found = claims.get("aud")
    audiences = [found] if isinstance(found, str) else found
    if not isinstance(audiences, list) or audience not in audiences:
        raise BadCredentials("the token is for somebody else")
    now = time()
    expires = _time(claims, "exp")
    if expires is None or expires + skew <= now:
        raise BadCredentials("the token has expired")
    for name in ("nbf", "iat"):
        if (_time(claims, name) or 0) > now + skew:
            raise BadCredentials("the token is not valid yet")
    return expires


def load_key(document: object) -> PyJWK | None:
    """A public key that signatures may be checked with; ``None`` where it is none."""
    if not isinstance(document, dict) or document.get("use", "sig") != "sig" or document.get("kty") == "oct":
        return None
    try:
        key = PyJWK(document)
    except (PyJWTError, ValueError, TypeError):
        return None
    is_small = key.algorithm_name == "RS256" and key.key.key_size < _LEAST_RSA_BITS
    return None if is_small or key.algorithm_name not in ALGORITHMS else key


def _part(token: str, number: int) -> dict[str, Any]:
    if len(token) > MAX_BYTES:
        raise BadCredentials("the token is too long")
    parts = token.split(".", 3)
    if len(parts) != 3 or not all(map(_PART.fullmatch, parts)):
        raise BadCredentials("the token does not have three parts")
    try:
        content = base64.b64decode(parts[number] + "=" * (-len(parts[number]) % 4), altchars=b"-_", validate=True)
        document = json.loads(
            content.decode("utf-8"), object_pairs_hook=_without_doubles, parse_constant=_no_constant, parse_int=_number
        )
    except (binascii.Error, ValueError, RecursionError):
        raise BadCredentials("the token cannot be read") from None
    if not isinstance(document, dict):
        raise BadCredentials("the token cannot be read")
    return document


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name is there twice")
    return document


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _number(text: str) -> int:
    if len(text) > 20:
        raise ValueError("the number is too long")
    return int(text)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadCredentials("the token's times cannot be read")
    return float(value)


class Known:
    """Tokens that have been checked, by their digests, until they expire. Used by one event loop."""

    def __init__(self, seconds: float) -> None:
        """``seconds`` is how long a token is known at most."""
        self._seconds = seconds
        self._known: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    def get(self, token: bytes) -> Principal | None:
        """Whose a token is, if it has been checked and has not expired."""
        found = self._known.get(hashlib.sha256(token).digest())
        return found[0] if found is not None and time() < found[1] else None

    def put(self, token: bytes, principal: Principal, expires: float) -> None:
        """Know a token."""
        self._known[hashlib.sha256(token).digest()] = principal, min(expires, time() + self._seconds)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    def clear(self) -> None:
        """Know none."""
        self._known.clear()
