"""A registry within another application."""

from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx2
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from ferro_oci_server.api.app import router
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import image

from .pushing import NAME
from .raw import call, scope

pytestmark = pytest.mark.anyio

PREFIX = "/below/here"
BASE = f"{PREFIX}/v2/{NAME}"
BLOB = Digest.of(b"{}")


@pytest.fixture
def below(state: AppState) -> AsgiClient:
    """A client of a registry that is mounted."""
    return AsgiClient(router(state), root_path=PREFIX)


async def test_paths_are_read_below_the_mount(below: AsgiClient) -> None:
    assert (await below.request("GET", f"{PREFIX}/v2/")).status == 200


async def test_a_server_may_have_cut_the_prefix_off(below: AsgiClient) -> None:
    assert (await below.request("GET", "/v2/")).status == 200


async def test_every_location_carries_the_prefix(below: AsgiClient) -> None:
    started = await below.request("POST", f"{BASE}/blobs/uploads/")
    patched = await below.request("PATCH", started.location, body=b"{")
    refused = await below.request("PATCH", patched.location, headers={"Content-Range": "0-0"}, body=b"{")
    status = await below.request("GET", refused.location)
    closed = await below.request("PUT", f"{status.location}?digest={BLOB}", body=b"}")
    mounted = await below.request("POST", f"{PREFIX}/v2/other/blobs/uploads/?mount={BLOB}&from={NAME}")
    headers = {"Content-Type": image().media_type}
    put = await below.request("PUT", f"{BASE}/manifests/v1", headers=headers, body=image().body)
    replies = [started, patched, refused, status, closed, mounted, put]
    assert [reply.status for reply in replies] == [202, 202, 416, 204, 201, 201, 201]
    assert all(reply.location.startswith(f"{PREFIX}/v2/") for reply in replies)
    for reply in (closed, mounted, put):
        assert (await below.request("GET", reply.location)).status == 200


async def test_every_link_carries_the_prefix(below: AsgiClient) -> None:
    subject = image(b"subject").descriptor()
    for number in range(2):
        for name in ("a", "b"):
            content = image(number=number, subject=subject)
            await below.request("POST", f"{PREFIX}/v2/{name}/blobs/uploads/?digest={BLOB}", body=b"{}")
            path = f"{PREFIX}/v2/{name}/manifests/v{number}"
            await below.request("PUT", path, headers={"Content-Type": content.media_type}, body=content.body)
    for path in ("_catalog", "a/tags/list", f"a/referrers/{subject['digest']}"):
        link = (await below.request("GET", f"{PREFIX}/v2/{path}?n=1")).header("link") or ""
        assert link.startswith(f"<{PREFIX}/v2/{path}?last=")


@pytest.mark.parametrize("root", ["/caf\u00e9", "/a\r\nX", "/a b"], ids=ascii)
async def test_a_prefix_that_clients_chose_cannot_break_a_header(state: AppState, root: str) -> None:
    path = quote(root) + f"/v2/{NAME}/blobs/uploads/"
    message = await call(router(state), scope("POST", path="/x", raw_path=path.encode(), root_path=root))
    assert message["status"] == 202
    assert dict(message["headers"])[b"location"].startswith(quote(root).encode() + b"/v2/")


@pytest.mark.parametrize("headers", [{"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "//evil.example"}])
async def test_no_header_moves_a_location(below: AsgiClient, headers: dict[str, str]) -> None:
    reply = await below.request("POST", f"{BASE}/blobs/uploads/", headers={**headers, "Host": "other.example"})
    assert reply.location.startswith(f"{BASE}/blobs/uploads/")


@pytest.fixture(params=["starlette at the root", "starlette below", "fastapi at the root", "fastapi below"])
async def outer(request: pytest.FixtureRequest, state: AppState) -> AsyncIterator[tuple[httpx2.AsyncClient, str]]:
    """A client of an application that holds a registry, and the prefix that the registry has there."""
    prefix = "/below" if request.param.endswith("below") else ""
    if request.param.startswith("starlette"):
        app: Starlette = Starlette(routes=[Mount(prefix or "/", router(state))])
    else:
        app = FastAPI()
        app.mount(prefix or "/", router(state))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://registry.test") as client:
        yield client, prefix


async def test_a_framework_serves_it(outer: tuple[httpx2.AsyncClient, str]) -> None:
    client, prefix = outer
    started = await client.post(f"{prefix}/v2/{NAME}/blobs/uploads/")
    assert started.headers["location"].startswith(f"{prefix}/v2/{NAME}/blobs/uploads/")
    closed = await client.put(f"{started.headers['location']}?digest={BLOB}", content=b"{}")
    assert (closed.status_code, closed.headers["location"]) == (201, f"{prefix}/v2/{NAME}/blobs/{BLOB}")
    assert (await client.get(closed.headers["location"])).content == b"{}"


async def test_a_framework_does_not_decode_names(outer: tuple[httpx2.AsyncClient, str]) -> None:
    client, prefix = outer
    reply = await client.get(f"{prefix}/v2/acme%2fapp/manifests/v1")
    assert reply.json()["errors"][0]["code"] == "NAME_INVALID"
