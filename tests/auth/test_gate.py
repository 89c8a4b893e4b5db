"""The gate: what clients are told, what caches are told, what it brakes, what it writes down, and how it fails."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest

from api.pushing import Pushing, codes
from ferro_oci_server.auth.audit import AUDIT, AuditLog
from ferro_oci_server.auth.brakes import Brake, Brakes
from ferro_oci_server.auth.challenge import Challenge
from ferro_oci_server.auth.credentials import Credentials
from ferro_oci_server.auth.errors import AuthenticatorUnavailable
from ferro_oci_server.auth.policy import Decision
from ferro_oci_server.auth.principals import Action, Principal
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import TooManyRequests
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import image

from .conftest import Filled
from .world import PASSWORD, SERVICE, Guarded, basic, bearer, gate, whole

pytestmark = pytest.mark.anyio

MANIFEST = "/v2/private/app/manifests/v1"
BEARER = f'Bearer realm="http://registry.test/token",service="{SERVICE}"'


@pytest.mark.parametrize(
    ("method", "path", "challenge"),
    [
        ("GET", "/v2/", BEARER),
        ("GET", "/v2", BEARER),
        ("GET", MANIFEST, f'{BEARER},scope="repository:private/app:pull"'),
        ("HEAD", MANIFEST, f'{BEARER},scope="repository:private/app:pull"'),
        ("PUT", MANIFEST, f'{BEARER},scope="repository:private/app:pull,push"'),
        ("DELETE", MANIFEST, f'{BEARER},scope="repository:private/app:delete"'),
        ("GET", "/v2/private/app/tags/list", f'{BEARER},scope="repository:private/app:pull"'),
        # Of a mount, the repository that it goes to: some clients cannot read two.
        (
            "POST",
            f"/v2/private/app/blobs/uploads/?mount={Digest.of(b'')}&from=other/repo",
            f'{BEARER},scope="repository:private/app:pull,push"',
        ),
        ("GET", "/metrics", BEARER),
    ],
)
async def test_a_client_is_asked_to_log_in(guarded: Guarded, method: str, path: str, challenge: str) -> None:
    reply = await guarded.request(method, path)
    assert (reply.status, reply.header("www-authenticate")) == (401, challenge)
    assert reply.header("docker-distribution-api-version") == "registry/2.0"
    assert reply.header("cache-control") == "no-store"
    assert method == "HEAD" or codes(reply) == ["UNAUTHORIZED"]


async def test_the_catalog_is_asked_for_with_its_own_scope(filled: Filled) -> None:
    class Nobody:
        async def decide(self, *args: Any) -> Decision:
            return Decision(False, "")

        async def may_list_any(self, principal: Principal) -> Decision:
            return Decision(False, "")

    reply = await Guarded(AsgiClient(gate(filled.state, policy=Nobody()))).request("GET", "/v2/_catalog")
    assert reply.header("www-authenticate") == f'{BEARER},scope="registry:catalog:*"'


@pytest.mark.parametrize(
    ("challenge", "expected"),
    [
        (Challenge("here"), 'Basic realm="here", charset="UTF-8"'),
        (
            Challenge("here", has_tokens=True, public_url="https://registry.example"),
            'Bearer realm="https://registry.example/token",service="here",scope="repository:private/app:pull"',
        ),
    ],
)
async def test_the_challenge_is_as_it_is_set_up(filled: Filled, challenge: Challenge, expected: str) -> None:
    guarded = Guarded(AsgiClient(gate(filled.state, challenge=challenge)))
    assert (await guarded.request("GET", MANIFEST)).header("www-authenticate") == expected


async def test_a_token_that_is_not_good_for_it_is_said_to_be_so(guarded: Guarded) -> None:
    shown = await bearer(guarded.client, "admin", "repository:other:pull")
    reply = await guarded.request("GET", MANIFEST, shown)
    assert 'error="insufficient_scope"' in str(reply.header("www-authenticate"))
    reply = await guarded.request("GET", MANIFEST, {"Authorization": "Bearer a.b.c"})
    assert 'error="invalid_token"' in str(reply.header("www-authenticate"))


async def test_a_name_that_is_none_is_refused_before_anything_else(guarded: Guarded) -> None:
    for path in ("/v2/Private/app/manifests/v1", "/v2/private%2fapp/manifests/v1", "/v2/a/../b/manifests/v1"):
        assert (await guarded.request("GET", path)).status == 400


@pytest.mark.parametrize("host", ["x/v2/?", "a b", ""])
async def test_a_host_changes_nothing(guarded: Guarded, host: str) -> None:
    reply = await guarded.request("GET", MANIFEST, headers={"Host": host})
    assert reply.status in (400, 401)


async def test_two_authorizations_are_none(guarded: Guarded) -> None:
    headers = [("Authorization", basic("admin")["Authorization"])] * 2
    assert (await guarded.client.request("GET", MANIFEST, headers=headers)).status == 400


@pytest.mark.parametrize(
    ("path", "user", "private"),
    [
        (MANIFEST, "reader", True),
        ("/v2/private/app/tags/list", "reader", True),
        ("/v2/_catalog", "reader", True),
        ("/v2/public/app/manifests/v1", "reader", False),
        ("/v2/public/app/manifests/v1", None, False),
    ],
)
@pytest.mark.parametrize("directly", [True, False])
async def test_no_cache_gives_to_one_what_another_may_see(
    filled: Filled, path: str, user: str | None, private: bool, directly: bool
) -> None:
    app = whole(filled.state)

    async def between(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    guarded = Guarded(AsgiClient(gate(filled.state, app if directly else between)))
    reply = await guarded.request("GET", path, user)
    assert reply.status == 200
    assert (reply.header("cache-control") == "private") is private
    assert (reply.header("vary") == "Authorization") is private


async def test_the_catalog_shows_to_each_what_it_may_list_and_pull(guarded: Guarded) -> None:
    shown = {}
    for user in (None, "reader", "lister", "admin"):
        reply = await guarded.request("GET", "/v2/_catalog", user)
        shown[user] = reply.body
    public, both = b'{"repositories":["public/app"]}', b'{"repositories":["private/app","public/app"]}'
    assert shown == {None: public, "reader": public, "lister": both, "admin": both}


async def test_a_tag_is_made_by_who_may_make_it_and_moved_by_who_may_move_it(guarded: Guarded, filled: Filled) -> None:
    new = image(b"new")
    await Pushing(filled.open, "private/app").content(new)
    headers = {"Content-Type": new.media_type}

    async def tag(user: str, path: str) -> int:
        return (
            await guarded.request("PUT", f"/v2/private/app/manifests/{path}", user, headers=headers, body=new.body)
        ).status

    assert await tag("pusher", "v1") == 403
    assert await tag("pusher", f"{new.digest}?tag=v3&tag=v1") == 403
    assert await tag("mover", "v2") == 403
    assert await tag("pusher", "v2") == 201
    assert await tag("pusher", "v2") == 201
    assert await tag("pusher", f"{new.digest}?tag=v3") == 201
    assert await tag("mover", "v1") == 201


async def test_a_session_is_of_who_began_it(guarded: Guarded) -> None:
    started = await guarded.request("POST", "/v2/private/app/blobs/uploads/", "pusher")
    assert (await guarded.request("PATCH", started.location, "mover", body=b"x")).status == 404
    assert (await guarded.request("PATCH", started.location, "pusher", body=b"x")).status == 202


class TestBrakes:
    async def test_wrong_credentials_are_braked_by_address(self, filled: Filled) -> None:
        guarded = Guarded(AsgiClient(gate(filled.state, brakes=Brakes(failed_logins_per_minute=3))))
        statuses = [(await guarded.request("GET", MANIFEST, basic("admin", "wrong"))).status for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        reply = await guarded.request("GET", MANIFEST, basic("admin", "wrong"))
        assert codes(reply) == ["TOOMANYREQUESTS"]
        assert 0 < int(reply.header("retry-after") or 0) <= 120
        assert (await guarded.request("GET", MANIFEST, "admin")).status == 200

    async def test_requests_are_braked_by_principal(self, filled: Filled) -> None:
        guarded = Guarded(AsgiClient(gate(filled.state, brakes=Brakes(requests_per_minute=3))))
        statuses = [(await guarded.request("GET", MANIFEST, "reader")).status for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert (await guarded.request("GET", MANIFEST, "pusher")).status == 200

    async def test_open_uploads_are_braked_by_principal(self, filled: Filled) -> None:
        guarded = Guarded(AsgiClient(gate(filled.state, brakes=Brakes(max_open_uploads=2))))
        target = "/v2/private/app/blobs/uploads/"
        replies = [await guarded.request("POST", target, "pusher") for _ in range(3)]
        assert [reply.status for reply in replies] == [202, 202, 429]
        assert (await guarded.request("POST", target, "mover")).status == 202
        await guarded.request("DELETE", replies[0].location, "pusher")
        assert (await guarded.request("POST", target, "pusher")).status == 202

    def test_a_brake_never_locks(self) -> None:
        now = [0.0]
        brake = Brake(6, lambda: now[0])
        for _ in range(1000):
            brake.take("a")
        assert brake.wait("b") == 0
        now[0] += 1000 * 10
        assert brake.wait("a") == 0

    def test_a_brake_keeps_no_long_names(self) -> None:
        brake = Brake(1, lambda: 0.0)
        brake.take("x" * 10_000)
        assert brake.wait("x" * 10_000) == 60
        assert brake.wait("x" * 9_999) == 0
        assert max(map(len, brake._forgiven)) <= 64

    @pytest.mark.parametrize(
        ("other", "is_same"),
        [("2001:db8::1", True), ("2001:db8::ffff:1", True), ("2001:db8:0:1::1", False), ("192.0.2.1", False)],
    )
    def test_a_network_of_ipv6_is_one_address(self, other: str, is_same: bool) -> None:
        brakes = Brakes(failed_logins_per_minute=1)
        brakes.note_failure("2001:db8::7")
        with pytest.raises(TooManyRequests) if is_same else nullcontext():
            brakes.note_failure(other)

    def test_an_address_of_ipv4_is_one_in_every_form(self) -> None:
        brakes = Brakes(failed_logins_per_minute=1)
        brakes.note_failure("192.0.2.1")
        brakes.note_failure("::ffff:192.0.2.2")
        with pytest.raises(TooManyRequests):
            brakes.note_failure("::ffff:192.0.2.1")

    def test_a_brake_lets_so_much_through_at_once_and_then_evenly(self) -> None:
        now = [0.0]
        brake = Brake(6, lambda: now[0])
        for _ in range(6):
            assert brake.wait("a") == 0
            brake.take("a")
        assert brake.wait("a") == 10
        now[0] = 10
        assert brake.wait("a") == 0

    def test_nothing_brakes_where_nothing_should(self) -> None:
        brakes = Brakes(failed_logins_per_minute=0)
        for _ in range(100):
            brakes.note_failure("a")
            brakes.check_login("a", "a")
            brakes.check_request("a")

    def test_who_is_told_to_wait_waits_less_than_forever(self) -> None:
        brakes = Brakes(failed_logins_per_minute=2)
        with pytest.raises(TooManyRequests) as caught:
            for _ in range(3):
                brakes.note_failure("a")
        assert caught.value.retry_after <= 60


class TestFailures:
    @pytest.mark.parametrize(("error", "status"), [(AuthenticatorUnavailable("x"), 503), (RuntimeError("boom"), 500)])
    async def test_what_cannot_be_known_is_a_denial(self, filled: Filled, error: Exception, status: int) -> None:
        class Broken:
            async def authenticate(self, credentials: Credentials) -> Principal | None:
                raise error

        guarded = Guarded(AsgiClient(gate(filled.state, authenticators=[Broken()])))
        for path in (MANIFEST, "/v2/public/app/manifests/v1"):
            reply = await guarded.request("GET", path, "admin")
            assert reply.status == status
            assert b"boom" not in reply.body

    async def test_a_policy_that_fails_allows_nothing(self, filled: Filled) -> None:
        class Broken:
            async def decide(
                self,
                principal: Principal,
                action: Action,
                repository: RepositoryName | None = None,
                tag: Tag | None = None,
            ) -> Decision:
                raise RuntimeError("boom")

        guarded = Guarded(AsgiClient(gate(filled.state, policy=Broken())))
        assert (await guarded.request("GET", MANIFEST, "admin")).status == 500

    async def test_a_websocket_is_closed(self, filled: Filled) -> None:
        sent: list[Mapping[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await gate(filled.state)({"type": "websocket", "path": "/v2/"}, None, send)  # type: ignore[arg-type]
        assert [message["type"] for message in sent] == ["websocket.close"]


class TestAudit:
    @pytest.fixture
    def events(self, caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
        caplog.set_level(logging.INFO, AUDIT)
        return _Events(caplog)

    async def test_a_change_is_written_down(
        self, guarded: Guarded, filled: Filled, events: list[dict[str, Any]]
    ) -> None:
        new = image(b"new")
        await Pushing(filled.open, "private/app").content(new)
        headers = {"Content-Type": new.media_type}
        target = f"/v2/private/app/manifests/{new.digest}?tag=v2&tag=v3"
        await guarded.request("PUT", target, "pusher", headers=headers, body=new.body)
        (event,) = events
        assert event == {
            "event": "change",
            "principal": "user:pusher",
            "address": "127.0.0.1",
            "action": "push",
            "repository": "private/app",
            "reference": new.digest,
            "tags": ["v2", "v3"],
            "digest": new.digest,
            "status": 201,
            "rule": "rules[3]",
            "method": "PUT",
            "path": "/v2/<name>/manifests/<reference>",
        }

    async def test_what_an_upload_ends_with_is_written_down_and_its_steps_are_not(
        self, guarded: Guarded, events: list[dict[str, Any]]
    ) -> None:
        started = await guarded.request("POST", "/v2/private/app/blobs/uploads/", "pusher")
        await guarded.request("PATCH", started.location, "pusher", body=b"x")
        await guarded.request("PUT", f"{started.location}?digest={Digest.of(b'x')}", "pusher")
        (event,) = events
        assert (event["event"], event["digest"], event["status"]) == ("change", Digest.of(b"x"), 201)
        assert "reference" not in event

    async def test_denials_are_written_down(self, guarded: Guarded, events: list[dict[str, Any]]) -> None:
        await guarded.request("DELETE", MANIFEST, "reader")
        await guarded.request("GET", MANIFEST, "stranger")
        await guarded.request("GET", MANIFEST, basic("admin", "wrong"))
        await guarded.request("GET", f"/token?service={SERVICE}", basic("admin", "wrong"))
        seen = [(it["event"], it["principal"], it["status"], it["reason"]) for it in events]
        assert seen == [
            ("denial", "user:reader", 403, "denied: no rule allows it"),
            ("denial", "user:stranger", 404, "denied: no rule allows it"),
            ("denial", "anonymous", 401, "wrong user or password"),
            ("denial", "anonymous", 401, "wrong user or password"),
        ]

    async def test_a_refused_tag_is_written_down(
        self, guarded: Guarded, filled: Filled, events: list[dict[str, Any]]
    ) -> None:
        new = image(b"new")
        await Pushing(filled.open, "private/app").content(new)
        headers = {"Content-Type": new.media_type}
        await guarded.request("PUT", MANIFEST, "pusher", headers=headers, body=new.body)
        (event,) = events
        assert (event["event"], event["status"], event["reference"]) == ("denial", 403, "v1")

    async def test_that_a_client_is_asked_to_log_in_is_no_event(
        self, guarded: Guarded, events: list[dict[str, Any]]
    ) -> None:
        await guarded.request("GET", "/v2/")
        await guarded.request("GET", MANIFEST)
        assert list(events) == []

    @pytest.mark.parametrize("pulls", [True, False])
    async def test_pulls_are_written_down_when_asked(
        self, filled: Filled, events: list[dict[str, Any]], pulls: bool
    ) -> None:
        guarded = Guarded(AsgiClient(gate(filled.state, audit=AuditLog(pulls=pulls))))
        await guarded.request("GET", MANIFEST, "reader")
        assert [(event["event"], event["digest"]) for event in events] == [("pull", filled.image.digest)] * pulls

    async def test_no_secret_is_written_down(self, guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        shown = await bearer(guarded.client, "admin", "repository:private/app:pull")
        for headers in (basic("admin"), shown, basic("typed-" + PASSWORD, "x"), basic("admin", "secret-but-wrong")):
            for path in (MANIFEST, f"/token?service={SERVICE}", "/v2/", "/v2/other/app/manifests/v1"):
                await guarded.request("GET", path, headers)
        text = "".join(f"{record.getMessage()}{record.__dict__}" for record in caplog.records)
        assert caplog.records
        for secret in (
            PASSWORD,
            "secret-but-wrong",
            *(it["Authorization"].split()[1] for it in (basic("admin"), shown)),
        ):
            assert secret not in text


class _Events(list[dict[str, Any]]):
    """The events of the audit log, as they are now."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        super().__init__()
        self._caplog = caplog

    def __iter__(self) -> Any:
        known = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
        return iter(
            {key: value for key, value in record.__dict__.items() if key not in known}
            for record in self._caplog.records
            if record.name == AUDIT
        )
