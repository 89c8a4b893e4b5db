"""Clients that are known by the certificate of their connection. Whoever ends TLS has checked it.

That is a proxy which is trusted (``proxies.py``), or a server that tells by ASGI's TLS extension; the one that the
command runs does not.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from ferro_oci_server.auth.credentials import ClientCertificate, Credentials
from ferro_oci_server.auth.errors import BadCredentials
from ferro_oci_server.auth.principals import Principal

__all__ = ["ClientCertificates"]

KIND = "certificate"
"""The kind of its principals."""

# To read one takes longer than all else that a request needs.
_REMEMBERED = 1000


class ClientCertificates:
    """An ``Authenticator`` of certificates that have been checked: it finds the name.

    That is the common name, as in Kubernetes. Rules may ask for more by claims: ``dns``, ``email``, ``uri`` (lists),
    ``organization`` (a list), ``issuer`` (RFC 4514) and ``serial`` (hexadecimal digits).
    """

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Whose certificate it is.

        Raises:
            BadCredentials: it is none, names nobody, or its time is not now.
        """
        if not isinstance(credentials, ClientCertificate):
            return None
        principal, begins, ends = _read(credentials.content)
        if not begins <= datetime.now(UTC) <= ends:
            raise BadCredentials("the certificate is not valid now")
        return principal


@lru_cache(_REMEMBERED)
def _read(content: bytes) -> tuple[Principal, datetime, datetime]:
    load = x509.load_pem_x509_certificate if content.startswith(b"-----") else x509.load_der_x509_certificate
    try:
        certificate = load(content)
        claims = _claims(certificate)
        names = _attributes(certificate, NameOID.COMMON_NAME)
    except ValueError:
        raise BadCredentials("the certificate cannot be read") from None
    if len(names) != 1 or not names[0].isprintable():
        raise BadCredentials("the certificate has no common name, or several")
    return Principal(KIND, names[0], claims), certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _claims(certificate: x509.Certificate) -> dict[str, object]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    return {
        "dns": names.get_values_for_type(x509.DNSName),
        "email": names.get_values_for_type(x509.RFC822Name),
        "uri": names.get_values_for_type(x509.UniformResourceIdentifier),
        "organization": _attributes(certificate, NameOID.ORGANIZATION_NAME),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
    }


def _attributes(certificate: x509.Certificate, kind: x509.ObjectIdentifier) -> Sequence[str]:
    return [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(kind)]
