"""The statements that count what a repository has, built and compiled like all others."""

from typing import Any

from sqlalchemy import Select, Table, func, select
from sqlalchemy.engine import Dialect

from ferro_oci_server.backends.meta.schema import blobs, manifests, repositories, repository_blobs, tags
from ferro_oci_server.backends.meta.statements import Compiler, Statement, text
from ferro_oci_server.core.quota import Resource

__all__ = ["UsageStatements"]


def _count_of(table: Table) -> Select[Any]:
    return (
        select(func.count())
        .select_from(repositories)
        .join(table, table.c.repository_id == repositories.c.id)
        .where(repositories.c.name == text("repository"))
    )


def _bytes() -> Select[Any]:
    return (
        select(func.coalesce(func.sum(blobs.c.size), 0))
        .select_from(repositories)
        .join(repository_blobs, repository_blobs.c.repository_id == repositories.c.id)
        .join(blobs, blobs.c.digest == repository_blobs.c.digest)
        .where(repositories.c.name == text("repository"), blobs.c.suspect == 0)
    )


class UsageStatements(Compiler):
    """The statements, each named for what it counts."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self.tag_count = self.compile(_count_of(tags))
        self.manifest_count = self.compile(_count_of(manifests))
        self.blob_bytes = self.compile(_bytes())

    def of(self, resource: Resource) -> Statement:
        """The one that counts a resource."""
        if resource is Resource.TAGS:
            return self.tag_count
        return self.manifest_count if resource is Resource.MANIFESTS else self.blob_bytes
