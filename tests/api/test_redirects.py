"""Downloads that are answered by a link: who is given one, and who is served here."""

import asyncio
import http.client
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from obstore.store import AzureStore, S3Store

from ferro_oci_server.api.app import router
from ferro_oci_server.api.limits import Limits
from ferro_oci_server.backends.blob.bucket import Bucket
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.blob.object_store import ObjectBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.ports import BlobStore
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.client import AsgiClient, Reply
from ferro_oci_server.testing.images import image
from support.fault_proxy import fault_proxy, refused
from support.object_store import S3Server

from .pushing import NAME, Pushing, codes
from .raw import call, scope

pytestmark = pytest.mark.anyio

ON = Limits(redirect_downloads=True, redirect_except=("old/1.*", "*Helm*"), redirect_seconds=45)
CONTENT = bytes(range(256)) * 8
PATH = f"/v2/{NAME}/blobs/{Digest.of(CONTENT)}"


class Linked(InMemoryBlobStore):
    """A store that says where else its blobs are."""

    def __init__(self, place: str | None = "https://store.test/bucket") -> None:
        super().__init__()
        self.place = place
        self.asked: list[float] = []

    async def url(self, location: str, seconds: float) -> str | None:
        self.asked.append(seconds)
        return self.place and f"{self.place}/{location}?signature=x"


async def client_of(store: BlobStore, limits: Limits | None = ON) -> AsgiClient:
    """A client of a registry that has one blob."""
    client = AsgiClient(router(AppState(store, InMemoryRegistryMeta()), limits=limits))
    await Pushing(client).blob(CONTENT)
    return client


async def test_a_download_is_answered_by_a_link_that_nobody_may_keep() -> None:
    store = Linked()
    reply = await (await client_of(store)).request("GET", PATH)
    assert (reply.status, reply.body, store.asked) == (307, b"", [45])
    assert reply.location.startswith("https://store.test/bucket/")
    assert reply.header("docker-content-digest") == Digest.of(CONTENT)
    assert reply.header("cache-control") == "no-store"
    assert reply.header("content-length") == "0"
    # What it says of the content, it says of the answer itself otherwise.
    assert reply.header("etag") is None


async def test_nothing_but_the_download_of_a_blob_is() -> None:
    client = await client_of(Linked())
    push = Pushing(client)
    content = image(b"layer")
    await push.content(content, "v1")
    assert (await client.request("HEAD", PATH)).status == 200
    for method in ("GET", "HEAD"):
        assert (await client.request(method, f"/v2/{NAME}/manifests/v1")).status == 200
    assert (await push.get(f"manifests/{content.digest}")).body == content.body


async def test_what_the_repository_does_not_hold_is_unknown() -> None:
    store = Linked()
    client = await client_of(store)
    elsewhere = await client.request("GET", PATH.replace(NAME, "another/app"))
    assert (elsewhere.status, codes(elsewhere)) == (404, ["BLOB_UNKNOWN"])
    await client.request("DELETE", PATH)
    assert (await client.request("GET", PATH)).status == 404
    assert store.asked == []


async def test_without_the_setting_or_without_a_link_it_passes_through() -> None:
    for store, limits in ((Linked(), None), (Linked(None), ON), (InMemoryBlobStore(), ON)):
        reply = await (await client_of(store, limits)).request("GET", PATH)
        assert (reply.status, reply.body) == (200, CONTENT)


@pytest.mark.parametrize(
    ("agent", "status"),
    [("old/1.6.20", 200), ("old/2.0", 307), ("Helm/4.3.1", 200), ("my Helm, of sorts", 200), ("helm", 307), ("", 307)],
)
async def test_clients_that_match_a_pattern_are_served_here(agent: str, status: int) -> None:
    reply = await (await client_of(Linked())).request("GET", PATH, headers={"User-Agent": agent} if agent else {})
    assert reply.status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=0-0"}, 307),
        ({"Range": "bytes=100-"}, 307),
        ({"Range": "bytes=-5"}, 206),
        ({"Range": "bytes=0-1,5-6"}, 200),
        ({"Range": "lines=1-2"}, 200),
        ({"Range": "bytes=2048-"}, 416),
        ({"Range": "bytes=5-1"}, 416),
        ({"Range": "bytes=0-0", "If-Range": f'"{Digest.of(CONTENT)}"'}, 206),
        ({"If-None-Match": f'"{Digest.of(CONTENT)}"'}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Match": f'"{Digest.of(CONTENT)}"'}, 200),
        ({"If-Modified-Since": "Sat, 29 Oct 1994 19:43:31 GMT"}, 200),
        ({"If-Unmodified-Since": "Sat, 29 Oct 1994 19:43:31 GMT"}, 200),
    ],
    ids=str,
)
async def test_what_a_store_may_answer_otherwise_is_answered_here(headers: Mapping[str, str], status: int) -> None:
    assert (await (await client_of(Linked())).request("GET", PATH, headers=headers)).status == status


