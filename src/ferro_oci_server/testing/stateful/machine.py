"""What drives an application and a model side by side: the part of the state machine that takes no steps."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote

from hypothesis.stateful import RuleBasedStateMachine

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.testing.client import App, AsgiClient, Reply
from ferro_oci_server.testing.stateful.model import Answer, RegistryModel
from ferro_oci_server.testing.stateful.samples import REPOSITORIES, SBOM_TYPE, TAGS, UNKNOWN

__all__ = ["Machine", "Opened", "compare", "same"]

Opened = tuple[App, Callable[[], Coroutine[Any, Any, None]]]
"""An application, and what closes it."""

Result = TypeVar("Result")


class Machine(RuleBasedStateMachine):
    """The application, the model, and the way to ask both."""

    persistent = False
    """Whether an application that is opened again has what it had."""

    def __init__(self) -> None:
        super().__init__()
        self.model = RegistryModel()
        self.seen: dict[str, None] = {UNKNOWN: None}
        self.locations: dict[int, str] = {}
        self._failed = False
        self._runner = asyncio.Runner()
        self._open()

    def open_app(self) -> Opened:
        """Open an empty registry or, where it is ``persistent``, one with what this machine has pushed to it.

        Called outside of the event loop, the first time when the machine is made.
        """
        raise NotImplementedError

    def teardown(self) -> None:
        """Compare everything, again if it can be opened again, complete what is open, and close."""
        try:
            if not self._failed:
                self.run(self.check_everything())
                if self.persistent:
                    self.reopen()
                    self.run(self.check_everything())
                self.run(self.complete_everything())
        finally:
            self.run(self._close_app())
            self._runner.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do something asynchronous, and remember whether it failed: what comes later would only hide it."""
        try:
            return self._runner.run(work)
        except BaseException:
            self._failed = True
            raise

    def reopen(self) -> None:
        """Close the application, and open it on the same content."""
        self.run(self._close_app())
        self._open()

    def _open(self) -> None:
        app, self._close_app = self.open_app()
        self.client = AsgiClient(app)

    async def ask(self, expected: Answer, method: str, target: str, **request: Any) -> Reply:
        """Send a request, and compare what comes back with what is expected."""
        reply = await self.client.request(method, target, **request)
        compare(f"{method} {target}", reply, expected, is_head=method == "HEAD")
        return reply

    async def vanish(self, method: str, target: str, **request: Any) -> None:
        """Send a request and go away where its body would end. Nobody sees the answer; a failure would be logged."""
        reply = await self.client.request(method, target, vanish=True, **request)
        assert reply.status < 500, f"{method} {target}, cut off: {reply.status}"

    async def read(self, expected: Answer, target: str) -> None:
        """GET and HEAD."""
        await self.ask(expected, "GET", target)
        await self.ask(replace(expected, body=b""), "HEAD", target)

    async def pages(self, field: str, target: str, n: int | None) -> list[Any]:
        """All pages behind the first, by their links: full, but for the last."""
        expected = Answer(200, headers={"oci-filters-applied": "artifactType"} if "artifactType=" in target else {})
        entries: list[Any] = []
        following: str | None = target
        while following is not None:
            reply = await self.ask(expected, "GET", following)
            page = json.loads(reply.body)[field]
            link = reply.header("link")
            assert n is None or (len(page) == n if link else len(page) <= n), f"{following}: {len(page)} entries"
            assert page or not link, f"{following}: nothing, and a link behind it"
            assert not any(entry in entries for entry in page), f"{following}: what was on a page before"
            entries += page
            following = None if link is None else _following(link)
        return entries

    async def check_everything(self) -> None:
        """Compare all that can be asked for."""
        await self.check_lists()
        await self._check_pages("repositories", "/v2/_catalog", self.model.repositories)
        for name, held in self.model.repositories.items():
            await self._check_pages("tags", f"/v2/{name}/tags/list", held.tags)
        for name in REPOSITORIES:
            for tag in TAGS:
                await self.read(self.model.manifest(name, tag), f"/v2/{name}/manifests/{tag}")
            for digest in self.seen:
                await self.read(self.model.manifest(name, digest), f"/v2/{name}/manifests/{digest}")
                await self.read(self.model.blob(name, digest), f"/v2/{name}/blobs/{digest}")
                await self.check_referrers(name, digest)

    async def check_referrers(self, name: str, subject: str) -> None:
        """Compare what has this subject: one by one, and by type."""
        target = f"/v2/{name}/referrers/{subject}"
        expected = self.model.referrers(name, subject)
        same(target, await self.pages("manifests", f"{target}?n=1", 1), expected)
        for artifact_type in {each.get("artifactType", SBOM_TYPE) for each in expected}:
            found = await self.pages("manifests", f"{target}?n=1&artifactType={quote(artifact_type)}", 1)
            same(f"{target} of {artifact_type}", found, self.model.referrers(name, subject, artifact_type))

    async def complete_everything(self) -> None:
        """Complete what is open, by one algorithm and the other in turn, and read it."""
        for key, (name, content) in list(self.model.sessions.items()):
            digest = Digest.of(content, Algorithm.SHA256 if key % 2 else Algorithm.SHA512)
            expected = self.model.complete(name, key, digest)
            await self.ask(expected, "PUT", f"{self.locations[key]}?digest={digest}")
            await self.read(self.model.blob(name, digest), f"/v2/{name}/blobs/{digest}")

    async def check_lists(self) -> None:
        """Compare what is quickly asked for: the catalog, the tags, and the open sessions."""
        catalog = await self.pages("repositories", "/v2/_catalog", None)
        same("the catalog", catalog, sorted(self.model.repositories))
        for name, held in self.model.repositories.items():
            same(f"tags of {name}", await self.pages("tags", f"/v2/{name}/tags/list", None), sorted(held.tags))
            for tag in held.tags:
                expected = replace(self.model.manifest(name, tag), body=b"")
                await self.ask(expected, "HEAD", f"/v2/{name}/manifests/{tag}")
        for key, (name, _) in self.model.sessions.items():
            await self.ask(self.model.status(name, key), "GET", self.locations[key])

    async def _check_pages(self, field: str, target: str, held: Iterable[str]) -> None:
        """Compare a list by small pages, and from behind each of its entries."""
        entries = sorted(held)
        for n in (1, 2):
            same(f"{target}, {n} a page", await self.pages(field, f"{target}?n={n}", n), entries)
        for place, last in enumerate(entries, 1):
            same(f"{target} behind {last}", await self.pages(field, f"{target}?last={last}", None), entries[place:])


def compare(what: str, reply: Reply, expected: Answer, *, is_head: bool = False) -> None:
    """Fail where an answer is not as expected: by status, code of the error, headers that count, and body."""
    assert reply.status == expected.status, f"{what}: {reply.status}, not {expected.status}: {reply.body[:300]!r}"
    if expected.code and not is_head:
        codes = [error["code"] for error in json.loads(reply.body)["errors"]]
        assert codes == [expected.code], f"{what}: {codes}, not {expected.code}"
    for key, value in expected.headers.items():
        assert reply.header(key) == value, f"{what}: {key} is {reply.header(key)}, not {value}"
    if expected.body is not None:
        assert reply.body == expected.body, f"{what}: {reply.body[:100]!r}, not {expected.body[:100]!r}"


def same(what: str, found: object, expected: object) -> None:
    """Fail where two values are not equal."""
    assert found == expected, f"{what}: {found}, not {expected}"


def _following(link: str) -> str:
    """Where a ``Link`` to the next page leads."""
    target, relation = link.split(">; ")
    assert relation == 'rel="next"', link
    return target.removeprefix("<")
