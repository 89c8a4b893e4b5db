"""The command whose downloads are links: into a real bucket, behind a login, and what its logs and numbers say."""

import base64
import hashlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import bcrypt
import pytest

from support.object_store import CREDENTIALS, S3Server
from support.process import POLL_SECONDS
from support.registry import Registry, Reply, Setup, serve

COMMAND = str(Path(sys.executable).with_name("ferro-oci-server"))
BLOB = os.urandom(3_000_000)
PATH = f"/v2/a/b/blobs/sha256:{hashlib.sha256(BLOB).hexdigest()}"
PASSWORD = "correct horse battery staple"
LOGIN = {"Authorization": "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()}
SECONDS = 10.0


def settings(url: str, **more: str) -> dict[str, str]:
    given = {"storage_url": url, "redirect_downloads": "true", "redirect_except": "old/*", **more}
    return {**CREDENTIALS, **{f"FERRO_OCI_{name.upper()}": value for name, value in given.items()}}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("redirects") / "log"


@pytest.fixture(scope="module")
def registry(running_s3: S3Server, log: Path) -> Iterator[Registry]:
    with serve(Setup(log.with_name("storage"), 2, settings(running_s3.url())), log) as registry:
        registry.push_blob("a/b", BLOB)
        yield registry


def follow(reply: Reply, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """What a client gets that repeats its headers where it is sent."""
    assert reply.status == 307, reply
    parts = urlsplit(reply.headers["Location"])
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}", headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("headers", "status", "part"),
    [
        ({}, 200, BLOB),
        ({"Range": "bytes=1000-1999999"}, 206, BLOB[1000:2000000]),
        ({"Range": "bytes=9-"}, 206, BLOB[9:]),
    ],
    ids=["whole", "middle", "rest"],
)
def test_a_link_gives_what_is_served_here(
    registry: Registry, headers: dict[str, str], status: int, part: bytes
) -> None:
    assert follow(registry.request("GET", PATH, headers=headers), headers) == (status, part)
    here = registry.request("GET", PATH, headers={**headers, "User-Agent": "old/1.0"})
    assert (here.status, here.body) == (status, part)


def test_head_is_answered_here(registry: Registry) -> None:
    reply = registry.request("HEAD", PATH)
    assert (reply.status, reply.headers["Content-Length"]) == (200, str(len(BLOB)))


def test_links_are_counted_as_what_they_are_and_logged_nowhere(registry: Registry, log: Path) -> None:
    reply = registry.request("GET", PATH, headers={"User-Agent": "test of the log"})
    signature = reply.headers["Location"].rpartition("X-Amz-Signature=")[2]
    assert len(signature) == 64
    deadline = time.monotonic() + SECONDS
    while "test of the log" not in (text := log.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)
    assert "X-Amz" not in text
    assert signature not in text
    [line] = [json.loads(line) for line in text.splitlines() if "test of the log" in line]
    assert (line["status"], line["sent"], line["path"]) == (307, 0, PATH)
    labels = b'method="GET",package="ferro-oci-server",route="/v2/<name>/blobs/<digest>",status="307"'
    # What another worker has counted is told soon.
    while labels not in registry.request("GET", "/metrics").body:
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


def test_who_is_logged_in_is_sent_to_other_hosts_only(running_s3: S3Server, tmp_path: Path) -> None:
    digest = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    (tmp_path / "htpasswd").write_text(f"alice:{digest}\n")
    files = {"htpasswd": str(tmp_path / "htpasswd"), "audit_log": str(tmp_path / "audit.log"), "audit_pulls": "true"}
    prefix, port = "logged-in", running_s3.address.rpartition(":")[2]
    for endpoint, status in (("127.0.0.1", 200), ("localhost", 307)):
        url = running_s3.url(prefix, public_endpoint=f"http://{endpoint}:{port}")
        with serve(Setup(tmp_path / "storage", settings=settings(url, **files)), tmp_path / "log") as registry:
            session = registry.request("POST", "/v2/a/b/blobs/uploads/", b"", LOGIN).headers["Location"]
            digest = PATH.rpartition("/")[2]
            assert registry.request("PUT", f"{session}?digest={digest}", BLOB, LOGIN).status == 201
            assert registry.request("GET", PATH).status == 401
            reply = registry.request("GET", PATH, headers=LOGIN)
            assert reply.status == status
            if status == 307:
                assert follow(reply, {}) == (200, BLOB)
    pulls = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines() if '"pull"' in line]
    assert [pull["status"] for pull in pulls if pull["event"] == "pull"] == [200, 307]


def test_only_a_bucket_has_links(tmp_path: Path) -> None:
    command = [COMMAND, "--storage-dir", str(tmp_path), "--redirect-downloads", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "ferro-oci-server: --redirect-downloads: only a bucket has links to its blobs: set storage_url\n"
    )
