"""A guarded registry: its policy, one client of each kind, and content that the tests ask for."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ferro_oci_server.api.app import Router, router
from ferro_oci_server.api.metrics import metrics_routes
from ferro_oci_server.api.probes import probe_routes
from ferro_oci_server.auth.api_keys import ApiKeys
from ferro_oci_server.auth.audit import AuditLog
from ferro_oci_server.auth.challenge import Challenge
from ferro_oci_server.auth.credentials import BasicCredentials, Credentials
from ferro_oci_server.auth.errors import BadCredentials
from ferro_oci_server.auth.gate import Gate
from ferro_oci_server.auth.policy_file import parse
from ferro_oci_server.auth.principals import Principal
from ferro_oci_server.auth.token_routes import token_routes
from ferro_oci_server.auth.tokens import TokenService
from ferro_oci_server.core.state import AppState
from ferro_oci_server.testing.client import AsgiClient, Reply

PASSWORD = "right-password"
SERVICE = "registry.test"

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


STAMPS = dict.fromkeys(USERS, "1")


class Names:
    """An authenticator as somebody else might write it: everybody has the same password."""

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        if not isinstance(credentials, BasicCredentials):
            return None
        if credentials.user not in USERS or credentials.password != PASSWORD:
            raise BadCredentials("wrong user or password")
        return Principal("user", credentials.user)

    async def stamp(self, principal: Principal) -> str | None:
        return STAMPS.get(principal.name) if principal.kind == "user" else None


def basic(user: str, password: str = PASSWORD) -> dict[str, str]:
    """The header of a user."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def whole(state: AppState, tokens: TokenService | None = None) -> Router:
    """Everything that there is to guard."""
    app = router(state).merge(probe_routes()).merge(metrics_routes())
    return app.merge(token_routes(tokens or token_service(state), audit=AuditLog()))


def token_service(state: AppState, policy: str = POLICY) -> TokenService:
    """The token service of a registry."""
    assert state.credentials is not None
    return TokenService(
        SERVICE, state.credentials, parse(policy.encode()).policy, [ApiKeys(state.credentials), Names()]
    )


def gate(state: AppState, app: Any = None, **options: Any) -> Gate:
    """The gate before a registry."""
    tokens = token_service(state)
    settings = {
        "policy": parse(POLICY.encode()).policy,
        "authenticators": [tokens, *tokens.authenticators],
        "audit": AuditLog(pulls=True),
        "challenge": Challenge(SERVICE, has_tokens=True),
    }
    return Gate(app or whole(state, tokens), **{**settings, "count_uploads": state.count_uploads, **options})


async def bearer(client: AsgiClient, user: str | None, *scopes: str) -> dict[str, str]:
    """The header of a token, for who shows a password or nothing."""
    query = "&".join(f"scope={scope}" for scope in scopes)
    reply = await client.request("GET", f"/token?service={SERVICE}&{query}", headers=basic(user) if user else {})
    assert reply.status == 200, reply
    return {"Authorization": f"Bearer {json.loads(reply.body)['token']}"}


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
