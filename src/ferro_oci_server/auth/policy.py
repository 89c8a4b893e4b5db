"""Who may do what: the question, and rules that answer it.

A rule allows or denies actions to some principals in some repositories. What no rule allows is denied, and what a rule
denies is denied whatever others allow, so the order of rules means nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ferro_oci_server.auth.patterns import Pattern, Spans
from ferro_oci_server.auth.principals import Action, Principal
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag

__all__ = ["Decision", "Policy", "Rule", "RulePolicy", "Skipping", "Who"]

# What is decided is remembered until so much is remembered: a few megabytes.
_MAX_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something may be done, and why."""

    allowed: bool
    rule: str
    """The rule that decided; empty where there was none."""

    def __str__(self) -> str:
        word = "allowed" if self.allowed else "denied"
        return f"{word} by {self.rule}" if self.rule else f"{word}: no rule allows it"


class Policy(Protocol):
    """Decides who may do what. Yours may ask anything: what it cannot find out it must not allow, or must raise."""

    async def decide(
        self, principal: Principal, action: Action, repository: RepositoryName | None = None, tag: Tag | None = None
    ) -> Decision:
        """Whether ``principal`` may do ``action`` in ``repository``; with ``None``, whether it may in every one.

        Of a tag that is made or moved, ``tag`` is its name. For ``METRICS`` there is no repository.
        """
        ...

    async def may_list_any(self, principal: Principal) -> Decision:
        """Whether the principal may ask for the catalog, which then shows what it may both list and pull."""
        ...


@runtime_checkable
class Skipping(Protocol):
    """What a ``Policy`` has besides, if it can tell where in a long catalog there is nothing to show."""

    def next_listed(self, principal: Principal, after: str) -> str | None:
        """As ``Access.next_listed``."""
        ...


@dataclass(frozen=True, slots=True)
class Who:
    """Some principals."""

    kind: str
    """That of principals, or ``everyone`` or ``authenticated``."""
    name: Pattern | None = None

    def includes(self, principal: Principal) -> bool:
        """Whether the principal is one of them."""
        if self.kind == "everyone":
            return True
        if self.kind == "authenticated":
            return not principal.is_anonymous
        return principal.kind == self.kind and (self.name is None or self.name.matches(principal.name))


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    name: str
    who: tuple[Who, ...]
    actions: frozenset[Action]
    repositories: tuple[Pattern, ...]
    allows: bool = True
    claims: Mapping[str, Any] | None = None
    tags: tuple[Pattern, ...] | None = None

    def concerns(self, principal: Principal) -> bool:
        """Whether it says anything of a principal."""
        return any(who.includes(principal) for who in self.who) and (
            self.claims is None or _has_claims(principal.claims, self.claims)
        )

    def covers(self, repository: RepositoryName | None, tag: Tag | None) -> bool:
        """Whether it says anything of a repository, or, with ``None``, of every one; and of a tag, if there is one."""
        if repository is None:
            if not any(pattern.is_any for pattern in self.repositories):
                return False
        elif not any(pattern.matches(repository) for pattern in self.repositories):
            return False
        return self.tags is None or (tag is not None and any(pattern.matches(tag) for pattern in self.tags))


class RulePolicy:
    """A ``Policy`` of rules. It does not change; what it has decided it remembers."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._decided: dict[tuple[str, Action, str | None, str | None], Decision] = {}
        self._concerned: dict[str, _Concerned] = {}

    async def decide(
        self, principal: Principal, action: Action, repository: RepositoryName | None = None, tag: Tag | None = None
    ) -> Decision:
        """Whether a principal may do something."""
        return self.decided(principal, action, repository, tag)

    def decided(
        self, principal: Principal, action: Action, repository: RepositoryName | None = None, tag: Tag | None = None
    ) -> Decision:
        """The same, for who does not wait."""
        key = principal.identity, action, repository, tag
        decision = self._decided.get(key)
        if decision is None:
            if len(self._decided) >= _MAX_REMEMBERED:
                self._decided.clear()
            decision = self._decided[key] = self._of(principal).decide(action, repository, tag)
        return decision

    async def may_list_any(self, principal: Principal) -> Decision:
        """Whether some rule allows a principal to see some repository in the catalog."""
        for rule in self._of(principal).rules:
            if rule.allows and Action.CATALOG in rule.actions:
                return Decision(True, rule.name)
        return Decision(False, "")

    def next_listed(self, principal: Principal, after: str) -> str | None:
        """Skip the catalog's stretches in which there is nothing that the principal is shown."""
        return self._of(principal).next_listed(after)

    def _of(self, principal: Principal) -> "_Concerned":
        concerned = self._concerned.get(principal.identity)
        if concerned is None:
            if len(self._concerned) >= _MAX_REMEMBERED:
                self._concerned.clear()
            rules = [rule for rule in self.rules if rule.concerns(principal)]
            concerned = self._concerned[principal.identity] = _Concerned(rules)
        return concerned


class _Concerned:
    """The rules that concern one principal."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self._listed = _spans(rules, Action.CATALOG)
        self._pulled = _spans(rules, Action.PULL)
        self._denied = Spans(
            pattern.span
            for rule in rules
            if not rule.allows and rule.actions & {Action.CATALOG, Action.PULL}
            for pattern in rule.repositories
            if pattern.is_span
        )

    def decide(self, action: Action, repository: RepositoryName | None, tag: Tag | None) -> Decision:
        of_action = [rule for rule in self.rules if action in rule.actions]
        if action is Action.METRICS:
            covering = of_action
        elif repository is None:
            # To be allowed in every repository, it may be denied in none.
            covering = [rule for rule in of_action if not rule.allows or rule.covers(None, tag)]
        else:
            covering = [rule for rule in of_action if rule.covers(repository, tag)]
        for rule in covering:
            if not rule.allows:
                return Decision(False, rule.name)
        return Decision(True, covering[0].name) if covering else Decision(False, "")

    def next_listed(self, after: str) -> str | None:
        place: str | None = after
        while place is not None:
            listed, pulled = self._listed.enter(place), self._pulled.enter(place)
            if listed is None or pulled is None:
                return None
            following = self._denied.leave(max(listed, pulled))
            if following == place:
                break
            place = following
        return place


def _spans(rules: Sequence[Rule], action: Action) -> Spans:
    return Spans(
        pattern.span for rule in rules if rule.allows and action in rule.actions for pattern in rule.repositories
    )


def _has_claims(claims: object, wanted: object) -> bool:
    """Whether claims are as wanted: of a table every entry, of a list of texts one, of a text its pattern."""
    if isinstance(wanted, Mapping):
        return isinstance(claims, Mapping) and all(
            key in claims and _has_claims(claims[key], value) for key, value in wanted.items()
        )
    if isinstance(claims, list):
        return any(_has_claims(claim, wanted) for claim in claims)
    if isinstance(wanted, tuple):
        return any(_has_claims(claims, value) for value in wanted)
    if isinstance(wanted, Pattern):
        return isinstance(claims, str) and wanted.matches(claims)
    # A claim of true is not one of 1.
    return type(claims) is type(wanted) and claims == wanted
