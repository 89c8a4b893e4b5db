"""What one principal may see and change, as the handlers ask it."""

from collections.abc import Sequence

from ferro_oci_server.auth.policy import Policy, Skipping
from ferro_oci_server.auth.principals import Action, Principal
from ferro_oci_server.core.access import TagGuard
from ferro_oci_server.oci.errors import Denied
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = ["PrincipalAccess"]


class PrincipalAccess:
    """The ``Access`` of one principal."""

    __slots__ = ("_policy", "_principal", "decided")

    def __init__(self, principal: Principal, policy: Policy) -> None:
        self._principal = principal
        self._policy = policy
        self.decided = ""
        """The rule that refused something while the request was served."""

    @property
    def owner(self) -> str | None:
        """Names the principal among those with upload sessions."""
        return self._principal.owner

    async def may_pull(self, name: RepositoryName | None) -> bool:
        """Whether the principal may read a repository; with ``None``, whether it may read any.

        The policy alone is asked, for what it lets the owner of a token pull: this is about the source of a mount, and
        clients ask for tokens for the repository that they push to, as the challenge says. A challenge that names both
        breaks some of them, and without a source there is no repository to name.
        """
        return (await self._policy.decide(self._principal, Action.PULL, name)).allowed

    async def may_list(self, name: RepositoryName | None) -> bool:
        """Whether the catalog shows a repository: where it may be listed and pulled."""
        listed = await self._policy.decide(self._principal, Action.CATALOG, name)
        return listed.allowed and (await self._policy.decide(self._principal, Action.PULL, name)).allowed

    def next_listed(self, after: str) -> str | None:
        """Skip what ``may_list`` refuses, if the policy can."""
        return self._policy.next_listed(self._principal, after) if isinstance(self._policy, Skipping) else after

    async def guard(self, name: RepositoryName, tags: Sequence[Tag]) -> TagGuard | None:
        """What the principal may do with tags.

        Raises:
            Denied: it may neither make nor move one of them.
        """
        fixed: list[Tag] = []
        existing: list[Tag] = []
        for tag in tags:
            create = await self._policy.decide(self._principal, Action.CREATE_TAG, name, tag)
            overwrite = await self._policy.decide(self._principal, Action.OVERWRITE_TAG, name, tag)
            if not create.allowed and not overwrite.allowed:
                self.decided = create.rule or overwrite.rule
                raise Denied(f"the tag {tag} may be neither made nor moved")
            if not overwrite.allowed:
                fixed.append(tag)
                self.decided = overwrite.rule
            elif not create.allowed:
                existing.append(tag)
                self.decided = create.rule
        return TagGuard(frozenset(fixed), frozenset(existing)) if fixed or existing else None
