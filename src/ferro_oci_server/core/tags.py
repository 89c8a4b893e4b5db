"""Lists of tags. Spec: end-8a, end-8b."""

from ferro_oci_server.core.pages import Page
from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.oci.errors import NameUnknown
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = ["Tags"]


class Tags:
    """Lists tags, sorted by their bytes."""

    def __init__(self, meta: RegistryMeta) -> None:
        self._meta = meta

    async def list(self, name: RepositoryName, after: str, limit: int) -> Page[Tag]:
        """Up to ``limit`` tags behind ``after``.

        Raises:
            NameUnknown: the repository does not exist.
        """
        tags = await self._meta.list_tags(name, after, limit + 1)
        if tags is None:
            raise NameUnknown("this repository does not exist")
        return Page.cut(tags, limit)
