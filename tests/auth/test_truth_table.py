"""Every route with every method, for every kind of client: what it gets, and that nothing tells what is not its own.

A route that is added has no row here, and then ``test_every_route_has_a_row`` fails.
"""

import pytest

from api.pushing import codes
from ferro_oci_server.api.app import Router
from ferro_oci_server.api.requests import Request
from ferro_oci_server.api.responses import Response, text
from ferro_oci_server.api.routes import Route
from ferro_oci_server.auth.rights import RIGHTS
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.client import AsgiClient, Reply

from .conftest import Filled
from .world import PASSWORD, USERS, Guarded, basic, bearer, gate, whole

pytestmark = pytest.mark.anyio

PULLING = frozenset({"reader", "pusher", "mover", "remover", "lister", "admin", "a token for all", "a token for pulls"})
PUSHING = frozenset({"pusher", "mover", "admin", "a token for all"})
REMOVING = frozenset({"remover", "admin", "a token for all"})
LISTING = frozenset({"anonymous", *USERS, "a token for the catalog"})
MEASURING = frozenset({"monitor", "admin"})
TOKENS = {
    # Of somebody who may do everything, and of somebody who may do nothing in particular.
    "a token for all": ("admin", "repository:{name}:pull,push,delete"),
    "a token for pulls": ("admin", "repository:{name}:pull"),
    "a token for another": ("admin", "repository:private/other:pull,push,delete"),
    "a token for the catalog": ("admin", "registry:catalog:*"),
    "a token for nothing": ("admin", ""),
    "a token for nobody": (None, "repository:{name}:pull,push,delete"),
}
KINDS = ("anonymous", "wrong", *USERS, *TOKENS)
UNKNOWN = frozenset({"anonymous", "wrong", *TOKENS})
ALL = frozenset(KINDS)

# Who has any valid token knows already what /v2/ is asked for.
LOGGED_IN = frozenset({*USERS, *TOKENS})

# Who may, and what they get. Everybody may ask for the catalog, since everybody may list what is public.
TABLE: dict[tuple[str, str], tuple[frozenset[str], int]] = {
    ("GET", "/v2/"): (LOGGED_IN, 200),
    ("HEAD", "/v2/"): (LOGGED_IN, 200),
    ("GET", "/v2/_catalog"): (LISTING, 200),
    ("HEAD", "/v2/_catalog"): (LISTING, 200),
    ("GET", "/v2/<name>/tags/list"): (PULLING, 200),
    ("HEAD", "/v2/<name>/tags/list"): (PULLING, 200),
    ("GET", "/v2/<name>/manifests/<reference>"): (PULLING, 200),
    ("HEAD", "/v2/<name>/manifests/<reference>"): (PULLING, 200),
    ("PUT", "/v2/<name>/manifests/<reference>"): (PUSHING, 201),
    ("DELETE", "/v2/<name>/manifests/<reference>"): (REMOVING, 202),
    ("GET", "/v2/<name>/referrers/<digest>"): (PULLING, 200),
    ("HEAD", "/v2/<name>/referrers/<digest>"): (PULLING, 200),
    ("GET", "/v2/<name>/blobs/<digest>"): (PULLING, 200),
    ("HEAD", "/v2/<name>/blobs/<digest>"): (PULLING, 200),
    ("DELETE", "/v2/<name>/blobs/<digest>"): (REMOVING, 202),
    ("POST", "/v2/<name>/blobs/uploads/"): (PUSHING, 202),
    ("GET", "/v2/<name>/blobs/uploads/<session>"): (PUSHING, 204),
    ("HEAD", "/v2/<name>/blobs/uploads/<session>"): (PUSHING, 204),
    ("PATCH", "/v2/<name>/blobs/uploads/<session>"): (PUSHING, 202),
    ("PUT", "/v2/<name>/blobs/uploads/<session>"): (PUSHING, 201),
    ("DELETE", "/v2/<name>/blobs/uploads/<session>"): (PUSHING, 204),
    ("GET", "/live"): (ALL, 200),
    ("HEAD", "/live"): (ALL, 200),
    ("GET", "/healthz"): (ALL, 200),
    ("HEAD", "/healthz"): (ALL, 200),
    ("GET", "/ready"): (ALL, 200),
    ("HEAD", "/ready"): (ALL, 200),
    ("GET", "/metrics"): (MEASURING, 200),
    ("HEAD", "/metrics"): (MEASURING, 200),
    ("GET", "/token"): (frozenset({"anonymous", *USERS}), 200),
    ("POST", "/token"): (ALL, 200),
}

SESSION = "00000000-0000-4000-8000-000000000000"
CELLS = [(method, pattern, who) for method, pattern in TABLE for who in KINDS]


async def headers_of(guarded: Guarded, who: str, name: str) -> dict[str, str]:
    if who == "anonymous":
        return {}
    if who in TOKENS:
        user, scope = TOKENS[who]
        return await bearer(guarded.client, user, scope.format(name=name))
    return basic("admin", "wrong") if who == "wrong" else basic(who)


