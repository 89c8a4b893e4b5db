"""Who is behind a proxy: only a proxy that is trusted is believed.

Spec: the X-Forwarded headers, as nginx, Caddy and Traefik set them; Client-Cert (RFC 9440, section 2.2), in which
HAProxy and Envoy can write DER, and nginx PEM in percent-encoding (``$ssl_client_escaped_cert``).
"""

import binascii
from base64 import b64decode
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes

from ferro_oci_server.api.app import Receive, Scope, Send
from ferro_oci_server.api.requests import CERTIFICATE
from ferro_oci_server.auth.gate import App
from ferro_oci_server.config import Network

__all__ = ["TrustedProxies"]

# Several times as large as those that people have.
_MAX_CERTIFICATE = 16 * 1024


class TrustedProxies:
    """Stands above everything, and puts the client's address and scheme into the scope where a trusted proxy tells.

    With ``certificates`` it believes what the proxy says of the client's certificate, too.
    """

    def __init__(self, app: App, networks: Sequence[Network], *, certificates: bool = False) -> None:
        self._app = app
        self._networks = networks
        self._certificates = certificates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one scope on."""
        client = scope.get("client")
        if scope["type"] == "http" and client and self._trusts(client[0]):
            scope = {**scope, **self._told(scope["headers"])}
        await self._app(scope, receive, send)

    def _told(self, headers: Sequence[tuple[bytes, bytes]]) -> dict[str, object]:
        told: dict[str, object] = {}
        chain = [part.strip() for key, value in headers if key == b"x-forwarded-for" for part in value.split(b",")]
        # Each proxy adds the address that it sees, so what stands before the first that is not trusted is anybody's.
        for part in reversed(chain):
            address = part.decode("latin-1")
            if not _is_address(address):
                break
            told["client"] = (address, 0)
            if not self._trusts(address):
                break
        schemes = [value for key, value in headers if key == b"x-forwarded-proto"]
        if schemes and schemes[-1].strip() in (b"http", b"https"):
            told["scheme"] = schemes[-1].strip().decode("ascii")
        certificates = [value for key, value in headers if key == b"client-cert"] if self._certificates else []
        # Nginx sends an empty one of a client that has none. Two are one too many: not the proxy's alone.
        if certificates and any(certificates):
            told[CERTIFICATE] = _certificate(certificates[0]) if len(certificates) == 1 else b""
        return told

    def _trusts(self, address: str) -> bool:
        if not _is_address(address):
            return False
        found = ip_address(address)
        # A socket that takes both kinds shows an address of IPv4 as one of IPv6.
        plain = (found.ipv4_mapped if found.version == 6 else None) or found
        return any(plain in network for network in self._networks)


def _certificate(value: bytes) -> bytes:
    """What is in the header, DER or PEM; nothing that anybody can read where it is neither."""
    text = value.strip()
    if len(text) > _MAX_CERTIFICATE:
        return b""
    if not text.startswith(b":"):
        return unquote_to_bytes(text)
    try:
        return b64decode(text[1:].removesuffix(b":"), validate=True)
    except binascii.Error:
        return b""


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
