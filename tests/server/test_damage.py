"""Damaged files under a registry that serves: nothing wrong is delivered whole, and a push repairs it."""

import hashlib
import http.client
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.damage import DAMAGES, Damage, blob_file, damage_file, flipped
from support.process import daemon, free_port, listens
from support.registry import Registry, Setup, serve

ROOT = Path(__file__).parents[2]
BLOB = bytes(range(256)) * 4096 * 5
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
PATH = f"/v2/a/b/blobs/{DIGEST}"
SERVERS = ["granian", "uvicorn-h11", "uvicorn-httptools"]


@contextmanager
def serving(server: str, storage: Path, log: Path) -> Iterator[Registry]:
    if server == "granian":
        with serve(Setup(storage), log) as registry:
            yield registry
        return
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT / "tests"), "--factory"]
    command += ["support.stored_app:app", "--port", str(port), "--http", server.removeprefix("uvicorn-")]
    env = {**os.environ, "FERRO_OCI_STORAGE_DIR": str(storage)}
    address = f"127.0.0.1:{port}"
    with daemon(command, env, log, lambda: listens(address)) as process:
        yield Registry(address, process)


def download(registry: Registry) -> tuple[int, int]:
    """GET the blob; the status, and how much of the body arrives before the connection ends."""
    connection = http.client.HTTPConnection(registry.address, timeout=30)
    connection.request("GET", PATH)
    response = connection.getresponse()
    received = 0
    try:
        while piece := response.read(65536):
            received += len(piece)
    except ConnectionError:
        pass
    finally:
        connection.close()
    if response.status == 200:
        assert response.headers["Content-Length"] == str(len(BLOB))
    return response.status, received


@pytest.mark.parametrize("server", SERVERS)
def test_a_download_of_wrong_bytes_ends_early_and_the_blob_is_then_unknown(tmp_path: Path, server: str) -> None:
    storage = tmp_path / "storage"
    with serving(server, storage, tmp_path / "log") as registry:
        registry.push_blob("a/b", BLOB)
        damage_file(blob_file(storage, DIGEST), flipped)
        status, received = download(registry)
        assert status == 200
        assert received < len(BLOB)
        assert registry.request("HEAD", PATH).status == 404
        metrics = registry.request("GET", "/metrics").body.decode()
        assert 'ferro_oci_suspect_blobs{package="ferro-oci-server"} 1.0' in metrics
        assert 'ferro_oci_store_errors_total{kind="StoreCorrupted",package="ferro-oci-server"} 1.0' in metrics
        registry.push_blob("a/b", BLOB)
        assert registry.request("GET", PATH).body == BLOB
    assert "a blob is damaged" in (tmp_path / "log").read_text() or server != "granian"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_repaired_by_a_push(tmp_path: Path, damage: Damage) -> None:
    storage = tmp_path / "storage"
    with serve(Setup(storage), tmp_path / "log") as registry:
        registry.push_blob("a/b", BLOB)
        damage_file(blob_file(storage, DIGEST), damage)
        status, received = download(registry)
        # What can be seen before the first byte is answered by a status.
        assert (status == 200 and received < len(BLOB)) if damage is flipped else status == 404
        assert registry.request("HEAD", PATH).status == 404
        registry.push_blob("a/b", BLOB)
        assert registry.request("HEAD", PATH).status == 200
        assert registry.request("GET", PATH).body == BLOB


def test_a_part_of_a_blob_is_not_hashed(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with serve(Setup(storage), tmp_path / "log") as registry:
        registry.push_blob("a/b", BLOB)
        damage_file(blob_file(storage, DIGEST), flipped)
        reply = registry.request("GET", PATH, headers={"Range": "bytes=0-99"})
        assert (reply.status, reply.body) == (206, BLOB[:100])


@pytest.mark.parametrize("workers", [1, 2])
def test_the_scrub_finds_a_flipped_bit_within_a_cycle(tmp_path: Path, workers: int) -> None:
    storage = tmp_path / "storage"
    settings = {"FERRO_OCI_SCRUB_INTERVAL": "1s", "FERRO_OCI_SCRUB_RATE": "1000"}
    with serve(Setup(storage, workers, settings), tmp_path / "log") as registry:
        registry.push_blob("a/b", BLOB)
        registry.push_blob("a/b", b"sound")
        damage_file(blob_file(storage, DIGEST), flipped)
        deadline = time.monotonic() + 30
        while registry.request("HEAD", PATH).status == 200:
            assert time.monotonic() < deadline, "the scrub finds nothing"
            time.sleep(0.05)
        assert registry.request("HEAD", f"/v2/a/b/blobs/sha256:{hashlib.sha256(b'sound').hexdigest()}").status == 200
        registry.push_blob("a/b", BLOB)
        assert registry.request("GET", PATH).body == BLOB
    assert "its bytes have another digest" in (tmp_path / "log").read_text()


def test_a_scrub_that_is_switched_off_reads_nothing(tmp_path: Path) -> None:
    settings = {"FERRO_OCI_SCRUB_INTERVAL": "1s", "FERRO_OCI_SCRUB_RATE": "0"}
    with serve(Setup(tmp_path / "storage", settings=settings), tmp_path / "log") as registry:
        registry.push_blob("a/b", b"sound")
        time.sleep(1.5)
        metrics = registry.request("GET", "/metrics").body.decode()
    assert 'ferro_oci_scrubbed_blobs{package="ferro-oci-server"} 0.0' in metrics
