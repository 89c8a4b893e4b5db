"""Three replicas on PostgreSQL and a real S3 server behind nginx: no request needs the replica of the one before."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest

from ferro_oci_server.testing.images import image
from support.process import free_port
from support.registry import Registry, Reply
from support.replicas import Replicas, replicas

NAME = "a/b"
SECONDS = 60.0

_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'registry' AND pid <> pg_backend_pid()"

IMAGE = image(b"layer of replicas" * 1000)


@pytest.fixture(scope="module")
def world() -> Iterator[Replicas]:
    # Not below pytest's folders, which PostgreSQL's user may not enter.
    with TemporaryDirectory(prefix="ferro-replicas-") as folder, replicas(Path(folder)) as running:
        yield running


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def path_of(reply: Reply) -> str:
    location = urlsplit(reply.headers["Location"])
    return location.path + (f"?{location.query}" if location.query else "")


def begin(registry: Registry) -> str:
    reply = registry.request("POST", f"/v2/{NAME}/blobs/uploads/", b"")
    assert reply.status == 202
    return path_of(reply)


def close(registry: Registry, upload: str, digest: str, body: bytes = b"") -> Reply:
    return registry.request("PUT", f"{upload}{'&' if '?' in upload else '?'}digest={digest}", body)


def push_image(registry: Registry, tag: str) -> None:
    for blob in IMAGE.blobs:
        registry.push_blob(NAME, blob)
    registry.push_manifest(NAME, tag, IMAGE.media_type, IMAGE.body)


def test_an_image_is_pushed_and_pulled_through_whichever_comes(world: Replicas) -> None:
    for number in range(6):
        push_image(world.front, f"v{number}")
    for registry in (*world.servers, world.front):
        assert registry.tags(NAME) == [f"v{number}" for number in range(6)]
        assert registry.manifest(NAME, "v3").body == IMAGE.body
        for blob in IMAGE.blobs:
            assert registry.request("GET", f"/v2/{NAME}/blobs/{digest_of(blob)}").body == blob


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_each_chunk_may_reach_another_replica(world: Replicas, algorithm: str) -> None:
    content = os.urandom(300_000)
    upload, at = begin(world.servers[0]), 0
    for number, size in enumerate((100_000, 1, 150_000, 49_998)):
        chunk, registry = content[at : at + size], world.servers[(number + 1) % 3]
        reply = registry.request("PATCH", upload, chunk, {"Content-Range": f"{at}-{at + size - 1}"})
        assert reply.status == 202
        at += size
        assert reply.headers["Range"] == f"0-{at - 1}"
    digest = digest_of(content, algorithm)
    assert close(world.servers[2], upload, digest, content[at:]).status == 201
    for registry in world.servers:
        assert registry.request("GET", f"/v2/{NAME}/blobs/{digest}").body == content


def test_a_wrong_digest_is_found_by_whoever_closes(world: Replicas) -> None:
    upload = begin(world.servers[0])
    world.servers[1].request("PATCH", upload, b"content")
    assert close(world.servers[2], upload, digest_of(b"other")).status == 400
    assert world.servers[0].request("GET", upload).status == 404


def test_two_replicas_that_close_one_upload_make_one_blob(world: Replicas) -> None:
    for _ in range(10):
        content = os.urandom(50_000)
        upload = begin(world.servers[0])
        world.servers[1].request("PATCH", upload, content[:20_000])
        with ThreadPoolExecutor() as threads:
            closing = [
                threads.submit(close, registry, upload, digest_of(content), content[20_000:])
                for registry in world.servers
            ]
        statuses = {closed.result().status for closed in closing}
        assert 201 in statuses
        # Who comes too late is told so: the session has moved, or has ended.
        assert statuses <= {201, 404, 416}
        found = world.servers[2].request("GET", f"/v2/{NAME}/blobs/{digest_of(content)}")
        assert found.body == content


def test_an_upload_goes_on_where_a_killed_replica_left_it(world: Replicas, tmp_path: Path) -> None:
    content = os.urandom(400_000)
    address = f"127.0.0.1:{free_port()}"
    command = [str(Path(sys.executable).with_name("ferro-oci-server")), "serve", "--listen", address]
    with (tmp_path / "log").open("wb") as log:
        victim = subprocess.Popen(command, env={**os.environ, **world.settings}, stderr=log, start_new_session=True)
    try:
        fourth = Registry(address, victim)
        wait_for(fourth, 200)
        upload = begin(fourth)
        assert fourth.request("PATCH", upload, content[:100_000]).status == 202
        host, port = address.split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"PATCH {upload} HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"
            connection.sendall(head.encode() + content[100_000:250_000])
            time.sleep(0.2)
            os.killpg(victim.pid, signal.SIGKILL)
    finally:
        victim.kill()
        victim.wait()
    at = int(world.front.request("GET", upload).headers["Range"].rpartition("-")[2]) + 1
    assert at == 100_000
    reply = world.servers[1].request("PATCH", upload, content[at:], {"Content-Range": f"{at}-{len(content) - 1}"})
    assert reply.status == 202
    assert close(world.servers[2], upload, digest_of(content)).status == 201
    assert world.front.request("GET", f"/v2/{NAME}/blobs/{digest_of(content)}").body == content


def test_without_its_database_a_registry_says_when_to_come_again_and_recovers_by_itself(world: Replicas) -> None:
    push_image(world.front, "kept")
    world.postgres.kill()
    try:
        for registry in world.servers:
            for method, body in (("GET", None), ("PUT", IMAGE.body)):
                headers = {"Content-Type": IMAGE.media_type}
                reply = registry.request(method, f"/v2/{NAME}/manifests/kept", body, headers)
                assert (reply.status, reply.headers["Retry-After"]) == (503, "2")
            assert registry.request("GET", "/ready").status == 503
            assert registry.request("GET", "/live").status == 200
    finally:
        world.postgres.start()
    for registry in world.servers:
        wait_for(registry, 200)
        assert registry.manifest(NAME, "kept").body == IMAGE.body
    push_image(world.front, "after")


def test_connections_that_are_cut_are_made_anew(world: Replicas) -> None:
    push_image(world.front, "kept")
    for _ in range(5):
        world.postgres.query(_CUT)
        for registry in world.servers:
            statuses = [registry.request("GET", f"/v2/{NAME}/manifests/kept").status for _ in range(12)]
            assert set(statuses) <= {200, 503}
            assert statuses[-1] == 200
    push_image(world.front, "after")


def wait_for(registry: Registry, status: int) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            found = registry.request("GET", "/ready").status
        except OSError:
            found = 0
        if found == status:
            return
        assert time.monotonic() < deadline, f"{registry.address} answers {found}"
        time.sleep(0.05)
