"""The credentials that the registry gives out: their statements, and what changes them."""

from typing import Any

from sqlalchemy import and_, delete, select
from sqlalchemy.engine import Dialect

from ferro_oci_server.backends.meta.database import Transaction
from ferro_oci_server.backends.meta.schema import credentials
from ferro_oci_server.backends.meta.statements import Compiler, number, text
from ferro_oci_server.core.credentials import Credential, CredentialKind

__all__ = ["CredentialMutations", "credential_of"]


class CredentialMutations(Compiler):
    """The questions as statements, the changes as functions that run within a transaction."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        of_kind = credentials.c.kind == text("kind")
        this = and_(of_kind, credentials.c.key == text("key"))
        columns = (credentials.c.key, credentials.c.value, credentials.c.expires_at)
        self.one = self.compile(select(*columns).where(this))
        self.page = self.compile(
            select(*columns)
            .where(of_kind, credentials.c.key > text("after"))
            .order_by(credentials.c.key)
            .limit(number("limit"))
        )
        self._insert = self.compile(self.insert(credentials).on_conflict_do_nothing())
        self._delete = self.compile(delete(credentials).where(this))
        self._expire = self.compile(delete(credentials).where(credentials.c.expires_at < number("before")))

    async def add(self, transaction: Transaction, credential: Credential) -> bool:
        """Keep a credential, if there is none of its kind and key."""
        expires_at = credential.expires_at
        return await transaction.change(
            self._insert,
            kind=credential.kind,
            key=credential.key,
            value=credential.value,
            expires_at=None if expires_at is None else int(expires_at * 1000),
        )

    async def delete(self, transaction: Transaction, kind: CredentialKind, key: str) -> bool:
        """Forget a credential."""
        return await transaction.change(self._delete, kind=kind, key=key)

    async def expire(self, transaction: Transaction, before: float) -> None:
        """Forget what expired earlier."""
        await transaction.change(self._expire, before=int(before * 1000))


def credential_of(kind: CredentialKind, row: Any) -> Credential:
    """The credential of a row."""
    key, value, expires_at = row
    return Credential(kind, key, bytes(value), None if expires_at is None else expires_at / 1000)
