"""What rules come to."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferro_oci_server.auth.policy import RulePolicy
from ferro_oci_server.auth.policy_file import parse
from ferro_oci_server.auth.principals import ANONYMOUS, Action, Principal
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

pytestmark = pytest.mark.anyio

ALICE, BOB = Principal("user", "alice"), Principal("user", "bob")
KEY = Principal("key", "alice")
MAIN = Principal("github", "repo:org/app:ref:refs/heads/main", {"repository_id": "1", "ref": "refs/heads/main"})
BRANCH = Principal("github", "repo:org/app:ref:refs/heads/x", {"repository_id": "1", "ref": "refs/heads/x"})
POD = Principal("cluster", "system:x", {"kubernetes.io": {"namespace": "prod", "pod": {"name": "p"}}, "groups": ["a"]})

POLICY = """
[groups]
team = ["user:alice", "key:*"]

[issuers.github]
issuer = "https://ci.example"
audience = "registry"
keys_url = "https://ci.example/keys"

[issuers.cluster]
issuer = "https://cluster.example"
audience = "registry"
keys_file = "keys.json"

[[rules]]
name = "public"
who = ["everyone"]
actions = ["pull", "catalog"]
repositories = ["public/*"]

[[rules]]
name = "team"
who = ["group:team"]
actions = ["*"]
repositories = ["team/*"]

[[rules]]
name = "secret"
who = ["everyone"]
actions = ["*"]
repositories = ["team/secret/*"]
effect = "deny"

[[rules]]
name = "main"
who = ["github:*"]
claims = { repository_id = "1", ref = ["refs/heads/main", "refs/tags/*"] }
actions = ["push", "create-tag"]
repositories = ["apps/app"]

[[rules]]
name = "pods"
who = ["cluster:*"]
claims = { "kubernetes.io" = { namespace = "prod" }, groups = "a" }
actions = ["pull"]
repositories = ["apps/*"]

[[rules]]
name = "signatures"
who = ["github:*"]
actions = ["overwrite-tag"]
tags = ["sha256-*"]
repositories = ["apps/*"]

[[rules]]
name = "monitoring"
who = ["key:prometheus"]
actions = ["metrics"]
"""


@pytest.fixture(scope="module")
def policy() -> RulePolicy:
    return parse(POLICY.encode()).policy


@pytest.mark.parametrize(
    ("principal", "action", "repository", "tag", "rule"),
    [
        (ANONYMOUS, Action.PULL, "public/a", None, "public"),
        (ALICE, Action.PULL, "public/a/b", None, "public"),
        (ANONYMOUS, Action.PULL, "public", None, None),
        (ANONYMOUS, Action.PUSH, "public/a", None, None),
        (ALICE, Action.DELETE, "team/a", None, "team"),
        # The name is that of a key, too: whoever vouches for it is a part of who it is.
        (KEY, Action.DELETE, "team/a", None, "team"),
        (BOB, Action.PULL, "team/a", None, None),
        (ALICE, Action.PULL, "team/secret/a", None, "!secret"),
        (MAIN, Action.PUSH, "apps/app", None, "main"),
        (MAIN, Action.CREATE_TAG, "apps/app", "v1", "main"),
        (MAIN, Action.OVERWRITE_TAG, "apps/app", "v1", None),
        (MAIN, Action.OVERWRITE_TAG, "apps/app", "sha256-1.sig", "signatures"),
        (MAIN, Action.OVERWRITE_TAG, "apps/app", None, None),
        (BRANCH, Action.PUSH, "apps/app", None, None),
        (POD, Action.PULL, "apps/x", None, "pods"),
        (Principal("cluster", "x", {"kubernetes.io": {"namespace": "dev"}}), Action.PULL, "apps/x", None, None),
        (Principal("cluster", "x", {"kubernetes.io": "prod", "groups": ["a"]}), Action.PULL, "apps/x", None, None),
        (Principal("user", "x", dict(MAIN.claims)), Action.PUSH, "apps/app", None, None),
        (Principal("key", "prometheus"), Action.METRICS, None, None, "monitoring"),
        (Principal("key", "prometheus"), Action.PUSH, None, None, "!secret"),
        (ANONYMOUS, Action.METRICS, None, None, None),
        (ANONYMOUS, Action.PULL, None, None, "!secret"),
    ],
)
async def test_a_rule_decides(
    policy: RulePolicy, principal: Principal, action: Action, repository: str | None, tag: str | None, rule: str | None
) -> None:
    name = None if repository is None else RepositoryName(repository)
    decision = await policy.decide(principal, action, name, None if tag is None else Tag(tag))
    expected = (rule is not None and not rule.startswith("!"), (rule or "").lstrip("!"))
    assert (decision.allowed, decision.rule) == expected
    again = await policy.decide(principal, action, name, None if tag is None else Tag(tag))
    assert again == decision


async def test_an_empty_policy_allows_nothing() -> None:
    policy = parse(b"").policy
    for action in Action:
        assert not (await policy.decide(ALICE, action, RepositoryName("a"))).allowed
    assert not (await policy.may_list_any(ALICE)).allowed


async def test_everything_everywhere_is_allowed_where_a_rule_says_so_and_none_forbids_a_part() -> None:
    rule = '[[rules]]\nwho = ["everyone"]\nactions = ["pull"]\nrepositories = ["*"]\n'
    assert (await parse(rule.encode()).policy.decide(ALICE, Action.PULL, None)).allowed
    rule += '[[rules]]\nwho = ["user:alice"]\nactions = ["pull"]\nrepositories = ["x"]\neffect = "deny"\n'
    assert not (await parse(rule.encode()).policy.decide(ALICE, Action.PULL, None)).allowed
    assert (await parse(rule.encode()).policy.decide(BOB, Action.PULL, None)).allowed


RULES = st.lists(
    st.tuples(
        st.sampled_from(["pull", "catalog", "*"]),
        st.sampled_from(["*", "a*", "a/*", "a/b", "b", "*b", "b/*a", "b*"]),
        st.sampled_from(["allow", "allow", "deny"]),
    ),
    max_size=5,
)


NAMES = ["a", "a/a", "a/b", "aa", "ab", "b", "b/a", "b/b", "ba"]


@given(RULES, st.text("ab/", max_size=4))
def test_nothing_that_is_shown_is_skipped(rules: list[tuple[str, str, str]], after: str) -> None:
    text = "".join(
        f'[[rules]]\nwho = ["everyone"]\nactions = ["{action}"]\nrepositories = ["{pattern}"]\neffect = "{effect}"\n'
        for action, pattern, effect in rules
    )
    policy = parse(text.encode()).policy

    async def shown(name: str) -> bool:
        decisions = [
            await policy.decide(ALICE, action, RepositoryName(name)) for action in (Action.CATALOG, Action.PULL)
        ]
        return all(decision.allowed for decision in decisions)

    place = policy.next_listed(ALICE, after)
    assert place is None or place >= after
    following = [name for name in NAMES if name > after and asyncio.run(shown(name))]
    assert place is not None or not following
    assert all(name > (place or "") for name in following)


def test_a_policy_file_that_is_quoted_in_the_documentation_is_one() -> None:
    text = (Path(parse.__code__.co_filename)).read_text(encoding="utf-8").split('"""')[1]
    example = "\n".join(line.removeprefix("    ") for line in text.splitlines() if line.startswith("    "))
    assert len(parse(example.encode()).policy.rules) == 2
