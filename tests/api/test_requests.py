"""What is refused before it is looked at: heads that are too large, or that two readers could read in two ways."""

from typing import Any

import pytest

from ferro_oci_server.api.app import Router, router
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import image

from .pushing import NAME, Pushing, codes
from .raw import call, scope

pytestmark = pytest.mark.anyio

HOST = (b"host", b"registry.test")


@pytest.fixture
def new_state() -> AppState:
    """Memory alone: what is refused here reaches no store."""
    return AppState(InMemoryBlobStore(), InMemoryRegistryMeta())


@pytest.fixture
def app(state: AppState) -> Router:
    return router(state)


async def test_a_target_of_8_kib_is_read_and_a_longer_one_is_not(registry: AsgiClient) -> None:
    assert (await registry.request("GET", "/v2/?a=" + "x" * 8180)).status == 200
    reply = await registry.request("GET", "/v2/?a=" + "x" * 8190)
    assert (reply.status, codes(reply)) == (414, ["UNSUPPORTED"])


@pytest.mark.parametrize("path", ["/v2/" + "a/" * 5000 + "manifests/x", "/" + "a" * 70_000])
async def test_a_path_that_is_too_long_is_refused(registry: AsgiClient, path: str) -> None:
    assert (await registry.request("GET", path)).status == 414


async def test_a_hundred_header_lines_are_read_and_more_are_not(registry: AsgiClient) -> None:
    lines = [(f"X-{number}", "x") for number in range(99)]
    assert (await registry.request("GET", "/v2/", headers=lines)).status == 200
    reply = await registry.request("GET", "/v2/", headers=[*lines, ("X-more", "x")])
    assert (reply.status, codes(reply)) == (431, ["UNSUPPORTED"])


async def test_header_lines_of_more_than_32_kib_are_refused(registry: AsgiClient) -> None:
    assert (await registry.request("GET", "/v2/", headers={"Authorization": "x" * 16_000})).status == 200
    assert (await registry.request("GET", "/v2/", headers={"Accept": "a/b," * 9000})).status == 431


@pytest.mark.parametrize(
    "host",
    ["registry.test", "localhost:5000", "127.0.0.1", "[::1]:8080", "xn--caf-dma.example", "a_b:", ""],
)
async def test_a_host_of_the_grammar_is_taken(registry: AsgiClient, host: str) -> None:
    assert (await registry.request("GET", "/v2/", headers={"Host": host})).status == 200


@pytest.mark.parametrize("host", ["x/v2/?", "example.com#", "a b", "a@b", "a:b:c", "[::1", "\u00e9", "a:80x", "a\\b"])
async def test_another_host_is_refused(registry: AsgiClient, host: str) -> None:
    reply = await registry.request("GET", "/v2/", headers={"Host": host})
    assert (reply.status, codes(reply)) == (400, ["UNSUPPORTED"])


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [HOST, HOST],
        [HOST, (b"host", b"other.test")],
        [HOST, (b"authorization", b"Basic eDp5"), (b"authorization", b"Basic eDp5")],
        [HOST, (b"content-length", b"1"), (b"content-length", b"2")],
        [HOST, (b"content-range", b"0-1"), (b"content-range", b"2-3")],
        [HOST, (b"content-type", b"a/b"), (b"content-type", b"c/d")],
        [HOST, (b"range", b"bytes=0-1"), (b"range", b"bytes=2-3")],
        [HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [HOST, (b"transfer-encoding", b"chunked"), (b"content-length", b"1")],
    ],
    ids=str,
)
async def test_a_head_that_can_be_read_in_two_ways_is_refused(app: Router, headers: list[Any]) -> None:
    assert (await call(app, scope(headers=headers)))["status"] == 400


@pytest.mark.parametrize(("version", "status"), [("1.0", 200), ("1.1", 200), ("2", 200), ("0.9", 400), ("", 400)])
async def test_versions_of_http_are_taken_or_refused(app: Router, version: str, status: int) -> None:
    assert (await call(app, scope(http_version=version)))["status"] == status


async def test_chunks_in_http_1_0_are_refused(app: Router) -> None:
    request = scope(http_version="1.0", headers=[HOST, (b"transfer-encoding", b"chunked")])
    assert (await call(app, request))["status"] == 400


@pytest.mark.parametrize("length", ["abc", "-1", "+5", "5_0", "\u0663", "1" * 5000, ""])
async def test_a_length_that_is_no_number_is_refused(registry: AsgiClient, length: str) -> None:
    headers = {"Content-Length": length.encode().decode("latin-1"), "Content-Type": "application/json"}
    reply = await registry.request("PUT", f"/v2/{NAME}/manifests/v1", headers=headers)
    assert 400 <= reply.status < 500


async def test_a_server_need_not_hand_over_the_undecoded_path(app: Router) -> None:
    request = scope(path="/v2/")
    del request["raw_path"]
    assert (await call(app, request))["status"] == 200
    assert (await call(app, scope(path="/v2/", raw_path=None)))["status"] == 200


async def test_a_server_may_hand_over_the_query_with_the_path(app: Router) -> None:
    assert (await call(app, scope(path="/v2/", raw_path=b"/v2/?a=b")))["status"] == 200


async def test_a_websocket_is_closed(app: Router) -> None:
    message = await call(app, scope(path="/v2/") | {"type": "websocket"})
    assert message["type"] == "websocket.close"


