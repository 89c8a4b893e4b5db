"""What a client did and was told, and the check that the registry agrees.

    world   all that was acknowledged: fact -> value       maybe   the world, if the unanswered request took effect

1. A client sends one request at a time; its facts are its own. So after a fault the registry must show exactly
   ``world`` or exactly ``maybe``: nothing lost (I1), nothing wrong (I2), nothing by half (I3).
2. What a manifest refers to can be read where it is (I4), and nothing of it elsewhere (I6).
3. Whatever was asked has an answer, or an end of the connection, in time (I7).
4. The unanswered request is sent again; then the registry shows ``maybe`` (I8).
"""

import hashlib
import http.client
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from support.registry import Reply

__all__ = ["Change", "Client", "Fact", "Lost", "Recorder", "Unanswered", "Value", "World", "observe"]

ELSEWHERE = "nobody/else"
_SECONDS = 20.0

Value = bytes | str | int
World = dict["Fact", Value]
Change = Mapping["Fact", Value | None]


class Fact(NamedTuple):
    """Something that may be in a repository: a blob or manifest by digest, a tag, the offset of an upload."""

    kind: str
    repository: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind} {self.repository} {self.key[:24]}"

    def references(self, value: Value) -> list[tuple[str, str]]:
        """What a manifest with this content refers to: kinds and digests."""
        document = _document(self, value)
        blobs = [*document.get("layers", []), *([document["config"]] if "config" in document else [])]
        children = document.get("manifests", [])
        return [("blob", it["digest"]) for it in blobs] + [("manifest", it["digest"]) for it in children]

    def subject(self, value: Value) -> tuple[str, str] | None:
        """The repository and the digest of a manifest's subject, if it has one."""
        subject = _document(self, value).get("subject")
        return subject and (self.repository, subject["digest"])


class Lost(AssertionError):
    """Raised when the registry does not keep its contract."""


class Unanswered(Exception):
    """Raised when a request has no answer: the connection ended, or the answer is that something is broken."""


class Client:
    """Sends single requests, each on a connection of its own, so that any worker may get it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def request(
        self, method: str, target: str, body: bytes | Iterable[bytes] = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request and read all of its answer.

        Raises:
            Unanswered: there was none, or it ended early.
            Lost: none came in time.
        """
        connection = http.client.HTTPConnection(self.address, timeout=_SECONDS)
        try:
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        except TimeoutError as exc:
            raise Lost(f"I7: {method} {target} has no answer after {_SECONDS} s") from exc
        except (OSError, http.client.HTTPException) as exc:
            raise Unanswered(f"{method} {target}: {exc!r}") from exc
        finally:
            connection.close()

    def get(self, target: str) -> Reply | None:
        """Read something; ``None`` where it is not there."""
        reply = self.request("GET", target)
        if reply.status == 404:
            return None
        if reply.status not in (200, 204):
            raise Lost(f"I1: GET {target} is answered by {reply.status} {reply.body[:200]!r}")
        return reply


@dataclass(frozen=True)
class _Sent:
    method: str
    target: str
    body: bytes
    headers: Mapping[str, str]
    status: int
    change: Change
    halfway: Change

    def can_be_repeated(self, *, applied: bool) -> bool:
        """Whether a client may send it again blindly: a chunk without a range would be taken in once more."""
        return not applied or self.method != "PATCH" or "Content-Range" in self.headers

    def may_be_repeated_with(self, status: int, *, applied: bool) -> bool:
        """Whether a repetition may have this answer."""
        if status == self.status:
            return True
        if not applied:
            return False
        if self.method == "PATCH":
            return status == 416
        return status == 404 and (self.method == "DELETE" or "/blobs/uploads/" in self.target)


