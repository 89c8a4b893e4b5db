"""The policy file: who may do what, and which issuers of tokens are trusted.

    [groups]
    deployers = ["user:alice", "key:deploy"]

    [issuers.github]
    issuer = "https://token.actions.githubusercontent.com"
    audience = "registry.example.com"
    keys_url = "https://token.actions.githubusercontent.com/.well-known/jwks"

    [[rules]]
    who = ["everyone"]
    actions = ["pull"]
    repositories = ["public/*"]

    [[rules]]
    name = "CI of the application"
    who = ["github:*"]
    claims = { repository_id = "123456", ref = "refs/heads/main" }
    actions = ["pull", "push", "create-tag"]
    repositories = ["apps/web"]

It is read as a whole, and every problem in it is told at once. What is not known is a problem, so that a word that is
misspelt does not silently allow or deny.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ferro_oci_server.auth.patterns import Pattern
from ferro_oci_server.auth.policy import Decision, Rule, RulePolicy, Who
from ferro_oci_server.auth.principals import Action, Principal
from ferro_oci_server.auth.watching import WatchedFile
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = ["Document", "IssuerSettings", "PolicyFile", "parse"]

_WORD = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_REPOSITORIES = re.compile(r"[a-z0-9._/*-]{1,255}", re.ASCII)
_TAGS = re.compile(r"[A-Za-z0-9._*-]{1,128}", re.ASCII)

_OWN_KINDS = frozenset({"user", "key", "certificate"})
_ALONE = frozenset({"everyone", "authenticated", "anonymous"})
_RESERVED = _OWN_KINDS | _ALONE | {"group"}
_WITHOUT_CLAIMS = _RESERVED - {"certificate"}

_ACTIONS = frozenset(map(str, Action))
_TAG_ACTIONS = frozenset({Action.CREATE_TAG, Action.OVERWRITE_TAG})

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """An issuer of tokens that is trusted, and where its keys are."""

    kind: str
    issuer: str
    audience: str
    keys_url: str | None = None
    keys_file: Path | None = None
    ca_file: Path | None = None
    token_file: Path | None = None
    name_claim: str = "sub"


@dataclass(frozen=True, slots=True)
class Document:
    """What a policy file says."""

    policy: RulePolicy
    issuers: tuple[IssuerSettings, ...] = ()


@dataclass
class _Reader:
    """Reads a document, and collects what is wrong with it."""

    problems: list[str] = field(default_factory=list)
    groups: dict[str, tuple[Who, ...]] = field(default_factory=dict)
    kinds: frozenset[str] = _OWN_KINDS

    def complain(self, where: str, problem: str) -> None:
        self.problems.append(f"{where}: {problem}")

    def table(self, where: str, value: object, known: Sequence[str]) -> dict[str, Any]:
        """A table that has known keys only."""
        if not isinstance(value, dict):
            self.complain(where, "expected a table")
            return {}
        for key in value:
            if key not in known:
                self.complain(where, f"there is no such key: {key}")
        return value

    def text(self, where: str, table: Mapping[str, Any], key: str, default: str | None = None) -> str:
        value = table.get(key, default)
        if not isinstance(value, str) or not value:
            self.complain(where, f"{key}: expected a text")
            return ""
        return value

    def texts(self, where: str, table: Mapping[str, Any], key: str) -> list[str]:
        value = table.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(it, str) for it in value):
            self.complain(where, f"{key}: expected a list of texts that is not empty")
            return []
        return value


def parse(content: bytes) -> Document:
    """Read a policy file.

    Raises:
        ValueError: it makes no sense; it has a line for every problem.
    """
    document = tomllib.loads(content.decode("utf-8"))
    reader = _Reader()
    for key in document.keys() - {"groups", "issuers", "rules"}:
        reader.complain(key, "there is no such table; there are groups, issuers and rules")
    issuers = _issuers(reader, document.get("issuers", {}))
    reader.kinds |= {issuer.kind for issuer in issuers}
    _groups(reader, document.get("groups", {}))
    rules = _rules(reader, document.get("rules", []))
    if reader.problems:
        raise ValueError("\n".join(reader.problems))
    return Document(RulePolicy(rules), tuple(issuers))


def _groups(reader: _Reader, value: object) -> None:
    if not isinstance(value, dict):
        reader.complain("groups", "expected a table")
        return
    for name in value:
        members = reader.texts("groups", value, name)
        reader.groups[name] = tuple(who for text in members for who in _who(reader, f"groups.{name}", text, {}))


def _who(reader: _Reader, where: str, text: str, groups: Mapping[str, tuple[Who, ...]]) -> tuple[Who, ...]:
    """Read ``everyone``, ``authenticated``, ``anonymous``, ``group:NAME`` or ``KIND:PATTERN``."""
    kind, colon, name = text.partition(":")
    if not colon and kind in _ALONE:
        return (Who(kind),)
    if kind == "group" and name in groups:
        return groups[name]
    if kind == "group":
        reader.complain(where, f"there is no group {name!r} here")
    elif kind not in reader.kinds or not name:
        kinds = ", ".join(sorted(f"{it}:NAME" for it in reader.kinds))
        reader.complain(where, f"expected everyone, authenticated, anonymous, group:NAME, {kinds}, not {text!r}")
    else:
        return (Who(kind, Pattern(name)),)
    return ()


def _rules(reader: _Reader, value: object) -> list[Rule]:
    if not isinstance(value, list):
        reader.complain("rules", "expected tables, each under [[rules]]")
        return []
    rules = [_rule(reader, f"rules[{number}]", table) for number, table in enumerate(value, start=1)]
    names = [rule.name for rule in rules]
    for name in sorted({name for name in names if names.count(name) > 1}):
        reader.complain("rules", f"the name {name!r} is there twice")
    return rules


def _rule(reader: _Reader, where: str, value: object) -> Rule:
    table = reader.table(where, value, ("name", "who", "claims", "actions", "repositories", "tags", "effect"))
    name = reader.text(where, table, "name", where)
    who = tuple(it for text in reader.texts(where, table, "who") for it in _who(reader, where, text, reader.groups))
    actions = _actions(reader, where, table)
    effect = table.get("effect", "allow")
    if effect not in ("allow", "deny"):
        reader.complain(where, "effect: expected allow or deny")
    needs_repositories = bool(actions - {Action.METRICS})
    repositories: tuple[Pattern, ...] = ()
    if needs_repositories or "repositories" in table:
        repositories = _patterns(reader, where, table, "repositories", _REPOSITORIES)
    tags = None
    if "tags" in table:
        tags = _patterns(reader, where, table, "tags", _TAGS)
        if not actions <= _TAG_ACTIONS:
            reader.complain(where, "tags: only rules for create-tag and overwrite-tag alone can have them")
    claims = _claims(reader, where, table["claims"]) if "claims" in table else None
    if claims is not None and (len({it.kind for it in who}) != 1 or who[0].kind in _WITHOUT_CLAIMS):
        # What a claim means is its issuer's to say.
        reader.complain(where, "claims: who must name one issuer, such as github:*, or certificate:*")
    return Rule(name, who, actions, repositories, effect == "allow", claims, tags)


def _actions(reader: _Reader, where: str, table: Mapping[str, Any]) -> frozenset[Action]:
    actions: set[Action] = set()
    for text in reader.texts(where, table, "actions"):
        if text == "*":
            # The metrics are of no repository, so whoever speaks of repositories does not mean them.
            actions |= set(Action) - {Action.METRICS}
        elif text in _ACTIONS:
            actions.add(Action(text))
        else:
            reader.complain(where, f"actions: expected {', '.join(Action)} or *, not {text!r}")
    return frozenset(actions)


def _patterns(
    reader: _Reader, where: str, table: Mapping[str, Any], key: str, grammar: "re.Pattern[str]"
) -> tuple[Pattern, ...]:
    texts = reader.texts(where, table, key)
    for text in texts:
        if grammar.fullmatch(text) is None:
            reader.complain(where, f"{key}: {text!r} matches none: they have other characters")
    return tuple(map(Pattern, texts))


def _claims(reader: _Reader, where: str, value: object) -> Any:
    """Claims as ``policy`` compares them: texts are patterns, and one of a list is enough."""
    if isinstance(value, dict) and value:
        return {key: _claims(reader, f"{where}.{key}", it) for key, it in value.items()}
    if isinstance(value, list) and value:
        return tuple(_claims(reader, where, it) for it in value)
    if isinstance(value, str) and value:
        return Pattern(value)
    if isinstance(value, bool | int):
        return value
    reader.complain(where, "claims: expected texts, numbers, true, false, lists or tables of them, not empty")
    return None


def _issuers(reader: _Reader, value: object) -> list[IssuerSettings]:
    if not isinstance(value, dict):
        reader.complain("issuers", "expected tables, each under [issuers.NAME]")
        return []
    issuers = [_issuer(reader, kind, table) for kind, table in value.items()]
    urls = [issuer.issuer for issuer in issuers]
    for url in sorted({url for url in urls if urls.count(url) > 1}):
        reader.complain("issuers", f"{url} is there twice")
    return issuers


def _issuer(reader: _Reader, kind: str, value: object) -> IssuerSettings:
    where = f"issuers.{kind}"
    if _WORD.fullmatch(kind) is None or kind in _RESERVED:
        reader.complain(where, "expected a word of lower-case letters, digits and hyphens that is not one of ours")
    known = ("issuer", "audience", "keys_url", "keys_file", "ca_file", "token_file", "name_claim")
    table = reader.table(where, value, known)
    if ("keys_url" in table) == ("keys_file" in table):
        reader.complain(where, "expected one of keys_url and keys_file")
    url = reader.text(where, table, "keys_url") if "keys_url" in table else None
    if url is not None and not _is_safe(url):
        reader.complain(where, "keys_url: expected https, or http on this machine")

    def path(key: str) -> Path | None:
        return Path(reader.text(where, table, key)) if key in table else None

    return IssuerSettings(
        kind,
        reader.text(where, table, "issuer"),
        reader.text(where, table, "audience"),
        url,
        path("keys_file"),
        path("ca_file"),
        path("token_file"),
        reader.text(where, table, "name_claim", "sub"),
    )


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


class PolicyFile:
    """A ``Policy`` in a file, which is read again when it changes."""

    def __init__(self, path: Path, on_change: Callable[[Document], None] | None = None) -> None:
        """Read the file; ``on_change`` is told what it says, now and whenever that is something else.

        Raises:
            FileProblem: it cannot be read, or makes no sense.
        """
        self._file = WatchedFile(path, parse)
        self._on_change = on_change
        self._told: Document | None = None
        self._tell(self._file.content)

    @property
    def document(self) -> Document:
        """What the file said when it was last looked at."""
        return self._file.content

    async def decide(
        self, principal: Principal, action: Action, repository: RepositoryName | None = None, tag: Tag | None = None
    ) -> Decision:
        """Whether a principal may do something."""
        document = self._file.content if self._file.is_fresh else await self.current()
        return document.policy.decided(principal, action, repository, tag)

    async def may_list_any(self, principal: Principal) -> Decision:
        """Whether some rule allows a principal to see some repository in the catalog."""
        return await (await self.current()).policy.may_list_any(principal)

    def next_listed(self, principal: Principal, after: str) -> str | None:
        """Skip the catalog's stretches in which there is nothing that the principal is shown."""
        return self._file.content.policy.next_listed(principal, after)

    async def current(self) -> Document:
        """What the file says now."""
        document = await self._file.current()
        if document is not self._told:
            self._tell(document)
        return document

    def _tell(self, document: Document) -> None:
        self._told = document
        if self._on_change is not None:
            self._on_change(document)
