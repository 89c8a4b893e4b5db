"""Who a client is."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ferro_oci_server.oci.name import RepositoryName

__all__ = ["ANONYMOUS", "CATALOG_SCOPE", "Action", "Principal", "Scopes"]


class Action(StrEnum):
    """What can be allowed, in a repository or, the last, in the registry as a whole."""

    PULL = "pull"
    """Read manifests, blobs, tags and referrers, and take blobs from there into another repository."""
    PUSH = "push"
    """Bring blobs, and manifests by their digest."""
    CREATE_TAG = "create-tag"
    """Point a tag at something that a push brings, where there is no such tag."""
    OVERWRITE_TAG = "overwrite-tag"
    """The same where there is one that points elsewhere."""
    DELETE = "delete"
    """Remove tags, manifests and blobs."""
    CATALOG = "catalog"
    """See the repository in the catalog, where it may also be pulled."""
    METRICS = "metrics"
    """Read the metrics of the registry."""


CATALOG_SCOPE = ""
"""What stands for the catalog among the repositories of ``Scopes``: it is the name of none."""

Scopes = Mapping[str, frozenset[str]]
"""What a token is good for: of each repository the words ``pull``, ``push`` and ``delete``."""

# The Docker token protocol knows one word for all that a push does.
_WORDS = {
    Action.PULL: "pull",
    Action.PUSH: "push",
    Action.CREATE_TAG: "push",
    Action.OVERWRITE_TAG: "push",
    Action.DELETE: "delete",
}


@dataclass(frozen=True, slots=True, eq=False)
class Principal:
    """A client that is known, however it showed who it is.

    The kind says who vouches for the name (``user`` for the password file, ``key`` for our own keys, or an issuer), so
    that a name which somebody may choose at one of them is nobody's at another.
    """

    kind: str
    name: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)
    """What its issuer says of it."""
    scopes: Scopes | None = None
    """What its token is good for; ``None`` where it has none, and may do whatever the policy allows."""
    identity: str = field(init=False)
    """The same for two principals exactly where no policy tells them apart."""

    def __post_init__(self) -> None:
        identity = str(self)
        if self.claims:
            text = json.dumps(self.claims, sort_keys=True, separators=(",", ":"))
            identity += "#" + hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
        object.__setattr__(self, "identity", identity)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @property
    def is_anonymous(self) -> bool:
        """Whether it is nobody in particular."""
        return self.kind == "anonymous"

    @property
    def owner(self) -> str:
        """Names it among those with upload sessions."""
        return hashlib.sha256(str(self).encode("utf-8", "backslashreplace")).hexdigest()[:32]

    def has_scope(self, action: Action, repository: RepositoryName | None) -> bool:
        """Whether its token, if it has one, is good for this."""
        if self.scopes is None:
            return True
        if action is Action.CATALOG:
            return CATALOG_SCOPE in self.scopes
        return repository is not None and _WORDS.get(action) in self.scopes.get(repository, ())


ANONYMOUS = Principal("anonymous")
"""Who a client is that does not say."""
