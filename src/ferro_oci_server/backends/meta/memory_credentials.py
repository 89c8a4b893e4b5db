"""The credentials that a registry gives out, in memory."""

from ferro_oci_server.core.credentials import Credential, CredentialKind

__all__ = ["InMemoryCredentials"]


class InMemoryCredentials:
    """Keeps credentials for one process."""

    def __init__(self) -> None:
        self._credentials: dict[tuple[CredentialKind, str], Credential] = {}

    async def add_credential(self, credential: Credential) -> bool:
        """Keep a credential; ``False`` where there is one of its kind and key, which stays as it is."""
        return self._credentials.setdefault((credential.kind, credential.key), credential) is credential

    async def get_credential(self, kind: CredentialKind, key: str) -> Credential | None:
        """The credential, whether it has expired or not."""
        return self._credentials.get((kind, key))

    async def list_credentials(self, kind: CredentialKind, after: str, limit: int) -> list[Credential]:
        """Up to ``limit`` credentials of a kind whose keys sort behind ``after``."""
        found = [credential for credential in self._credentials.values() if credential.kind is kind]
        return sorted((it for it in found if it.key > after), key=lambda it: it.key)[:limit]

    async def delete_credential(self, kind: CredentialKind, key: str) -> bool:
        """Forget a credential; tell whether it was there."""
        return self._credentials.pop((kind, key), None) is not None

    async def expire_credentials(self, before: float) -> None:
        """Forget what expired earlier than ``before``."""
        expired = [key for key, it in self._credentials.items() if it.expires_at is not None and it.expires_at < before]
        for key in expired:
            del self._credentials[key]
