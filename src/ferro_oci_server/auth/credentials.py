"""What a client shows of itself: the Authorization header, read, or the certificate of its connection.

Spec: RFC 7617 (Basic), RFC 6750 (Bearer).
"""

import base64
import binascii
import re
from dataclasses import dataclass, field

from ferro_oci_server.auth.errors import BadCredentials

__all__ = [
    "BasicCredentials",
    "BearerToken",
    "ClientCertificate",
    "Credentials",
    "name_and_password",
    "parse_authorization",
    "secret_of",
]

# RFC 7235: token68. What else stands there is of no scheme that is known here.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# A token of a CI system has about two kilobytes; what is larger costs time before it is known to be worth nothing.
_MAX_TOKEN = 8 * 1024


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """A name and a password, which may be a token or a key."""

    user: str
    password: str = field(repr=False)
    address: str = ""
    """Where it came from; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token by itself."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The certificate of a connection, checked by whoever ends TLS."""

    content: bytes
    """DER or PEM."""


Credentials = BasicCredentials | BearerToken | ClientCertificate


def secret_of(credentials: Credentials) -> str:
    """What may be a token or a key, however it was sent; empty where there is none."""
    if isinstance(credentials, BasicCredentials):
        return credentials.password
    return credentials.token if isinstance(credentials, BearerToken) else ""


def parse_authorization(header: str, address: str = "") -> BasicCredentials | BearerToken:
    """Read an Authorization header that came from an address.

    Raises:
        BadCredentials: it cannot be read in one way only.
    """
    scheme, _, value = header.partition(" ")
    value = value.strip(" ")
    if _TOKEN.fullmatch(value) is None:
        raise BadCredentials("Authorization is not a scheme with one value")
    if scheme.lower() == "bearer":
        if len(value) > _MAX_TOKEN:
            raise BadCredentials("the token is too long")
        return BearerToken(value)
    if scheme.lower() == "basic":
        return _parse_basic(value, address)
    raise BadCredentials("Authorization must be Basic or Bearer")


def _parse_basic(value: str, address: str) -> BasicCredentials:
    try:
        text = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise BadCredentials("a name and a password are base64 of UTF-8") from None
    user, _, password = text.partition(":")
    return name_and_password(user, password, address)


def name_and_password(user: str, password: str, address: str = "") -> BasicCredentials:
    """What a client has typed, however it was sent.

    Raises:
        BadCredentials: one of them is missing, or is none that anybody could have.
    """
    if not user or not password or _CONTROL.search(user) or _CONTROL.search(password):
        raise BadCredentials("a name and a password have a colon between them")
    if len(password) > _MAX_TOKEN:
        raise BadCredentials("the password is too long")
    return BasicCredentials(user, password, address)
