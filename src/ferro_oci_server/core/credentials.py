"""Credentials that a registry gives out itself, as its metadata store keeps them.

They are in the metadata store, and not in files beside it, so that every worker and every replica knows at once what
was given out and what was taken back. No secret is among them: of what a client is given there is a digest, and of
keys that sign only the public half.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

__all__ = ["Credential", "CredentialKind", "Credentials"]


class CredentialKind(StrEnum):
    """What a credential is."""

    API_KEY = "api-key"
    """By the SHA-256 of what the client sends, in hexadecimal digits."""
    REFRESH_TOKEN = "refresh-token"  # noqa: S105 (the name of a kind)
    """The same."""
    SIGNING_KEY = "signing-key"
    """A public key, by its thumbprint."""


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential; ``key`` is plain text, and ``value`` whatever belongs to it."""

    kind: CredentialKind
    key: str
    value: bytes
    expires_at: float | None = None
    """Seconds since 1970; ``None`` for never."""


@runtime_checkable
class Credentials(Protocol):
    """What a ``RegistryMeta`` has besides, if the registry is to give out credentials."""

    async def add_credential(self, credential: Credential) -> bool:
        """Keep a credential; ``False`` where there is one of its kind and key, which stays as it is."""
        ...

    async def get_credential(self, kind: CredentialKind, key: str) -> Credential | None:
        """The credential, whether it has expired or not."""
        ...

    async def list_credentials(self, kind: CredentialKind, after: str, limit: int) -> list[Credential]:
        """Up to ``limit`` credentials of a kind whose keys sort behind ``after``."""
        ...

    async def delete_credential(self, kind: CredentialKind, key: str) -> bool:
        """Forget a credential; tell whether it was there."""
        ...

    async def expire_credentials(self, before: float) -> None:
        """Forget what expired earlier than ``before``, in seconds since 1970."""
        ...
