"""The catalog of repositories. Spec: Docker Registry HTTP API v2, "Listing Repositories"."""

from ferro_oci_server.core.pages import Page
from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["Catalog"]


class Catalog:
    """Lists repositories, sorted by their bytes."""

    def __init__(self, meta: RegistryMeta) -> None:
        self._meta = meta

    async def list(self, after: str, limit: int) -> Page[RepositoryName]:
        """Up to ``limit`` repositories behind ``after``."""
        return Page.cut(await self._meta.list_repositories(after, limit + 1), limit)
