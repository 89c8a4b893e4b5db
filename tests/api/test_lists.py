"""Lists of tags and of repositories, a page at a time. Spec: end-8a, end-8b; Docker Registry HTTP API v2."""

import json
import re
from typing import Any

import pytest

from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import image

from .pushing import NAME, Pushing, codes

pytestmark = pytest.mark.anyio

TAGS = sorted(["a", "A", "_", "0", "10", "2", "a-b", "a.b", "a_b", "aa", "b", "latest", "v1", "v1.0", "v10"])
REPOSITORIES = sorted(["a", "a/b", "a-b", "a/b/c", "b", "library/x", "a0", "z"])
LINK = re.compile(r'<(/[^>]+)>; rel="next"')


async def follow(client: AsgiClient, path: str) -> list[dict[str, Any]]:
    """All pages from here, as the links lead."""
    pages = []
    while True:
        reply = await client.request("GET", path)
        assert reply.status == 200, reply
        pages.append(json.loads(reply.body))
        link = reply.header("link")
        if link is None:
            return pages
        match = LINK.fullmatch(link)
        assert match is not None, link
        path = match[1]


@pytest.fixture
async def tagged(push: Pushing) -> AsgiClient:
    """A repository with ``TAGS``, and another with one more."""
    content = image(b"layer")
    await push.content(content)
    await push.manifest(content, f"{content.digest}?" + "&".join(f"tag={tag}" for tag in TAGS))
    await push.into("other/repo").content(content, "elsewhere")
    return push.client


@pytest.fixture
async def many(push: Pushing) -> AsgiClient:
    """A registry with ``REPOSITORIES``."""
    for name in REPOSITORIES:
        await push.into(name).content(image(), "v1")
    return push.client


async def test_all_tags_are_listed_by_their_bytes(tagged: AsgiClient) -> None:
    reply = await tagged.request("GET", f"/v2/{NAME}/tags/list")
    assert (reply.status, reply.header("content-type")) == (200, "application/json")
    assert json.loads(reply.body) == {"name": NAME, "tags": TAGS}
    assert reply.header("link") is None
    assert reply.header("content-length") == str(len(reply.body))


async def test_all_repositories_are_listed_by_their_bytes(many: AsgiClient) -> None:
    reply = await many.request("GET", "/v2/_catalog")
    assert (reply.status, json.loads(reply.body)) == (200, {"repositories": REPOSITORIES})
    assert reply.header("link") is None


async def test_a_new_registry_has_no_repositories(registry: AsgiClient) -> None:
    assert json.loads((await registry.request("GET", "/v2/_catalog")).body) == {"repositories": []}


@pytest.mark.parametrize("n", [1, 2, 4, 14, 15, 16, 1000])
async def test_links_lead_through_all_tags_once(tagged: AsgiClient, n: int) -> None:
    pages = await follow(tagged, f"/v2/{NAME}/tags/list?n={n}")
    assert [tag for page in pages for tag in page["tags"]] == TAGS
    assert all(len(page["tags"]) == n for page in pages[:-1])
    assert all(page["name"] == NAME for page in pages)


@pytest.mark.parametrize("n", [1, 3, 7, 8, 9])
async def test_links_lead_through_all_repositories_once(many: AsgiClient, n: int) -> None:
    pages = await follow(many, f"/v2/_catalog?n={n}")
    assert [name for page in pages for name in page["repositories"]] == REPOSITORIES
    assert all(len(page["repositories"]) == n for page in pages[:-1])


@pytest.mark.parametrize("path", [f"/v2/{NAME}/tags/list", "/v2/_catalog"])
@pytest.mark.parametrize("query", ["n=0", "n=0&last=a", "n=000"])
async def test_zero_entries_are_no_entries_and_no_link(tagged: AsgiClient, path: str, query: str) -> None:
    reply = await tagged.request("GET", f"{path}?{query}")
    document = json.loads(reply.body)
    assert (reply.status, document.get("tags", document.get("repositories"))) == (200, [])
    assert reply.header("link") is None


@pytest.mark.parametrize("last", [*TAGS, "zzz", "!", "no-such-tag", "%F0%9F%90%B3"])
async def test_a_page_begins_behind_last(tagged: AsgiClient, last: str) -> None:
    reply = await tagged.request("GET", f"/v2/{NAME}/tags/list?last={last}")
    text = "\U0001f433" if last.startswith("%") else last
    assert json.loads(reply.body)["tags"] == [tag for tag in TAGS if tag > text]


async def test_n_and_last_go_together(tagged: AsgiClient) -> None:
    reply = await tagged.request("GET", f"/v2/{NAME}/tags/list?n=3&last=a")
    at = TAGS.index("a") + 1
    assert json.loads(reply.body)["tags"] == TAGS[at : at + 3]


async def test_a_link_keeps_n_and_names_the_last_entry(tagged: AsgiClient) -> None:
    link = (await tagged.request("GET", f"/v2/{NAME}/tags/list?n=2")).header("link")
    assert link == f'</v2/{NAME}/tags/list?last={TAGS[1]}&n=2>; rel="next"'


async def test_behind_the_last_tag_is_an_empty_page(tagged: AsgiClient) -> None:
    reply = await tagged.request("GET", f"/v2/{NAME}/tags/list?n=5&last={TAGS[-1]}")
    assert (json.loads(reply.body)["tags"], reply.header("link")) == ([], None)


@pytest.mark.parametrize("n", ["1000000000", "9223372036854775807", "1001"])
async def test_a_page_has_at_most_a_thousand_entries(push: Pushing, n: str) -> None:
    content = image()
    await push.content(content)
    for start in range(0, 1100, 100):
        query = "&".join(f"tag=t{number:04}" for number in range(start, start + 100))
        await push.manifest(content, f"{content.digest}?{query}")
    pages = await follow(push.client, f"/v2/{NAME}/tags/list?n={n}")
    assert [len(page["tags"]) for page in pages] == [1000, 100]


async def test_tags_of_no_repository_are_not_listed(registry: AsgiClient) -> None:
    reply = await registry.request("GET", f"/v2/{NAME}/tags/list")
    assert (reply.status, codes(reply)) == (404, ["NAME_UNKNOWN"])


async def test_a_repository_without_tags_has_an_empty_list(push: Pushing) -> None:
    await push.blob(b"content")
    assert json.loads((await push.get("tags/list")).body) == {"name": NAME, "tags": []}


@pytest.mark.parametrize("path", [f"/v2/{NAME}/tags/list?n=3", "/v2/_catalog?n=1", "/v2/"])
async def test_head_is_get_without_the_body(tagged: AsgiClient, path: str) -> None:
    read, seen = [await tagged.request(method, path) for method in ("GET", "HEAD")]
    assert (seen.status, seen.headers, seen.body) == (200, read.headers, b"")


ANYWHERE = ["n=1000000000", "n=9223372036854775807", "n=0001", "last=", "last=..%2f", "last=%f0%9f%90%b3"]


@pytest.mark.parametrize("query", [*ANYWHERE, "last=%27%20OR%201=1--"])
@pytest.mark.parametrize("path", [f"/v2/{NAME}/tags/list", "/v2/_catalog", f"/v2/{NAME}/referrers/{Digest.of(b'')}"])
async def test_a_page_of_any_size_from_any_place_can_be_asked_for(push: Pushing, path: str, query: str) -> None:
    await push.blob(b"so that the repository exists")
    assert (await push.client.request("GET", f"{path}?{query}")).status == 200
