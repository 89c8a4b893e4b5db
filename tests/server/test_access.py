"""The command with users, a policy and keys, as a process: who gets in, what is refused, what is written down."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from auth.issuer import KeyServer, key_server
from auth.test_issuers import claims
from auth.tokens import token
from support.process import answers, free_port
from support.registry import Registry, Reply, Setup, serve

COMMAND = str(Path(sys.executable).with_name("ferro-oci-server"))
PASSWORD = "correct horse battery staple"

POLICY = """
[issuers.ci]
issuer = "https://ci.example"
audience = "registry.example"
keys_url = "{url}"

[[rules]]
name = "public"
who = ["everyone"]
actions = ["pull", "catalog"]
repositories = ["public/*"]

[[rules]]
name = "staff"
who = ["user:alice", "key:robot"]
actions = ["*", "metrics"]
repositories = ["*"]

[[rules]]
name = "ci"
who = ["ci:*"]
claims = {{ repository_id = "7" }}
actions = ["pull", "push", "create-tag"]
repositories = ["apps/*"]
"""


@pytest.fixture(scope="module")
def keys() -> Iterator[KeyServer]:
    with key_server() as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, keys: KeyServer) -> Path:
    folder = tmp_path_factory.mktemp("access")
    digest = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    (folder / "htpasswd").write_text(f"alice:{digest}\n")
    (folder / "policy.toml").write_text(POLICY.format(url=keys.url))
    return folder


def settings(folder: Path, **more: str) -> dict[str, str]:
    given = {"htpasswd": folder / "htpasswd", "policy": folder / "policy.toml", "audit_log": folder / "audit.log"}
    return {f"FERRO_OCI_{name.upper()}": str(value) for name, value in {**given, **more}.items()}


@pytest.fixture(scope="module", params=[1, 2], ids=["1 worker", "2 workers"])
def registry(folder: Path, request: pytest.FixtureRequest) -> Iterator[Registry]:
    storage = folder / f"storage-{request.param}"
    with serve(Setup(storage, request.param, settings(folder)), folder / f"log-{request.param}") as registry:
        yield registry


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


ALICE = basic("alice", PASSWORD)


def bearer(registry: Registry, shown: Mapping[str, str], *scopes: str) -> dict[str, str]:
    query = "&".join(f"scope={scope}" for scope in scopes)
    reply = registry.request("GET", f"/token?service=ferro-oci-server&{query}", headers=shown)
    assert reply.status == 200, reply.body
    return {"Authorization": f"Bearer {json.loads(reply.body)['token']}"}


def start(registry: Registry, name: str, shown: Mapping[str, str]) -> Reply:
    return registry.request("POST", f"/v2/{name}/blobs/uploads/", b"", headers=shown)


def run(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
        check=False,
    )


def test_a_password_lets_its_user_in(registry: Registry) -> None:
    assert registry.request("GET", "/v2/").status == 401
    assert registry.request("GET", "/v2/", headers=ALICE).status == 200
    assert registry.request("GET", "/v2/", headers=basic("alice", "wrong")).status == 401
    assert start(registry, "a/b", ALICE).status == 202
    assert start(registry, "a/b", {}).status == 401
    assert registry.request("GET", "/metrics").status == 401
    assert registry.request("GET", "/metrics", headers=ALICE).status == 200


def test_a_token_of_one_worker_is_good_at_every_other(registry: Registry) -> None:
    shown = bearer(registry, ALICE, "repository:a/b:pull,push")
    # Each connection may reach either worker.
    assert {start(registry, "a/b", shown).status for _ in range(20)} == {202}
    assert {start(registry, "other", shown).status for _ in range(5)} == {401}


def test_who_shows_nothing_gets_a_token_for_what_is_public(registry: Registry) -> None:
    shown = bearer(registry, {}, "repository:public/app:pull")
    assert registry.request("GET", "/v2/", headers=shown).status == 200
    reply = registry.request("GET", "/v2/public/app/tags/list", headers=shown)
    assert (reply.status, json.loads(reply.body)["errors"][0]["code"]) == (404, "NAME_UNKNOWN")
    assert start(registry, "public/app", shown).status == 401


def test_the_token_of_a_build_pushes_what_the_policy_lets_its_repository_push(registry: Registry) -> None:
    ours, others = (token(claims(repository_id=number)) for number in ("7", "8"))
    for shown in (basic("oidc", ours), {"Authorization": f"Bearer {ours}"}):
        assert start(registry, "apps/web", shown).status == 202
        assert start(registry, "a/b", shown).status == 403
    assert start(registry, "apps/web", basic("oidc", others)).status == 403
    exchanged = bearer(registry, basic("oidc", ours), "repository:apps/web:pull,push")
    assert start(registry, "apps/web", exchanged).status == 202


def test_a_key_is_made_listed_and_revoked_beside_a_registry_that_serves(registry: Registry, folder: Path) -> None:
    storage = str(folder / f"storage-{2 if registry_has_two_workers(registry) else 1}")
    made = run("keys", "--storage-dir", storage, "create", "robot", "--expires", "1d")
    secret = made.stdout.strip()
    assert (made.returncode, secret[:6]) == (0, "ferro_")
    assert start(registry, "a/b", basic("robot", secret)).status == 202
    assert start(registry, "a/b", {"Authorization": f"Bearer {secret}"}).status == 202
    listed = run("keys", "--storage-dir", storage, "list")
    assert [line.split("\t")[1] for line in listed.stdout.splitlines()] == ["robot"]
    assert secret not in listed.stdout
    assert run("keys", "--storage-dir", storage, "revoke", "robot").returncode == 0
    assert start(registry, "a/b", basic("robot", secret)).status == 401
    assert run("keys", "--storage-dir", storage, "revoke", "robot").returncode == 2


def registry_has_two_workers(registry: Registry) -> bool:
    children = Path(f"/proc/{registry.process.pid}/task/{registry.process.pid}/children").read_text().split()
    names = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    return sum(b"resource_tracker" not in name for name in names) == 2


def test_a_changed_policy_counts_within_seconds(folder: Path, tmp_path: Path, keys: KeyServer) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY.format(url=keys.url))
    given = settings(folder, policy=str(policy))
    with serve(Setup(tmp_path / "storage", settings=given), tmp_path / "log") as registry:
        assert start(registry, "a/b", ALICE).status == 202
        policy.write_text("")
        assert _within(5, lambda: start(registry, "a/b", ALICE).status == 403)
        policy.write_text("broken")
        assert not _within(2, lambda: start(registry, "a/b", ALICE).status != 403)
    assert "what it had before counts" in (tmp_path / "log").read_text()


def _within(seconds: float, holds: Any) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return False


def test_without_a_policy_a_user_may_do_everything_and_nobody_else_anything(folder: Path, tmp_path: Path) -> None:
    given = settings(folder)
    del given["FERRO_OCI_POLICY"]
    with serve(Setup(None, settings=given), tmp_path / "log") as registry:
        assert start(registry, "a/b", ALICE).status == 202
        assert start(registry, "a/b", {}).status == 401
        assert registry.request("GET", "/v2/_catalog").status == 401
        assert registry.request("GET", "/v2/_catalog", headers=ALICE).status == 200


def test_without_tokens_clients_are_asked_for_a_password(folder: Path, tmp_path: Path) -> None:
    given = settings(folder, token_service="false")
    with serve(Setup(None, settings=given), tmp_path / "log") as registry:
        reply = registry.request("GET", "/v2/")
        assert reply.headers["WWW-Authenticate"] == 'Basic realm="ferro-oci-server", charset="UTF-8"'
        assert registry.request("GET", "/token").status == 404


def test_files_that_make_no_sense_are_refused_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text("alice:plain\n")
    (tmp_path / "policy.toml").write_text("[rule]\n[groups]\na = 1\n")
    done = run("serve", env=settings(tmp_path))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert f"ferro-oci-server: htpasswd: {tmp_path}/htpasswd: line 1: expected" in lines[0]
    assert "plain" not in done.stderr.replace("plain text", "")


@pytest.mark.parametrize(
    ("arguments", "status", "output"),
    [
        (["user:alice", "push", "a/b"], 0, "allowed by staff"),
        (["anonymous", "pull", "public/x"], 0, "allowed by public"),
        (["anonymous", "pull", "a/b"], 1, "denied: no rule allows it"),
        (["ci:x", "push", "apps/x", "--claims", '{"repository_id": "7"}'], 0, "allowed by ci"),
        (
            ["ci:x", "overwrite-tag", "apps/x", "--tag", "v1", "--claims", '{"repository_id": "7"}'],
            1,
            "denied: no rule",
        ),
        (["user:alice", "metrics"], 0, "allowed by staff"),
        (["user:alice", "fly", "a/b"], 2, "expected one of pull, push"),
        (["alice", "pull", "a/b"], 2, "expected anonymous, or KIND:NAME"),
        (["user:alice", "pull", "A"], 2, "a repository name is"),
        (["ci:x", "pull", "a", "--claims", "[]"], 2, "expected a JSON object"),
    ],
)
def test_it_explains_who_may_do_what(folder: Path, arguments: list[str], status: int, output: str) -> None:
    done = run("can-i", *arguments, env=settings(folder))
    assert done.returncode == status
    assert output in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("listen", "guarded", "warning"),
    [("0.0.0.0", False, "EVERYBODY MAY"), ("0.0.0.0", True, "IN PLAIN TEXT"), ("127.0.0.1", False, None)],
)
def test_it_warns_of_what_others_can_reach(
    folder: Path, tmp_path: Path, listen: str, guarded: bool, warning: str | None
) -> None:
    port = free_port()
    env = {**os.environ, **(settings(folder) if guarded else {}), "FERRO_OCI_LISTEN": f"{listen}:{port}"}
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([COMMAND], env=env, stdout=output, stderr=output)
    try:
        assert _within(30, lambda: answers(f"127.0.0.1:{port}"))
    finally:
        process.terminate()
        process.wait(30)
    text = log.read_text()
    assert ("EVERYBODY MAY" in text, "IN PLAIN TEXT" in text) == (
        warning == "EVERYBODY MAY",
        warning == "IN PLAIN TEXT",
    )


def test_no_secret_is_in_anything_that_it_writes(folder: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    given = settings(folder, audit_log=str(tmp_path / "audit.log"), audit_pulls="true", log_level="debug")
    secret = run("keys", "--storage-dir", str(storage), "create", "robot").stdout.strip()
    build = token(claims(repository_id="7"))
    planted = [PASSWORD, secret, build, "typed-in-the-wrong-place"]
    with serve(Setup(storage, settings=given), tmp_path / "log") as registry:
        shown = [
            ALICE,
            basic("x", secret),
            basic("x", build),
            basic("typed-in-the-wrong-place", "typed-in-the-wrong-place"),
        ]
        for headers in shown:
            reply = registry.request("GET", "/token?service=ferro-oci-server&offline_token=true", headers=headers)
            if reply.status == 200:
                answer = json.loads(reply.body)
                planted += [answer["token"], answer.get("refresh_token", answer["token"])]
                registry.request("GET", "/v2/", headers={"Authorization": f"Bearer {answer['token']}"})
            for name in ("a/b", "public/x", "secret/x"):
                start(registry, name, headers)
                registry.request("GET", f"/v2/{name}/tags/list", headers=headers)
        planted += [it["Authorization"].split()[1] for it in shown]
    written = b"".join(path.read_bytes() for path in (tmp_path / "log", tmp_path / "audit.log"))
    assert b"ci:repo:org/app" in written
    kept = b"".join(path.read_bytes() for path in storage.rglob("*") if path.is_file())
    for text in planted:
        assert text.encode() not in written
        assert text.encode() not in kept
