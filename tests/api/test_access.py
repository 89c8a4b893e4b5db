"""What an ``Access`` that middleware puts into the scope changes: the catalog, mounts, tags and sessions."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import pytest

from ferro_oci_server.api.app import Router, router
from ferro_oci_server.api.requests import ACCESS
from ferro_oci_server.core.access import Access, TagGuard
from ferro_oci_server.core.catalog import Catalog
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import image

from .pushing import NAME, Pushing, codes

pytestmark = pytest.mark.anyio

CONTENT = b"content"
DIGEST = Digest.of(CONTENT)


class Prefix:
    """A client that sees what begins with a prefix."""

    def __init__(self, prefix: str, owner: str = "alice", guard: TagGuard | None = None, *, skips: bool = True) -> None:
        self.prefix = prefix
        self.owner = owner
        self.tags = guard
        self.skips = skips

    async def may_pull(self, name: RepositoryName | None) -> bool:
        return name is not None and name.startswith(self.prefix)

    async def may_list(self, name: RepositoryName | None) -> bool:
        return await self.may_pull(name)

    def next_listed(self, after: str) -> str | None:
        if not self.skips or after.startswith(self.prefix):
            return after
        return self.prefix if after < self.prefix else None

    async def guard(self, name: RepositoryName, tags: Sequence[Tag]) -> TagGuard | None:
        return self.tags


def client_of(app: Router, access: Access) -> AsgiClient:
    async def gated(
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        await app({**scope, ACCESS: access}, receive, send)

    return AsgiClient(gated)


@pytest.fixture
def app(state: AppState) -> Router:
    return router(state)


@pytest.fixture
async def filled(push: Pushing, app: Router) -> Router:
    for name in ("a/1", "b/1", "b/2", "b/3", "b/4", "c/1"):
        await push.into(name).blob(CONTENT)
    return app


async def pages(client: AsgiClient, target: str) -> list[list[str]]:
    """Follow the links from a first page to the last."""
    found = []
    while True:
        reply = await client.request("GET", target)
        assert reply.status == 200
        found.append(json.loads(reply.body)["repositories"])
        link = reply.header("link")
        if link is None:
            return found
        target = link.partition("<")[2].partition(">")[0]


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize(
    ("prefix", "n", "expected"),
    [
        ("b/", 2, [["b/1", "b/2"], ["b/3", "b/4"]]),
        ("b/", 3, [["b/1", "b/2", "b/3"], ["b/4"]]),
        ("b/", 100, [["b/1", "b/2", "b/3", "b/4"]]),
        ("", 4, [["a/1", "b/1", "b/2", "b/3"], ["b/4", "c/1"]]),
        ("z", 10, [[]]),
        ("b/", 0, [[]]),
    ],
)
async def test_the_catalog_shows_what_the_client_is_shown(
    filled: Router, prefix: str, n: int, expected: list[list[str]], skips: bool
) -> None:
    client = client_of(filled, Prefix(prefix, skips=skips))
    assert await pages(client, f"/v2/_catalog?n={n}") == expected


@pytest.mark.parametrize("skips", [True, False])
async def test_a_long_list_is_paged_through_by_steps(state: AppState, skips: bool) -> None:
    for number in range(450):
        await state.uploads.push(RepositoryName(f"{'yn'[number % 2]}/{number:04}"), DIGEST, _pieces())
    client = client_of(router(state), Prefix("y/", skips=skips))
    found = await pages(client, "/v2/_catalog?n=100")
    assert [len(page) for page in found] == [100, 100, 25]
    assert [name for page in found for name in page] == [f"y/{number:04}" for number in range(0, 450, 2)]


async def test_what_can_be_skipped_is_not_read() -> None:
    asked: list[str] = []
    names = [RepositoryName(f"{letter}/{number:05}") for letter in "abc" for number in range(5000)]

    class Counting:
        async def list_repositories(self, after: str, limit: int) -> list[RepositoryName]:
            asked.append(after)
            return [name for name in names if name > after][:limit]

    page = await Catalog(Counting()).list("", 10, Prefix("b/"))  # type: ignore[arg-type]
    assert (page.entries, page.more) == (names[5000:5010], True)
    assert asked == ["b/"]


@pytest.mark.parametrize(
    ("prefix", "query", "status"),
    [
        ("other/", f"mount={DIGEST}&from=other/repo", 201),
        ("library/", f"mount={DIGEST}&from=other/repo", 202),
        # Which repositories hold it is not looked for, so there is none that it could be taken from.
        ("other/", f"mount={DIGEST}", 202),
    ],
)
async def test_a_blob_is_mounted_from_what_the_client_may_pull(
    push: Pushing, app: Router, prefix: str, query: str, status: int
) -> None:
    await push.into("other/repo").blob(CONTENT)
    client = client_of(app, Prefix(prefix))
    reply = await client.request("POST", f"/v2/{NAME}/blobs/uploads/?{query}")
    assert reply.status == status
    assert (await push.client.request("HEAD", f"/v2/{NAME}/blobs/{DIGEST}")).status == (200 if status == 201 else 404)


async def test_a_source_that_is_not_shown_is_like_one_that_is_not_there(push: Pushing, app: Router) -> None:
    await push.into("other/repo").blob(CONTENT)
    client = client_of(app, Prefix("library/"))
    hidden, missing = [
        await client.request("POST", f"/v2/{NAME}/blobs/uploads/?mount={DIGEST}&from={name}")
        for name in ("other/repo", "no/such")
    ]
    assert (hidden.status, hidden.body) == (missing.status, missing.body)
    assert [key for key, _ in hidden.headers] == [key for key, _ in missing.headers]


async def test_a_tag_that_may_not_be_moved_is_refused_where_it_is_and_where_it_is_named(
    push: Pushing, app: Router
) -> None:
    old, new = image(b"old"), image(b"new")
    await push.content(new)
    await push.content(old, "latest")
    client = client_of(app, Prefix("", guard=TagGuard(fixed=frozenset({Tag("latest")}))))
    headers = {"Content-Type": new.media_type}
    for path in ("latest", f"{Digest.of(new.body)}?tag=free&tag=latest"):
        reply = await client.request("PUT", f"/v2/{NAME}/manifests/{path}", headers=headers, body=new.body)
        assert (reply.status, codes(reply)) == (403, ["DENIED"])
    assert (await client.request("GET", f"/v2/{NAME}/manifests/latest")).body == old.body
    assert (await client.request("GET", f"/v2/{NAME}/manifests/free")).status == 404


async def test_the_session_of_another_is_not_there(app: Router) -> None:
    alice, bob = client_of(app, Prefix("", "alice")), client_of(app, Prefix("", "bob"))
    started = await alice.request("POST", f"/v2/{NAME}/blobs/uploads/")
    for method in ("GET", "HEAD", "PATCH", "PUT", "DELETE"):
        target = f"{started.location}?digest={DIGEST}" if method == "PUT" else started.location
        reply = await bob.request(method, target, body=CONTENT if method in ("PATCH", "PUT") else b"")
        assert (method, reply.status) == (method, 404)
        assert method == "HEAD" or codes(reply) == ["BLOB_UPLOAD_UNKNOWN"]
    closed = await alice.request("PUT", f"{started.location}?digest={DIGEST}", body=CONTENT)
    assert closed.status == 201


async def _pieces() -> AsyncIterator[bytes]:
    yield CONTENT