@pytest.mark.parametrize("query", ["%ff", "a=%ff", "%00", "a=%00", "&&&", "=", "a=1&a=2"])
async def test_a_query_that_is_not_asked_for_is_not_read(registry: AsgiClient, query: str) -> None:
    assert (await registry.request("GET", f"/v2/?{query}")).status == 200


@pytest.mark.parametrize(
    "query",
    [
        *(
            "n=1&n=2",
            "n=abc",
            "n=",
            "n=-1",
            "n=%2b5",
            "n=1.5",
            "n=1e3",
            "n=1_0",
            "n=0x10",
            "n=%d9%a3",
            "n=5%0a",
            "n=Inf",
        ),
        *("last=a&last=b", "last=%00", "last=a%0d%0aX:1", "last=%7f", "last=%ff", "a=1&" * 200 + "n=1"),
    ],
)
@pytest.mark.parametrize("path", [f"/v2/{NAME}/tags/list", "/v2/_catalog", f"/v2/{NAME}/referrers/{Digest.of(b'')}"])
async def test_a_page_that_cannot_be_read_is_refused(push: Pushing, path: str, query: str) -> None:
    await push.blob(b"so that the repository exists")
    reply = await push.client.request("GET", f"{path}?{query}")
    assert (reply.status, codes(reply)) == (400, ["UNSUPPORTED"])


HOSTILE_NAMES = [
    "..", ".", "a/../b", ".%2e/%2e.", "%2f%2f..", "a%00b", "Acme/App", "_uploads", "a/_layers", ".git", "a.", "a..b",
    "a-_b", "/a", "a@b", "~root", "a%27%20OR%201", "a/..;/b", "$%7Bx%7D", "%25s", "a%1b%5b31m", "caf%c3%a9", "%ff",
    "acme%2fapp", "acme/app%00.txt", "acme/app%0a", "acme/app;x=1", "a_a__" * 39 + "_", "a" * 256,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_a_name_outside_the_grammar_is_refused_everywhere(registry: AsgiClient, name: str) -> None:
    digest = Digest.of(b"x")
    for method, rest in [
        ("GET", "manifests/v1"),
        ("PUT", "manifests/v1"),
        ("DELETE", "manifests/v1"),
        ("GET", "tags/list"),
        ("GET", f"blobs/{digest}"),
        ("DELETE", f"blobs/{digest}"),
        ("POST", "blobs/uploads/"),
        ("GET", f"referrers/{digest}"),
        ("PATCH", "blobs/uploads/00000000-0000-4000-8000-000000000000"),
    ]:
        reply = await registry.request(method, f"/v2/{name}/{rest}")
        assert (method, rest, reply.status, codes(reply)) == (method, rest, 400, ["NAME_INVALID"])


@pytest.mark.parametrize(
    "tail",
    [
        *("sha256:baddigeststring", "sha256:..%2f..%2fetc", "..%2f..%2fsha256:" + "0" * 64, "md5:" + "0" * 32),
        *("sha256:" + "A" * 64, "sha256:" + "0" * 64 + "%0a", "sha256:%ff" + "0" * 63, f"sha256:{'0' * 64}%0d%0aX:1"),
    ],
)
async def test_a_digest_outside_the_grammar_is_refused_everywhere(registry: AsgiClient, tail: str) -> None:
    for method, word in [
        ("GET", "blobs"),
        ("HEAD", "blobs"),
        ("DELETE", "blobs"),
        ("GET", "referrers"),
        ("GET", "manifests"),
        ("PUT", "manifests"),
        ("DELETE", "manifests"),
    ]:
        reply = await registry.request(method, f"/v2/{NAME}/{word}/{tail}")
        assert reply.status == 400
        assert method == "HEAD" or codes(reply) == ["DIGEST_INVALID"]


@pytest.mark.parametrize("tail", [".x", "-x", "a" * 129, "1.0+build", "v1%00", "v%c3%a9", "%25", "@x", "x%2f..%2fv1"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_tag_outside_the_grammar_is_refused(push: Pushing, method: str, tail: str) -> None:
    await push.content(image(b"layer"), "v1")
    reply = await push.client.request(method, f"/v2/{NAME}/manifests/{tail}")
    assert (reply.status, codes(reply)) == (400, ["MANIFEST_INVALID"])
    assert (await push.get("manifests/v1")).status == 200


async def test_a_digest_may_be_percent_encoded(push: Pushing) -> None:
    digest = await push.blob(b"content")
    assert (await push.get(f"blobs/{digest.replace(':', '%3A')}")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-HTTP-Method-Override": "DELETE"},
        {"Cookie": '=;;a="b;c\\,'},
        {"X-Forwarded-For": "1.2.3.4, ::1, <script>, %s%n"},
        {"User-Agent": "\x1b[2J fake\xff"},
        {"Accept": ';;;,,, */;q=zzz, "unterminated'},
        {"Origin": "https://evil.example"},
        {"Upgrade": "websocket"},
    ],
    ids=str,
)
async def test_headers_that_mean_nothing_here_change_nothing(push: Pushing, headers: dict[str, str]) -> None:
    await push.content(image(b"layer"), "v1")
    reply = await push.client.request("GET", f"/v2/{NAME}/manifests/v1", headers=headers)
    assert reply.status == 200
    assert not [key for key, _ in reply.headers if key.startswith("access-control")]
