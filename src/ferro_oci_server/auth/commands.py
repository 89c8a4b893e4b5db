"""What the command does about access, beside serving: it explains decisions, and has the keys of robots."""

import asyncio
import json
from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from ferro_oci_server.auth.api_keys import ApiKey, ApiKeys
from ferro_oci_server.auth.assembly import policy_of
from ferro_oci_server.auth.policy import Decision, Policy
from ferro_oci_server.auth.principals import Action, Principal
from ferro_oci_server.config import Config, duration
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = ["can_i", "change_keys", "explain"]


def explain(
    policy: Policy, principal: Principal, action: Action, repository: RepositoryName | None, tag: Tag | None = None
) -> Decision:
    """What a policy decides, and by which rule. Not to be called where an event loop runs."""
    return asyncio.run(_decide(policy, principal, action, repository, tag))


async def _decide(
    policy: Policy, principal: Principal, action: Action, repository: RepositoryName | None, tag: Tag | None
) -> Decision:
    return await policy.decide(principal, action, repository, tag)


def can_i(config: Config, parsed: Namespace) -> tuple[Decision, int]:
    """Explain a decision of the policy that the settings name.

    Returns:
        It, and the exit status: 0 where it is allowed, 1 where it is not.

    Raises:
        FileProblem: the policy cannot be read, or makes no sense.
        ValueError, OciError: an argument makes no sense.
    """
    kind, colon, name = parsed.principal.partition(":")
    if not colon and kind != "anonymous":
        raise ValueError(f"expected anonymous, or KIND:NAME, such as user:alice, not {parsed.principal!r}")
    claims: Any = json.loads(parsed.claims)
    if not isinstance(claims, dict):
        raise ValueError("expected a JSON object as claims")
    policy = policy_of(config)
    repository = None if parsed.repository is None else RepositoryName.parse(parsed.repository)
    tag = None if parsed.tag is None else Tag.parse(parsed.tag)
    decision = explain(policy, Principal(kind, name, claims), _action(parsed.action), repository, tag)
    return decision, 0 if decision.allowed else 1


async def change_keys(state: AppState, parsed: Namespace) -> list[str]:
    """Make, list or revoke keys; return the lines to print, tab-separated.

    Raises:
        ValueError: an argument makes no sense, or the metadata store keeps no keys.
    """
    if state.credentials is None:
        raise ValueError("this metadata store keeps no keys")
    keys = ApiKeys(state.credentials)
    if parsed.what == "create":
        return [await keys.create(parsed.name, None if parsed.expires is None else duration(parsed.expires))]
    if parsed.what == "list":
        return [_line(key) for key in sorted(await keys.all(), key=lambda key: (key.name, key.created_at))]
    revoked = await keys.revoke(parsed.name)
    if not revoked:
        raise ValueError(f"there is no key {parsed.name}")
    return [_line(key) for key in revoked]


def _line(key: ApiKey) -> str:
    return "\t".join(
        [key.id, key.name, _date(key.created_at), "never" if key.expires_at is None else _date(key.expires_at)]
    )


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _action(text: str) -> Action:
    try:
        return Action(text)
    except ValueError:
        raise ValueError(f"expected one of {', '.join(Action)}, not {text!r}") from None
