"""Which path is which endpoint, and which methods it has."""

import pytest

from ferro_oci_server.api.app import ROUTES
from ferro_oci_server.api.routes import (
    BASE,
    BLOB,
    CATALOG,
    MANIFEST,
    REFERRERS,
    TAGS,
    UPLOAD,
    UPLOADS,
    Route,
    match,
)
from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import EndpointUnknown
from ferro_oci_server.testing.client import AsgiClient

from .pushing import codes

pytestmark = pytest.mark.anyio


@pytest.fixture
def new_state() -> AppState:
    """Memory alone: no store is asked here for anything that is there."""
    return AppState(InMemoryBlobStore(), InMemoryRegistryMeta())


UUID = "00000000-0000-4000-8000-000000000000"
PATTERNS = sorted({route.pattern for route in ROUTES})
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "get"]


def path_of(pattern: str) -> str:
    """A path of the pattern, of content that is not there."""
    path = pattern.replace("<name>", "no/such").replace("<reference>", "latest").replace("<session>", UUID)
    return path.replace("<digest>", Digest.of(b"none"))


@pytest.mark.parametrize(
    ("path", "pattern", "name", "tail"),
    [
        ("/v2/", BASE, "", ""),
        ("/v2", BASE, "", ""),
        ("/v2/_catalog", CATALOG, "", ""),
        ("/v2/a/tags/list", TAGS, "a", ""),
        ("/v2/a/manifests/v1", MANIFEST, "a", "v1"),
        ("/v2/a/b/c/manifests/v1", MANIFEST, "a/b/c", "v1"),
        ("/v2/a/referrers/x:y", REFERRERS, "a", "x:y"),
        ("/v2/a/blobs/x:y", BLOB, "a", "x:y"),
        ("/v2/a/blobs/uploads/", UPLOADS, "a", ""),
        ("/v2/a/blobs/uploads/1", UPLOAD, "a", "1"),
        ("/v2/a/blobs/b/manifests/x", MANIFEST, "a/blobs/b", "x"),
        ("/v2/a/manifests/tags/list", TAGS, "a/manifests", ""),
        ("/v2/a/tags/list/manifests/list", MANIFEST, "a/tags/list", "list"),
        ("/v2/manifests/manifests/manifests", MANIFEST, "manifests", "manifests"),
        ("/v2/blobs/uploads/blobs/uploads/", UPLOADS, "blobs/uploads", ""),
        ("/v2/blobs/blobs/uploads/1", UPLOAD, "blobs", "1"),
        ("/v2/_catalog/manifests/x", MANIFEST, "_catalog", "x"),
        ("/v2/a/../b/manifests/x", MANIFEST, "a/../b", "x"),
        ("/v2//a/manifests/x", MANIFEST, "/a", "x"),
        ("/v2/a%2fb/manifests/x%2fy", MANIFEST, "a%2fb", "x%2fy"),
        ("/v2/a/blobs/", BLOB, "a", ""),
        ("/metrics", "/metrics", "", ""),
        ("//v2/", "//v2/", "", ""),
    ],
)
def test_a_path_is_read_from_the_right(path: str, pattern: str, name: str, tail: str) -> None:
    assert match(path) == (pattern, name, tail)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/a",
        "/v2/a/b",
        "/v2/_catalog/",
        "/v2/a/tags",
        "/v2/a/tags/other",
        "/v2/a/manifests/v1/more",
        "/v2/a/blobs/b/uploads/1",
        "/v2/a/myblobs/uploads/",
        "/v2//",
    ],
)
def test_another_path_below_v2_is_no_endpoint(path: str) -> None:
    with pytest.raises(EndpointUnknown):
        match(path)


@pytest.mark.parametrize("path", ["/", "/v1/", "//v2/", "/v2/a/b", "/v3/a/manifests/x", "*", "@evil.example", ""])
async def test_what_is_no_endpoint_is_answered_by_404(registry: AsgiClient, path: str) -> None:
    reply = await registry.request("GET", path)
    assert reply.status == 404
    assert codes(reply) == ["UNSUPPORTED"]


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_other_methods_are_answered_by_405_with_those_there_are(registry: AsgiClient, pattern: str) -> None:
    allowed = sorted(route.method for route in ROUTES if route.pattern == pattern)
    for method in METHODS:
        if method in allowed:
            continue
        reply = await registry.request(method, path_of(pattern))
        assert (method, reply.status, reply.header("allow")) == (method, 405, ", ".join(allowed))
        assert method == "HEAD" or codes(reply) == ["UNSUPPORTED"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
async def test_no_endpoint_fails_on_content_that_is_not_there(registry: AsgiClient, route: Route) -> None:
    reply = await registry.request(route.method, path_of(route.pattern))
    assert reply.status < 500
    assert reply.header("docker-distribution-api-version") == "registry/2.0"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
async def test_parameters_that_nobody_knows_change_nothing(registry: AsgiClient, route: Route) -> None:
    path = path_of(route.pattern)
    plain = await registry.request(route.method, path)
    asked = await registry.request(route.method, f"{path}?ns=docker.io&unknown=1&_state=x%20y&unknown=2")
    assert asked.status == plain.status


@pytest.mark.parametrize("pattern", [route.pattern for route in ROUTES if route.method == "GET"])
def test_what_has_get_has_head(pattern: str) -> None:
    assert (pattern, "HEAD") in {(route.pattern, route.method) for route in ROUTES}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/v2/", "/v2"])
async def test_the_version_is_confirmed(registry: AsgiClient, method: str, path: str) -> None:
    reply = await registry.request(method, path)
    assert reply.status == 200
    assert reply.header("docker-distribution-api-version") == "registry/2.0"
    assert reply.body == (b"{}" if method == "GET" else b"")
