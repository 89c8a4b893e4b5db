"""A state machine that pushes, pulls, lists and deletes at random, and compares every answer with a model.

    class MyMachine(RegistryMachine):
        def open_app(self) -> Opened:
            state = AppState(InMemoryBlobStore(), InMemoryRegistryMeta())
            return router(state), state.close

    run_state_machine_as_test(MyMachine)                      # of hypothesis.stateful; or: MyMachine.TestCase

1. It knows HTTP, and no store: what it opens is any ASGI application. One that is ``persistent`` it restarts at times.
2. Names, tags and content come from small sets (``samples``), so that steps meet each other.
3. After each step the lists and the open sessions must be as in the model. At the end everything must: every digest
   that was ever seen is looked for in every repository.

A step may hold several requests at the same time. Which of them wins is the application's business; the model follows.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.errors import OciErrorCode as Code
from ferro_oci_server.testing.client import Reply
from ferro_oci_server.testing.images import CONFIG_TYPE, Content
from ferro_oci_server.testing.stateful.machine import Machine, Opened, compare, same
from ferro_oci_server.testing.stateful.model import Answer, Condition, hashed
from ferro_oci_server.testing.stateful.samples import (
    CHILDREN,
    CHUNKS,
    IMAGES,
    REPOSITORIES,
    SBOM_TYPE,
    SIGNATURE_TYPE,
    TAGS,
    UNKNOWN,
)

__all__ = ["Opened", "RegistryMachine"]


class Wanted(NamedTuple):
    """A page: how many entries, and behind which."""

    n: int | None
    last: str | None


def _known(found: Callable[[Machine], Iterable[Any]]) -> st.SearchStrategy[Any]:
    """Something that the machine knows now, which must be more than nothing."""
    return st.runner().flatmap(lambda machine: st.sampled_from(list(found(machine))))


def _held(kind: str) -> st.SearchStrategy[Any]:
    """A repository, and what is in it; now and then a wrong one."""

    def found(machine: Machine) -> Iterable[tuple[str, str]]:
        repositories = machine.model.repositories.items()
        return [(name, key) for name, held in repositories for key in getattr(held, kind)] or [nowhere]

    anything, nowhere = (_tags, ("a", "1")) if kind == "tags" else (_digests, ("a", UNKNOWN))
    return st.one_of(_known(found), _known(found), st.tuples(_repositories, anything))


def _subjects(machine: Machine) -> Iterable[tuple[str, str]]:
    repositories = machine.model.repositories.items()
    documents = [(name, json.loads(each.body)) for name, held in repositories for each in held.manifests.values()]
    return [(name, document["subject"]["digest"]) for name, document in documents if "subject" in document]


_repositories = st.sampled_from(REPOSITORIES)
_algorithms = st.sampled_from(Algorithm)
_tags = st.sampled_from(TAGS)
_chunks = st.sampled_from(sorted(CHUNKS))
_some_bytes = st.sampled_from(sorted(CHUNKS.keys() - {"nothing"}))
_images = st.sampled_from(sorted(IMAGES))
_digests = _known(lambda machine: machine.seen)
_sessions = _known(lambda machine: machine.model.sessions)
_verbs = st.sampled_from(("PATCH", "PUT"))
_pages = st.builds(
    Wanted, st.sampled_from((None, 0, 1, 2, 3)), st.none() | st.sampled_from((*TAGS, *REPOSITORIES, "0", "zz"))
)

_has_session = precondition(lambda self: bool(self.model.sessions))


class _UploadRules(Machine):
    """Sessions, and blobs that are pushed at once or mounted."""

    @rule(name=_repositories, algorithm=st.none() | _algorithms)
    def start_upload(self, name: str, algorithm: Algorithm | None) -> None:
        query = f"?digest-algorithm={algorithm}" if algorithm else ""
        self.run(self._start(name, query))

    @_has_session
    @rule(key=_sessions, chunk=_chunks, placed=st.booleans())
    def append(self, key: int, chunk: str, placed: bool) -> None:
        name, content, body = self._parts(key, chunk)
        placed = placed and body != b""
        expected = self.model.append(name, key, body, len(content) if placed else None)
        self.run(self._send(expected, "PATCH", key, body, _placed(content, body) if placed else {}))

    @_has_session
    @rule(key=_sessions, chunk=_some_bytes, off=st.sampled_from((-1_000_000, -1, 1, 5)), verb=_verbs)
    def append_elsewhere(self, key: int, chunk: str, off: int, verb: str) -> None:
        name, content, body = self._parts(key, chunk)
        start = max(0, len(content) + off)
        if start == len(content):
            start += 1
        expected = self.model.append(name, key, body, start)
        self.run(self._send(expected, verb, key, body, {"Content-Range": f"{start}-{start + len(body) - 1}"}))

    @_has_session
    @rule(key=_sessions, chunk=_some_bytes, off=st.sampled_from((-1, 1)), verb=_verbs)
    def append_other_length(self, key: int, chunk: str, off: int, verb: str) -> None:
        _, content, body = self._parts(key, chunk)
        stop = len(content) + len(body) + (off if len(body) > 1 else 1)
        headers = {"Content-Range": f"{len(content)}-{stop - 1}"}
        self.run(self._send(Answer(400, Code.SIZE_INVALID), verb, key, body, headers))

    @_has_session
    @rule(key=_sessions, chunk=_chunks, placed=st.booleans(), verb=_verbs)
    def vanish_in_chunk(self, key: int, chunk: str, placed: bool, verb: str) -> None:
        name, content, body = self._parts(key, chunk)
        target = self._target(verb, key, body)
        headers = _placed(content, body + b"and more") if placed else {}
        self.model.append(name, key, body)
        self.run(self.vanish(verb, target, headers=headers, body=_split(body)))

    @_has_session
    @rule(key=_sessions, chunk=st.just("nothing") | _chunks, placed=st.booleans(), algorithm=_algorithms)
    def complete(self, key: int, chunk: str, placed: bool, algorithm: Algorithm) -> None:
        name, content, body = self._parts(key, chunk)
        digest = self._see(Digest.of(content + body, algorithm))
        headers = _placed(content, body) if placed and body else {}
        expected = self.model.complete(name, key, digest, body)
        reply = self.run(self._send(expected, "PUT", key, body, headers, digest))
        self.run(self._follow(reply, name, digest))

    @_has_session
    @rule(key=_sessions, chunk=_chunks, digest=_digests)
    def complete_with_another_digest(self, key: int, chunk: str, digest: str) -> None:
        name, content, body = self._parts(key, chunk)
        wrong = digest if hashed(content + body, digest) != digest else UNKNOWN
        expected = self.model.complete(name, key, wrong, body)
        self.run(self._send(expected, "PUT", key, body, {}, wrong))

    @_has_session
    @rule(key=_sessions)
    def cancel(self, key: int) -> None:
        expected = self.model.cancel(self.model.sessions[key][0], key)
        self.run(self.ask(expected, "DELETE", self.locations[key]))

    @_has_session
    @rule(key=_sessions, other=_repositories, chunk=_chunks, verb=st.sampled_from(("GET", "PATCH", "PUT", "DELETE")))
    def use_session_of_another_repository(self, key: int, other: str, chunk: str, verb: str) -> None:
        name, _, body = self._parts(key, chunk)
        if other != name:
            target = self._target(verb, key, body).replace(f"/v2/{name}/", f"/v2/{other}/", 1)
            body = body if verb.startswith("P") else b""
            self.run(self.ask(self.model.status(other, key), verb, target, body=body))

    @precondition(lambda self: len(self.locations) > len(self.model.sessions))
    @rule(
        key=_known(lambda machine: machine.locations.keys() - machine.model.sessions.keys()),
        verb=st.sampled_from(("GET", "PATCH", "PUT", "DELETE")),
    )
    def use_ended_session(self, key: int, verb: str) -> None:
        target = f"{self.locations[key]}?digest={Digest.of(b'')}" if verb == "PUT" else self.locations[key]
        self.run(self.ask(Answer(404, Code.BLOB_UPLOAD_UNKNOWN), verb, target))

    @rule(name=_repositories, chunk=_chunks, algorithm=_algorithms, streamed=st.booleans())
    def push_blob(self, name: str, chunk: str, algorithm: Algorithm, streamed: bool) -> None:
        self.run(self.post(name, CHUNKS[chunk], algorithm, streamed=streamed))

    @rule(name=_repositories, chunk=_chunks, digest=_digests)
    def push_blob_with_another_digest(self, name: str, chunk: str, digest: str) -> None:
        content = CHUNKS[chunk]
        wrong = digest if hashed(content, digest) != digest else UNKNOWN
        expected = self.model.push(name, wrong, content)
        self.run(self.ask(expected, "POST", f"/v2/{name}/blobs/uploads/?digest={wrong}", body=content))

    @rule(name=_repositories, chunk=_chunks)
    def vanish_in_push(self, name: str, chunk: str) -> None:
        digest = self._see(Digest.of(CHUNKS[chunk]))
        self.run(self.vanish("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", body=_split(CHUNKS[chunk])))

    @rule(name=_repositories, blob=_held("blobs"), source=st.sampled_from((*REPOSITORIES, "nobody/has", "", None)))
    def mount(self, name: str, blob: tuple[str, str], source: str | None) -> None:
        holder, digest = blob
        source = holder if source == "" else source
        query = f"?mount={digest}" + (f"&from={source}" if source else "")
        expected = self.model.mount(name, digest, source)
        if expected.status == 202:
            self.run(self._start(name, query))
        else:
            reply = self.run(self.ask(expected, "POST", f"/v2/{name}/blobs/uploads/{query}"))
            self.run(self._follow(reply, name, digest))

    @_has_session
    @rule(key=_sessions, first=_some_bytes, late=_some_bytes, verb=_verbs, late_verb=_verbs)
    def overtake(self, key: int, first: str, late: str, verb: str, late_verb: str) -> None:
        """A chunk whose bytes come late is overtaken by another for the same place: one of them is taken."""
        self.run(self._overtake(key, (verb, CHUNKS[first]), (late_verb, CHUNKS[late])))

    @_has_session
    @rule(key=_sessions, late=_some_bytes, verb=_verbs)
    def cancel_under_chunk(self, key: int, late: str, verb: str) -> None:
        """A session is cancelled while a chunk is on its way: either is done, and the session knows which."""
        self.run(self._overtake(key, ("DELETE", b""), (verb, CHUNKS[late])))

    @rule(first=_repositories, second=_repositories, chunk=_some_bytes, algorithm=_algorithms)
    def push_twice_at_once(self, first: str, second: str, chunk: str, algorithm: Algorithm) -> None:
        pushes = [self.post(name, CHUNKS[chunk], algorithm, streamed=True) for name in (first, second)]
        self.run(_together(*pushes))

    async def post(self, name: str, content: bytes, algorithm: Algorithm, *, streamed: bool = False) -> None:
        """Push a blob in one request."""
        digest = self._see(Digest.of(content, algorithm))
        body = _split(content) if streamed else content
        expected = self.model.push(name, digest, content)
        reply = await self.ask(expected, "POST", f"/v2/{name}/blobs/uploads/?digest={digest}", body=body)
        await self._follow(reply, name, digest)

    def _see(self, digest: Digest) -> Digest:
        self.seen[digest] = None
        return digest

    def _parts(self, key: int, chunk: str) -> tuple[str, bytes, bytes]:
        """The repository of a session, what it has, and what is to come."""
        return (*self.model.sessions[key], CHUNKS[chunk])

    def _target(self, verb: str, key: int, body: bytes) -> str:
        """Where a request of a session goes; a closing PUT brings the right digest."""
        if verb != "PUT":
            return self.locations[key]
        return f"{self.locations[key]}?digest={self._see(Digest.of(self.model.sessions[key][1] + body))}"

    async def _start(self, name: str, query: str) -> None:
        key = len(self.locations)
        reply = await self.ask(self.model.start(name, key), "POST", f"/v2/{name}/blobs/uploads/{query}")
        self.locations[key] = reply.location

    async def _send(
        self, expected: Answer, verb: str, key: int, body: bytes, headers: Mapping[str, str], digest: str = UNKNOWN
    ) -> Reply:
        """PATCH or PUT a chunk: announced by its length where it says its place, else as a stream of pieces."""
        target = self.locations[key] + (f"?digest={digest}" if verb == "PUT" else "")
        reply = await self.ask(expected, verb, target, headers=headers, body=body if headers else _split(body))
        if reply.status == 202:
            self.locations[key] = reply.location
        return reply

    async def _follow(self, reply: Reply, name: str, digest: str) -> None:
        """What was taken in is where the answer says."""
        await self.ask(replace(self.model.blob(name, digest), body=b""), "HEAD", reply.location)

    async def _overtake(self, key: int, first: tuple[str, bytes], late: tuple[str, bytes]) -> None:
        name, content = self.model.sessions[key]
        asked, released = asyncio.Event(), asyncio.Event()

        async def late_body() -> AsyncIterator[bytes]:
            asked.set()
            await released.wait()
            yield late[1]

        late_request = asyncio.create_task(self._place(key, late[0], late[1], late_body()))
        await _first(late_request, asyncio.create_task(asked.wait()))
        first_request = asyncio.create_task(self._place(key, first[0], first[1], first[1]))
        # An application may let the one wait for the other.
        await asyncio.wait({first_request}, timeout=1)
        released.set()
        replies = await asyncio.gather(first_request, late_request)
        taken = [reply.status < 300 for reply in replies]
        assert taken.count(True) == 1, f"{first[0]} and a late {late[0]}: {[reply.status for reply in replies]}"
        verb, body = (first, late)[taken.index(True)]
        expected = {
            "PATCH": lambda: self.model.append(name, key, body),
            "PUT": lambda: self.model.complete(name, key, Digest.of(content + body), body),
            "DELETE": lambda: self.model.cancel(name, key),
        }[verb]()
        compare(f"{verb} of two", replies[taken.index(True)], expected)
        assert replies[taken.index(False)].status in {404, 409, 416}, replies[taken.index(False)]

    async def _place(self, key: int, verb: str, content: bytes, body: bytes | AsyncIterator[bytes]) -> Reply:
        headers = _placed(self.model.sessions[key][1], content) if verb != "DELETE" else {}
        return await self.client.request(verb, self._target(verb, key, content), headers=headers, body=body)


class _ManifestRules(_UploadRules):
    """Manifests, tags, and deletes."""

    @rule(name=_repositories, key=_images, tag=_tags)
    def put_by_tag(self, name: str, key: str, tag: str) -> None:
        self.run(self.put(name, IMAGES[key], tag))

    @rule(name=_repositories, key=_images, algorithm=_algorithms, tags=st.lists(_tags, unique=True, max_size=3))
    def put_by_digest(self, name: str, key: str, algorithm: Algorithm, tags: list[str]) -> None:
        self.run(self.put(name, IMAGES[key], Digest.of(IMAGES[key].body, algorithm), tags))

    @rule(name=_repositories, key=_images, digest=_digests)
    def put_by_another_digest(self, name: str, key: str, digest: str) -> None:
        wrong = digest if hashed(IMAGES[key].body, digest) != digest else UNKNOWN
        self.run(self.put(name, IMAGES[key], wrong))

    @rule(name=_repositories, keys=st.lists(_images, min_size=1, max_size=3), tag=_tags)
    def push_whole(self, name: str, keys: list[str], tag: str) -> None:
        for key in keys:
            self.run(self._push(name, key, tag))

    @rule(
        held=_held("tags"),
        other=_tags,
        key=_images,
        place=st.sampled_from(("tag", "digest", "digest and tags")),
        kind=st.sampled_from(("if-match", "if-none-match")),
        wanted=st.sampled_from(("*", "current", "another")),
    )
    def put_if(self, held: tuple[str, str], other: str, key: str, place: str, kind: str, wanted: str) -> None:
        name, tag = held
        content, digest = IMAGES[key], Digest.of(IMAGES[key].body)
        current = digest if place == "digest" else self.model.look(name).tags.get(tag, UNKNOWN)
        condition = (kind, {"*": "*", "current": current, "another": UNKNOWN}[wanted])
        tags = list(dict.fromkeys((tag, other))) if place == "digest and tags" else []
        self.run(self._push_parts(name, key))
        self.run(self.put(name, content, tag if place == "tag" else digest, tags, condition))

    @rule(name=_repositories, tag=_tags, first=_images, second=_images)
    def put_new_tag_twice_at_once(self, name: str, tag: str, first: str, second: str) -> None:
        self.run(self._put_twice(name, tag, first, second))

    @rule(name=_repositories, key=_images, tag=_tags)
    def vanish_in_manifest(self, name: str, key: str, tag: str) -> None:
        content = IMAGES[key]
        target = f"/v2/{name}/manifests/{tag}"
        self.run(self.vanish("PUT", target, headers={"Content-Type": content.media_type}, body=_split(content.body)))

    @rule(held=_held("tags"))
    def delete_tag(self, held: tuple[str, str]) -> None:
        name, tag = held
        self.run(self.ask(self.model.delete_tag(name, tag), "DELETE", f"/v2/{name}/manifests/{tag}"))

    @rule(held=_held("manifests"))
    def delete_manifest(self, held: tuple[str, str]) -> None:
        name, digest = held
        self.run(self.ask(self.model.delete_manifest(name, digest), "DELETE", f"/v2/{name}/manifests/{digest}"))

    @rule(held=_held("blobs"))
    def delete_blob(self, held: tuple[str, str]) -> None:
        name, digest = held
        self.run(self.ask(self.model.delete_blob(name, digest), "DELETE", f"/v2/{name}/blobs/{digest}"))

    async def put(
        self, name: str, content: Content, reference: str, tags: Iterable[str] = (), *conditions: Condition
    ) -> None:
        """PUT a manifest, by tag or by digest, and look for it where the answer says."""
        tags = list(tags)
        by_digest = ":" in reference
        digest = self._see(Digest(reference) if by_digest else Digest.of(content.body))
        expected = self.model.put(name, content, digest, tags if by_digest else [reference], *conditions)
        reply = await self._put(name, content, reference, tags, conditions)
        compare(f"PUT {reference} in {name}", reply, expected)
        if reply.status == 201:
            accepted = [tag.strip() for value in reply.all("oci-tag") for tag in value.split(",")]
            same("OCI-Tag", accepted, tags)
            await self.read(self.model.manifest(name, reference), reply.location)

    async def _put(
        self, name: str, content: Content, reference: str, tags: Iterable[str], conditions: Iterable[Condition]
    ) -> Reply:
        headers = {kind: value if value == "*" else f'"{value}"' for kind, value in conditions}
        query = "&".join(f"tag={tag}" for tag in tags)
        target = f"/v2/{name}/manifests/{reference}" + (f"?{query}" if query else "")
        headers["Content-Type"] = content.media_type
        return await self.client.request("PUT", target, headers=headers, body=content.body)

    async def _push(self, name: str, key: str, reference: str, tags: Iterable[str] = ()) -> None:
        await self._push_parts(name, key)
        await self.put(name, IMAGES[key], reference, tags)

    async def _push_parts(self, name: str, key: str) -> None:
        """Push what a manifest refers to."""
        for content in IMAGES[key].blobs:
            await self.post(name, content, IMAGES[key].algorithm)
        for child in CHILDREN.get(key, ()):
            await self._push(name, child, IMAGES[child].digest)

    async def _put_twice(self, name: str, tag: str, first: str, second: str) -> None:
        """Two clients make a tag that must be new: one of them does, if it is."""
        condition = ("if-none-match", "*")
        for key in (first, second):
            await self._push_parts(name, key)
        is_new = tag not in self.model.look(name).tags
        images = IMAGES[first], IMAGES[second]
        replies = await asyncio.gather(*(self._put(name, content, tag, (), [condition]) for content in images))
        statuses = [reply.status for reply in replies]
        assert sorted(statuses) == ([201, 412] if is_new else [412, 412]), f"a new tag twice: {statuses}"
        if is_new:
            content = images[statuses.index(201)]
            self.model.put(name, content, self._see(Digest.of(content.body)), [tag], condition)


class RegistryMachine(_ManifestRules):
    """Uploads, pushes, deletes and reads at random. Subclasses say how to open the application."""

    @initialize(name=_repositories, other=_repositories, key=_images, tags=st.sets(_tags, max_size=4))
    def begin(self, name: str, other: str, key: str, tags: set[str]) -> None:
        """Else most runs would be over before there is anything to go wrong."""
        self.run(self._push(name, key, IMAGES[key].digest, sorted(tags)))
        self.run(self._start(other, ""))
        self.append(0, "layer", False)

    @rule(held=_held("blobs"), start=st.integers(0, 3), length=st.sampled_from((1, 2, 100_000)))
    def read_part(self, held: tuple[str, str], start: int, length: int) -> None:
        name, digest = held
        content = self.model.look(name).blobs.get(digest, b"")
        expected = self.model.blob(name, digest)
        if expected.status == 200:
            stop = min(start + length, len(content))
            place = {"content-range": f"bytes {start}-{stop - 1}/{len(content)}"}
            expected = Answer(206, None, place, content[start:stop]) if start < stop else Answer(416, Code.SIZE_INVALID)
        headers = {"Range": f"bytes={start}-{start + length - 1}"}
        self.run(self.ask(expected, "GET", f"/v2/{name}/blobs/{digest}", headers=headers))

    @rule(held=st.one_of(_held("manifests"), _held("tags")))
    def read_manifest(self, held: tuple[str, str]) -> None:
        name, reference = held
        self.run(self.read(self.model.manifest(name, reference), f"/v2/{name}/manifests/{reference}"))

    @rule(name=st.sampled_from((*REPOSITORIES, "nobody/has")), page=_pages)
    def list_tags(self, name: str, page: Wanted) -> None:
        target = f"/v2/{name}/tags/list{_query(page)}"
        if name in self.model.repositories:
            self.run(self._compare_list("tags", target, page, self.model.look(name).tags))
        else:
            self.run(self.ask(Answer(404, Code.NAME_UNKNOWN), "GET", target))

    @rule(page=_pages)
    def list_repositories(self, page: Wanted) -> None:
        self.run(self._compare_list("repositories", f"/v2/_catalog{_query(page)}", page, self.model.repositories))

    @precondition(lambda self: bool(_subjects(self)))
    @rule(
        subject=_known(_subjects),
        artifact_type=st.sampled_from((None, SIGNATURE_TYPE, SBOM_TYPE, CONFIG_TYPE, "application/vnd.example.none")),
        n=st.sampled_from((None, 1, 2)),
    )
    def list_referrers(self, subject: tuple[str, str], artifact_type: str | None, n: int | None) -> None:
        name, digest = subject
        expected = self.model.referrers(name, digest, artifact_type)
        query = _query(Wanted(n, None), artifactType=artifact_type)
        found = self.run(self.pages("manifests", f"/v2/{name}/referrers/{digest}{query}", n))
        same(f"referrers of {digest} in {name}", found, expected)

    @precondition(lambda self: self.persistent)
    @rule()
    def restart(self) -> None:
        self.reopen()

    @invariant()
    def lists_are_right(self) -> None:
        self.run(self.check_lists())

    async def _compare_list(self, field: str, target: str, page: Wanted, held: Iterable[str]) -> None:
        expected = [entry for entry in sorted(held) if entry > (page.last or "")]
        found = await self.pages(field, target, page.n)
        same(target, found, expected if page.n != 0 else [])


def _placed(content: bytes, chunk: bytes) -> dict[str, str]:
    """The right ``Content-Range`` of a chunk behind what is there, as the specification spells it."""
    return {"Content-Range": f"{len(content)}-{len(content) + len(chunk) - 1}"}


def _split(content: bytes) -> list[bytes]:
    """Three pieces of different size."""
    return [content[:1], content[1 : len(content) // 2 + 1], content[len(content) // 2 + 1 :]]


def _query(page: Wanted, **more: str | None) -> str:
    values = {**page._asdict(), **more}.items()
    query = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in values if value is not None)
    return f"?{query}" if query else ""


async def _first(*tasks: asyncio.Task[Any]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    await asyncio.gather(*work)
