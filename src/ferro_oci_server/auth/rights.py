"""What a request needs: one table over the routes and their methods.

What is not in the table is served to nobody, so that a route which is added without a row here is not open by mistake.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ferro_oci_server.api import routes
from ferro_oci_server.api.routes import Target
from ferro_oci_server.auth.principals import Action
from ferro_oci_server.oci.errors import EndpointUnknown, MethodNotAllowed

__all__ = ["LOGIN", "OPEN", "REGISTRY", "RIGHTS", "TOKEN", "Need", "need"]

TOKEN = "/token"  # noqa: S105 (a path)
"""Where tokens are given out: whoever comes shows there who it is."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one request needs."""

    action: Action | None = None
    """An action in the repository of the path, or in the registry; ``None`` where none is needed."""
    login: bool = False
    """Whether the client must be known, though no action is needed."""

    @property
    def scope(self) -> str:
        """The words that a client is to ask a token for."""
        if self.action in (Action.PUSH, Action.CREATE_TAG, Action.OVERWRITE_TAG):
            return "pull,push"
        return "" if self.action is None else str(self.action)


OPEN = Need()
LOGIN = Need(login=True)
_PULL, _PUSH, _DELETE = Need(Action.PULL), Need(Action.PUSH), Need(Action.DELETE)
_CATALOG, _METRICS = Need(Action.CATALOG), Need(Action.METRICS)

REGISTRY = frozenset({_CATALOG, _METRICS})
"""What is needed in no repository in particular."""

RIGHTS: Mapping[str, Mapping[str, Need]] = {
    routes.BASE: {"GET": LOGIN, "HEAD": LOGIN},
    routes.CATALOG: {"GET": _CATALOG, "HEAD": _CATALOG},
    routes.TAGS: {"GET": _PULL, "HEAD": _PULL},
    # Which tags a push may make or move is asked where it is known whether they are there.
    routes.MANIFEST: {"GET": _PULL, "HEAD": _PULL, "PUT": _PUSH, "DELETE": _DELETE},
    routes.REFERRERS: {"GET": _PULL, "HEAD": _PULL},
    routes.BLOB: {"GET": _PULL, "HEAD": _PULL, "DELETE": _DELETE},
    # From where a blob may be mounted is asked there: a source that is not shown is like one that is not there.
    routes.UPLOADS: {"POST": _PUSH},
    routes.UPLOAD: {"GET": _PUSH, "HEAD": _PUSH, "PATCH": _PUSH, "PUT": _PUSH, "DELETE": _PUSH},
    "/live": {"GET": OPEN, "HEAD": OPEN},
    "/healthz": {"GET": OPEN, "HEAD": OPEN},
    "/ready": {"GET": OPEN, "HEAD": OPEN},
    "/metrics": {"GET": _METRICS, "HEAD": _METRICS},
    TOKEN: {"GET": OPEN, "POST": OPEN},
}


def need(rights: Mapping[str, Mapping[str, Need]], target: Target, method: str) -> Need:
    """What a request needs.

    Raises:
        EndpointUnknown, MethodNotAllowed: the table does not have it, so nobody may do it.
    """
    methods = rights.get(target.pattern)
    if methods is None:
        raise EndpointUnknown("no endpoint has this path")
    found = methods.get(method)
    if found is None:
        raise MethodNotAllowed(sorted(methods))
    return found
