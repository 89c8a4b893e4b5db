"""A guarded registry: its policy, one client of each kind, and content that the tests ask for."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from ferro_oci_server.api.app import Router, router
from ferro_oci_server.api.metrics import metrics_routes
from ferro_oci_server.api.probes import probe_routes
from ferro_oci_server.auth.audit import AuditLog
from ferro_oci_server.auth.credentials import BasicCredentials, Credentials
from ferro_oci_server.auth.errors import BadCredentials
from ferro_oci_server.auth.gate import Gate
from ferro_oci_server.auth.policy_file import parse
from ferro_oci_server.auth.principals import Principal
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.client import AsgiClient, Reply

PASSWORD = "right-password"

POLICY = """
[[rules]]
who = ["everyone"]
actions = ["pull", "catalog"]
repositories = ["public/*"]

[[rules]]
who = ["user:reader", "user:pusher", "user:mover", "user:remover", "user:lister"]
actions = ["pull"]
repositories = ["private/*"]

[[rules]]
who = ["user:pusher", "user:mover"]
actions = ["push"]
repositories = ["private/*"]

[[rules]]
who = ["user:pusher"]
actions = ["create-tag"]
repositories = ["private/*"]

[[rules]]
who = ["user:mover"]
actions = ["overwrite-tag"]
repositories = ["private/*"]

[[rules]]
who = ["user:remover"]
actions = ["delete"]
repositories = ["private/*"]

[[rules]]
who = ["user:lister"]
actions = ["catalog"]
repositories = ["private/*"]

[[rules]]
who = ["user:monitor"]
actions = ["metrics"]

[[rules]]
who = ["user:admin"]
actions = ["*", "metrics"]
repositories = ["*"]
"""

USERS = ("stranger", "reader", "pusher", "mover", "remover", "lister", "monitor", "admin")


class Names:
    """An authenticator as somebody else might write it: everybody has the same password."""

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        if not isinstance(credentials, BasicCredentials):
            return None
        if credentials.user not in USERS or credentials.password != PASSWORD:
            raise BadCredentials("wrong user or password")
        return Principal("user", credentials.user)


def basic(user: str, password: str = PASSWORD) -> dict[str, str]:
    """The header of a user."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def whole(state: AppState) -> Router:
    """Everything that there is to guard."""
    return router(state).merge(probe_routes()).merge(metrics_routes())


def gate(state: AppState, app: Any = None, **options: Any) -> Gate:
    """The gate before a registry."""
    settings = {"policy": parse(POLICY.encode()).policy, "authenticators": [Names()], "audit": AuditLog(pulls=True)}
    return Gate(app or whole(state), **{**settings, "count_uploads": state.count_uploads, **options})


class Guarded:
    """A client that may say who it is."""

    def __init__(self, client: AsgiClient) -> None:
        self.client = client

    async def request(
        self,
        method: str,
        target: str,
        user: str | Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] = b"",
    ) -> Reply:
        """A request, by the name of who makes it or with its headers."""
        shown = basic(user) if isinstance(user, str) else user or {}
        return await self.client.request(method, target, headers={**shown, **(headers or {})}, body=body)
