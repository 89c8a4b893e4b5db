"""The catalog of repositories. Spec: Docker Registry HTTP API v2, "Listing Repositories"."""

import asyncio

from ferro_oci_server.core.access import OPEN, Access
from ferro_oci_server.core.pages import Page
from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["Catalog"]

# How many are read at once where some are not shown: what is read behind a place to skip from is read in vain.
_STEP = 100


class Catalog:
    """Lists repositories, sorted by their bytes."""

    def __init__(self, meta: RegistryMeta) -> None:
        self._meta = meta

    async def list(self, after: str, limit: int, access: Access = OPEN) -> Page[RepositoryName]:
        """Up to ``limit`` repositories behind ``after`` that ``access`` shows.

        Where it can tell what to skip, a page costs what is on it, however many repositories it does not show.
        """
        if await access.may_list(None):
            return Page.cut(await self._meta.list_repositories(after, limit + 1), limit)
        found: list[RepositoryName] = []
        position = access.next_listed(after)
        while position is not None and len(found) <= limit:
            names = await self._meta.list_repositories(position, _STEP)
            position = await _take(names, found, access)
            # A long way to the next name that is shown must not hold up other requests.
            await asyncio.sleep(0)
        return Page.cut(found[: limit + 1], limit)


async def _take(names: list[RepositoryName], found: list[RepositoryName], access: Access) -> str | None:
    """Add those that are shown; return the place to go on from, or ``None`` where the list is at its end."""
    for name in names:
        if await access.may_list(name):
            found.append(name)
        elif (position := access.next_listed(name)) != name:
            return position
    return names[-1] if len(names) == _STEP else None
