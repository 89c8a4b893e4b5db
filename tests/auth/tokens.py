"""Tokens as the tests forge them: made by hand, so that they may be wrong in every way."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def encode(content: bytes | Mapping[str, Any]) -> str:
    """A part of a token."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(algorithm: str, key: Any, message: bytes) -> bytes:
    """A signature."""
    if algorithm == "RS256":
        return bytes(key.sign(message, padding.PKCS1v15(), hashes.SHA256()))
    if algorithm == "ES256":
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    if algorithm == "EdDSA":
        return bytes(key.sign(message))
    if algorithm == "HS256":
        return hmac.digest(key, message, hashlib.sha256)
    return b""


def token(
    claims: Mapping[str, Any] | bytes,
    key: Any = RSA,
    algorithm: str = "RS256",
    key_id: Any = "rsa",
    header: Mapping[str, Any] | bytes | None = None,
) -> str:
    """A token; ``header`` replaces the header, or is added to it."""
    fields: Any = {"alg": algorithm, "kid": key_id, "typ": "JWT"}
    fields = header if isinstance(header, bytes) else {**fields, **(header or {})}
    message = f"{encode(fields)}.{encode(claims)}"
    return f"{message}.{encode(sign(algorithm, key, message.encode()))}"


def jwk(key: Any, key_id: str) -> dict[str, Any]:
    """The public half of a key, as issuers show it."""
    public = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        document = json.loads(RSAAlgorithm.to_jwk(public))
        document["alg"] = "RS256"
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        document = json.loads(ECAlgorithm.to_jwk(public))
    else:
        document = json.loads(OKPAlgorithm.to_jwk(public))
    return {**document, "kid": key_id, "use": "sig"}
