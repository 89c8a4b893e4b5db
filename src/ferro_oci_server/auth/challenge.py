"""What a client that must log in is told.

One challenge, not two: docker answers each challenge it finds, and gives up where it has no password for Basic though a
token would have done. With a token service it is Bearer, which lets anonymous clients in, too. Basic is taken
from whoever sends it without being asked.

Spec: RFC 6750 section 3; the Docker token protocol. It names the repository of the request alone: some clients cannot
read two scopes.
"""

from dataclasses import dataclass

from ferro_oci_server.api.requests import Request
from ferro_oci_server.auth.principals import Action
from ferro_oci_server.auth.rights import TOKEN, Need
from ferro_oci_server.oci.errors import Unauthorized

__all__ = ["Challenge"]


@dataclass(frozen=True, slots=True)
class Challenge:
    """How clients are asked to log in."""

    service: str = "ferro-oci-server"
    """Names the registry to its clients, and in its tokens."""
    has_tokens: bool = False
    """Whether there is a token service."""
    public_url: str | None = None
    """Where clients reach the registry; ``None`` for where the request says that it went."""

    def raised(self, request: Request, need: Need, message: str, error: str = "") -> Unauthorized:
        """The challenge of a request. Nothing in it tells whether what was asked for exists."""
        if not self.has_tokens:
            return Unauthorized(message, f'Basic realm="{self.service}", charset="UTF-8"')
        fields = {"realm": self.realm(request), "service": self.service}
        scope = _scope(request, need)
        if scope:
            fields["scope"] = scope
        if error:
            fields["error"] = error
        return Unauthorized(message, "Bearer " + ",".join(f'{key}="{value}"' for key, value in fields.items()))

    def realm(self, request: Request) -> str:
        """Where the token service is, on our own origin."""
        base = self.public_url or f"{request.scheme}://{request.header(b'host')}"
        return f"{base}{request.root}{TOKEN}"


def _scope(request: Request, need: Need) -> str:
    if need.action is Action.CATALOG:
        return "registry:catalog:*"
    return f"repository:{request.name}:{need.scope}" if need.action is not None and request.name else ""
