"""What a client may see and change besides what its request names.

The services are open: whoever calls them may do what they do. Some of them reach further than the repository of the
request, though: a list of repositories, a mount, the tags that a manifest is pushed under, the session of somebody
else. These ask an ``Access``. Who made it knows who the client is; nothing here does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ferro_oci_server.oci.errors import Denied
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = ["OPEN", "Access", "TagGuard"]


@dataclass(frozen=True, slots=True)
class TagGuard:
    """Tags of a push with which not everything may be done. What there is is only known in its transaction."""

    fixed: frozenset[Tag] = frozenset()
    """May be made, and not be moved."""
    existing: frozenset[Tag] = frozenset()
    """May be moved, and not be made."""

    def check(self, tag: Tag, current: str | None, digest: str) -> None:
        """See whether ``tag``, which points at ``current`` or at nothing, may point at ``digest``.

        Pointing it where it points already moves nothing.

        Raises:
            Denied: it may not.
        """
        if current is None and tag in self.existing:
            raise Denied(f"the tag {tag} may not be made")
        if current not in (None, digest) and tag in self.fixed:
            raise Denied(f"the tag {tag} is there, and may not be moved")


class Access(Protocol):
    """What one client may see and change."""

    @property
    def owner(self) -> str | None:
        """Names the client among those with upload sessions, in plain characters; ``None`` where all are one."""
        ...

    async def may_pull(self, name: RepositoryName | None) -> bool:
        """Whether the client may read a repository; with ``None``, whether it may read any, whatever its name."""
        ...

    async def may_list(self, name: RepositoryName | None) -> bool:
        """Whether the catalog shows the client a repository; with ``None``, whether it shows every."""
        ...

    def next_listed(self, after: str) -> str | None:
        """Skip what ``may_list`` refuses.

        Returns:
            A place from ``after`` on in the order of names, with nothing between the two that the client is shown.
            ``None`` where nothing follows that it is shown.
        """
        ...

    async def guard(self, name: RepositoryName, tags: Sequence[Tag]) -> TagGuard | None:
        """What the client may do with tags of a repository; ``None`` for everything.

        Raises:
            OciError: it may do nothing with one of them.
        """
        ...


class _Open:
    """Everything, for everybody."""

    owner = None

    async def may_pull(self, name: RepositoryName | None) -> bool:
        return True

    async def may_list(self, name: RepositoryName | None) -> bool:
        return True

    def next_listed(self, after: str) -> str | None:
        return after

    async def guard(self, name: RepositoryName, tags: Sequence[Tag]) -> TagGuard | None:
        return None


OPEN: Access = _Open()
"""What every client has where nothing stands above the registry."""