async def ask(guarded: Guarded, filled: Filled, method: str, pattern: str, who: str, name: str) -> Reply:
    """One request for content of ``name``, with an upload session of the client's own where it may have one."""
    shown = await headers_of(guarded, who, name)
    path = pattern.replace("<name>", name).replace("<reference>", "v1")
    path = path.replace("<digest>", filled.image.digest if "referrers" in pattern else Digest.of(b"layer"))
    if "<session>" in path:
        started = await guarded.request("POST", f"/v2/{name}/blobs/uploads/", shown)
        path = started.location if started.status == 202 else path.replace("<session>", SESSION)
    body, fields = b"", {}
    if pattern.endswith("<session>") and method == "PUT":
        path += f"?digest={Digest.of(b'')}"
    if "manifests" in pattern and method == "PUT":
        body, fields = filled.image.body, {"Content-Type": filled.image.media_type}
    if (method, pattern) == ("POST", "/token"):
        # Here it is the body that says who comes.
        body = f"grant_type=password&username=admin&password={PASSWORD}".encode()
        fields = {"Content-Type": "application/x-www-form-urlencoded"}
    return await guarded.request(method, path, shown, headers=fields, body=body)


def refusal(method: str, pattern: str, who: str) -> tuple[int, str]:
    """What those get who may not. To who is known, but may not pull, it is not there."""
    if who in UNKNOWN:
        return 401, "UNAUTHORIZED"
    is_pull = method in ("GET", "HEAD") and "<name>" in pattern and "<session>" not in pattern
    return (404, "NAME_UNKNOWN") if is_pull else (403, "DENIED")


@pytest.mark.parametrize(("method", "pattern", "who"), CELLS)
async def test_each_client_gets_what_it_may(
    guarded: Guarded, filled: Filled, method: str, pattern: str, who: str
) -> None:
    reply = await ask(guarded, filled, method, pattern, who, "private/app")
    allowed, status = TABLE[method, pattern]
    if who in allowed:
        assert reply.status == status
        return
    assert reply.status == refusal(method, pattern, who)[0]
    assert method == "HEAD" or codes(reply) == [refusal(method, pattern, who)[1]]
    assert (reply.header("www-authenticate") is not None) == (reply.status == 401)


@pytest.mark.parametrize(("method", "pattern", "who"), [cell for cell in CELLS if "<name>" in cell[1]])
async def test_nothing_tells_what_is_there_from_what_is_not(
    guarded: Guarded, filled: Filled, method: str, pattern: str, who: str
) -> None:
    if who in TABLE[method, pattern][0]:
        return
    there = await ask(guarded, filled, method, pattern, who, "private/app")
    missing = await ask(guarded, filled, method, pattern, who, "private/not")
    assert (there.status, there.body) == (missing.status, missing.body)
    assert [(key, value.replace("/app", "/not")) for key, value in there.headers] == missing.headers


@pytest.mark.parametrize(("method", "pattern"), TABLE)
@pytest.mark.parametrize("who", ["anonymous", "stranger"])
async def test_what_is_public_is_pulled_by_everybody_and_changed_by_nobody(
    guarded: Guarded, filled: Filled, method: str, pattern: str, who: str
) -> None:
    if "<name>" not in pattern:
        return
    reply = await ask(guarded, filled, method, pattern, who, "public/app")
    is_pull = TABLE[method, pattern][0] is PULLING
    assert reply.status == (200 if is_pull else 401 if who == "anonymous" else 403)
    wrong = await ask(guarded, filled, method, pattern, "wrong", "public/app")
    assert wrong.status == 401, "wrong credentials are never taken for none"


def test_every_route_has_a_row(new_state: AppState) -> None:
    served = {(route.method, route.pattern) for route in whole(new_state).table}
    assert served == TABLE.keys()
    guarded = {(method, pattern) for pattern, methods in RIGHTS.items() for method in methods}
    assert served <= guarded


@pytest.mark.parametrize("who", ["anonymous", "admin"])
async def test_what_has_no_row_is_served_to_nobody(filled: Filled, who: str) -> None:
    async def page(state: AppState, request: Request) -> Response:
        return text(200, b"secret")

    rows = [Route("/admin", "GET", page), Route("/v2/<name>/tags/list", "POST", page)]
    guarded = Guarded(AsgiClient(gate(filled.state, Router([*whole(filled.state).table, *rows], filled.state))))
    for method, path, status in (("GET", "/admin", 404), ("POST", "/v2/public/app/tags/list", 405)):
        reply = await guarded.request(method, path, await headers_of(guarded, who, ""))
        assert (reply.status, b"secret" in reply.body) == (status, False)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "OPTIONS", "FOO", "get", "POST"])
@pytest.mark.parametrize("path", ["/v2/", "/v2/private/app/manifests/v1", "/metrics", "/live"])
async def test_other_methods_are_answered_alike_for_what_is_there_and_what_is_not(
    guarded: Guarded, method: str, path: str
) -> None:
    there = await guarded.request(method, path)
    assert (there.status, codes(there)) == (405, ["UNSUPPORTED"])
    missing = await guarded.request(method, path.replace("/app", "/not"))
    assert (there.body, there.headers) == (missing.body, missing.headers)