@dataclass
class Recorder:
    """A client that remembers what it was told."""

    client: Client
    world: World = field(default_factory=dict)
    known: set[Fact] = field(default_factory=set)
    checks: int = 0
    _pending: _Sent | None = None

    def do(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        status: int,
        change: Change | None = None,
        halfway: Change | None = None,
    ) -> Reply:
        """Send a request that must be answered by ``status``, and does to the world what ``change`` says.

        Where it ends early, it may have done ``halfway``, from where it can be gone on.

        Raises:
            Unanswered: nobody knows whether it was done.
        """
        sent = self._pending = _Sent(method, target, body, headers or {}, status, change or {}, halfway or {})
        self.known.update(sent.change)
        reply = self.client.request(method, target, body, headers)
        if reply.status >= 500:
            raise Unanswered(f"{method} {target}: {reply.status}")
        if reply.status != status:
            raise Lost(f"I1: {method} {target} is answered by {reply.status} {reply.body[:200]!r}, not by {status}")
        self._pending = None
        self.learn(sent.change)
        return reply

    def learn(self, change: Change) -> None:
        """Take for true what was not asked for, such as the name of a new upload."""
        self.known.update(change)
        self.world = _after(self.world, change)

    def forget_uploads(self) -> None:
        """Expect nothing more of uploads, and of what was unanswered: they were dropped, and that was told."""
        self._pending = None
        self.known = {fact for fact in self.known if fact.kind != "upload"}
        self.world = {fact: value for fact, value in self.world.items() if fact.kind != "upload"}

    def forget(self, facts: Iterable[Fact]) -> None:
        """Expect nothing more of these."""
        self.known.difference_update(facts)
        self.world = {fact: value for fact, value in self.world.items() if fact in self.known}

    def settle(self) -> None:
        """After a fault: see what the registry shows, send the unanswered request again, and see what that did."""
        sent = self._pending
        old = self.world
        new = old if sent is None else _after(old, sent.change)
        between = old if sent is None else _after(old, sent.halfway)
        observed = observe(self.client, self.known)
        self.checks += 1
        if observed not in (old, between, new):
            raise Lost(f"neither before nor after {sent and (sent.method, sent.target)}: {_difference(old, observed)}")
        self.world = observed
        if sent is not None and sent.can_be_repeated(applied=observed == new):
            self._repeat(sent, new)
        # Not before: another fault may come in between.
        self._pending = None

    def check(self) -> None:
        """See that the registry shows the world, all of it, and nothing of it elsewhere."""
        self.checks += 1
        observed = observe(self.client, self.known)
        if observed != self.world:
            raise Lost(f"I1: {_difference(self.world, observed)}")
        for repository in {fact.repository for fact in self.known}:
            self._check_lists(repository)
        for fact, value in self.world.items():
            self._check_references(fact, value)
            self._check_elsewhere(fact)

    def _repeat(self, sent: _Sent, new: World) -> None:
        old, applied = self.world, self.world == new
        reply = self.client.request(sent.method, sent.target, sent.body, sent.headers)
        # What was done halfway may be refused, with the offset to go on from.
        goes_on = reply.status == 416 and bool(sent.halfway) and old == _after(old, sent.halfway)
        if not goes_on and not sent.may_be_repeated_with(reply.status, applied=applied):
            raise Lost(
                f"I8: {sent.method} {sent.target}, which was{'' if applied else ' not'} done, is answered by "
                f"{reply.status} {reply.body[:200]!r} when it is sent again"
            )
        expected = old if goes_on else new
        observed = observe(self.client, self.known)
        if observed != expected:
            raise Lost(f"I8: after {sent.method} {sent.target} was sent again: {_difference(expected, observed)}")
        self.world = observed

    def _check_lists(self, repository: str) -> None:
        reply = self.client.get(f"/v2/{repository}/tags/list")
        listed = set(json.loads(reply.body)["tags"]) if reply else set()
        tags = {fact.key for fact in self.world if fact.kind == "tag" and fact.repository == repository}
        if listed != tags:
            raise Lost(f"I3: the tags of {repository} are {listed}, not {tags}")
        referrers: dict[str, set[str]] = {fact.key: set() for fact in self.known if fact.kind == "manifest"}
        for fact, value in self.world.items():
            about = fact.subject(value)
            if about and fact.repository == repository:
                referrers.setdefault(about[1], set()).add(fact.key)
        for subject, digests in referrers.items():
            reply = self.client.get(f"/v2/{repository}/referrers/{subject}")
            found = [entry["digest"] for entry in json.loads(reply.body)["manifests"]] if reply else []
            if sorted(found) != sorted(digests):
                raise Lost(f"I3: the referrers of {subject} are {found}, not {digests}")

    def _check_references(self, fact: Fact, value: Value) -> None:
        for kind, digest in fact.references(value):
            if _read(self.client, Fact(kind, fact.repository, digest)) is None:
                raise Lost(f"I4: {fact} is there, and its {kind} {digest} is not")

    def _check_elsewhere(self, fact: Fact) -> None:
        if fact.kind in ("blob", "manifest") and _read(self.client, fact._replace(repository=ELSEWHERE)) is not None:
            raise Lost(f"I6: {fact} is visible in a repository that it was not pushed to")


def observe(client: Client, facts: Iterable[Fact]) -> World:
    """What of these facts the registry shows."""
    values = {fact: _read(client, fact) for fact in facts}
    return {fact: value for fact, value in values.items() if value is not None}


def _read(client: Client, fact: Fact) -> Value | None:
    folder = {"blob": "blobs", "manifest": "manifests", "tag": "manifests", "upload": "blobs/uploads"}[fact.kind]
    reply = client.get(f"/v2/{fact.repository}/{folder}/{fact.key}")
    if reply is None:
        return None
    if fact.kind == "upload":
        last = int(reply.headers["Range"].partition("-")[2])
        return last + 1 if last else 0
    digest = str(reply.headers["Docker-Content-Digest"])
    algorithm, _, encoded = digest.partition(":")
    if hashlib.new(algorithm, reply.body).hexdigest() != encoded or (fact.kind != "tag" and digest != fact.key):
        raise Lost(f"I2: the bytes of {fact} are not those of {digest}")
    return digest if fact.kind == "tag" else reply.body


def _document(fact: Fact, value: Value) -> dict[str, Any]:
    if fact.kind != "manifest" or not isinstance(value, bytes):
        return {}
    document: dict[str, Any] = json.loads(value)
    return document


def _after(world: World, change: Change) -> World:
    merged = {**world, **change}
    return {fact: value for fact, value in merged.items() if value is not None}


def _difference(expected: World, observed: World) -> str:
    lines = [
        f"{fact} is {_short(observed.get(fact))}, not {_short(expected.get(fact))}"
        for fact in sorted({*expected, *observed})
        if expected.get(fact) != observed.get(fact)
    ]
    return "; ".join(lines)


def _short(value: Value | None) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return "not there" if value is None else str(value)[:24]