@pytest.mark.parametrize(
    ("host", "place", "status"),
    [
        ("registry.test", "https://store.test", 307),
        ("registry.test", "https://registry.test", 200),
        ("registry.test", "https://REGISTRY.test:9000", 200),
        ("registry.test:5000", "https://blobs.registry.test", 200),
        ("Registry.test", "https://blobs.registry.test:9000", 200),
        ("registry.test", "https://otherregistry.test", 307),
        ("blobs.registry.test", "https://registry.test", 307),
        ("[::1]:5000", "http://[::1]:9000", 200),
        ("[:::]", "https://store.test", 307),
    ],
)
async def test_no_client_is_sent_where_it_would_repeat_its_credentials(host: str, place: str, status: int) -> None:
    client = await client_of(Linked(place))
    reply = await client.request("GET", PATH, headers={"Host": host, "Authorization": "Basic eDp5"})
    assert reply.status == status
    assert (await client.request("GET", PATH, headers={"Host": host})).status == 307


@pytest.mark.parametrize(("place", "status"), [("https://store.test", 307), ("http://store.test", 200)])
async def test_no_client_is_sent_from_https_to_http(place: str, status: int) -> None:
    app = router(AppState(Linked(place), InMemoryRegistryMeta()), limits=ON)
    await Pushing(AsgiClient(app)).blob(CONTENT)
    assert (await call(app, scope(path=PATH, scheme="https")))["status"] == status


# On a real object store


async def follow(reply: Reply, **headers: str) -> tuple[int, bytes]:
    assert reply.status == 307
    parts = urlsplit(reply.location)

    def ask() -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        try:
            connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


async def test_the_link_gives_the_blob_or_the_part_that_was_asked_for(s3: S3Server) -> None:
    client = await client_of(ObjectBlobStore.from_url(s3.url()))
    assert await follow(await client.request("GET", PATH)) == (200, CONTENT)
    for text, part in (("bytes=5-9", CONTENT[5:10]), ("bytes=2000-", CONTENT[2000:]), ("bytes=9-99999", CONTENT[9:])):
        there = await follow(await client.request("GET", PATH, headers={"Range": text}), Range=text)
        here = await client.request("GET", PATH, headers={"Range": text, "User-Agent": "old/1.0"})
        assert there == (here.status, here.body) == (206, part)


async def test_a_link_is_good_for_as_long_as_it_is_said(s3: S3Server) -> None:
    client = await client_of(ObjectBlobStore.from_url(s3.url()), replace(ON, redirect_seconds=1))
    reply = await client.request("GET", PATH)
    await asyncio.sleep(2.1)
    assert (await follow(reply))[0] == 403


async def test_a_blob_in_several_parts_passes_through(s3: S3Server) -> None:
    client = await client_of(ObjectBlobStore.from_url(s3.url()))
    digest = Digest.of(b"onetwo")
    location = await Pushing(client).session()
    for chunk in (b"one", b"two"):
        location = (await client.request("PATCH", location, body=chunk)).location
    assert (await client.request("PUT", f"{location}?digest={digest}")).status == 201
    reply = await client.request("GET", f"/v2/{NAME}/blobs/{digest}")
    assert (reply.status, reply.body) == (200, b"onetwo")


@pytest.mark.parametrize("left", [None, b""], ids=["lost", "cut"])
async def test_a_blob_that_is_lost_or_cut_is_unknown_until_it_is_pushed_again(s3: S3Server, left: bytes | None) -> None:
    prefix = f"redirects-{left is None}"
    client = await client_of(ObjectBlobStore.from_url(s3.url(prefix)))
    (segment,) = (s3.folder / prefix / "bytes").rglob("*/*")
    segment.unlink()
    if left is not None:
        segment.write_bytes(left)
    for method in ("GET", "HEAD"):
        assert (await client.request(method, PATH)).status == 404
    await Pushing(client).blob(CONTENT)
    assert await follow(await client.request("GET", PATH)) == (200, CONTENT)


async def test_a_store_that_is_down_is_no_link(s3: S3Server) -> None:
    async with fault_proxy(s3.address) as proxy:
        client = await client_of(ObjectBlobStore.from_url(s3.url(address=proxy.address, timeout="1")))
        proxy.always(refused())
        reply = await client.request("GET", PATH)
        assert (reply.status, reply.header("retry-after")) == (503, "2")
        proxy.heal()
        assert (await client.request("GET", PATH)).status == 307


async def test_where_links_cannot_be_signed_it_passes_through(s3: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = f"http://{s3.address}"
    reading = S3Store("registry", prefix="unsigned", endpoint=endpoint, client_options={"allow_http": True})
    # Such a key has to be asked for, from a store that is none of Azure here.
    signing = AzureStore(
        "registry", account_name="tester", token="x", endpoint=endpoint, client_options={"allow_http": True}
    )
    client = await client_of(ObjectBlobStore(Bucket(reading, 1, signing)))
    reply = await client.request("GET", PATH)
    assert (reply.status, reply.body) == (200, CONTENT)
    assert "a link to a blob cannot be made" in caplog.text


async def test_a_link_names_the_store_as_clients_know_it(s3: S3Server) -> None:
    client = await client_of(ObjectBlobStore.from_url(s3.url(public_endpoint="https://store.test")))
    assert (await client.request("GET", PATH)).location.startswith("https://store.test/registry/")
