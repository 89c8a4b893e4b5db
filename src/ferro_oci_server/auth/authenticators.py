"""Ways to find out who a client is."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ferro_oci_server.auth.credentials import Credentials
from ferro_oci_server.auth.errors import BadCredentials
from ferro_oci_server.auth.principals import Principal

__all__ = ["Authenticator", "Lasting", "Recalling", "authenticate", "find", "stamp"]


class Authenticator(Protocol):
    """One way. Yours may do anything, as long as it does not hold up the event loop."""

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Who has these credentials; ``None`` where they are not of the form that is looked for here.

        Raises:
            BadCredentials: they are of that form, and wrong; no other way is tried.
            AuthenticatorUnavailable: that cannot be known now.
        """
        ...


@runtime_checkable
class Lasting(Protocol):
    """What an ``Authenticator`` has besides, if its principals may stay logged in by a refresh token."""

    async def stamp(self, principal: Principal) -> str | None:
        """A text that changes with the credentials of one of its principals; ``None`` where it is none, or gone."""
        ...


@runtime_checkable
class Recalling(Protocol):
    """What an ``Authenticator`` has besides, if it knows bearer tokens again without looking at them anew."""

    def recall(self, token: bytes) -> Principal | None:
        """Whose token this is, where that has been found out and still holds; else ``None``."""
        ...


async def find(authenticators: Sequence[Authenticator], credentials: Credentials) -> Principal | None:
    """Ask one after the other; ``None`` where none of them looks at such credentials.

    Raises:
        BadCredentials: one does, and they are wrong.
        AuthenticatorUnavailable: one could not tell.
    """
    for authenticator in authenticators:
        principal = await authenticator.authenticate(credentials)
        if principal is not None:
            return principal
    return None


async def authenticate(authenticators: Sequence[Authenticator], credentials: Credentials) -> Principal:
    """The same, where somebody must have them.

    Raises:
        BadCredentials: none of them knows the client.
        AuthenticatorUnavailable: one could not tell.
    """
    principal = await find(authenticators, credentials)
    if principal is None:
        raise BadCredentials("nobody has these credentials")
    return principal


async def stamp(authenticators: Sequence[Authenticator], principal: Principal) -> str | None:
    """The stamp of a principal, of the first that has one."""
    for authenticator in authenticators:
        if isinstance(authenticator, Lasting):
            found = await authenticator.stamp(principal)
            if found is not None:
                return found
    return None
