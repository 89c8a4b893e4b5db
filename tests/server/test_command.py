"""The command, as a process: what it serves, how it stops, and what it says."""

import hashlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ferro_oci_server import PACKAGE_NAME
from support.object_store import CREDENTIALS, S3Server
from support.process import free_port
from support.registry import Registry, Setup, serve

COMMAND = str(Path(sys.executable).with_name("ferro-oci-server"))
BLOB = b"some bytes"
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"


def shared_folders() -> set[Path]:
    return set(Path("/dev/shm").glob("ferro-oci-*"))


def log_lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("path", ["/live", "/healthz", "/ready", "/metrics", "/v2/"])
@pytest.mark.parametrize("stored", [True, False], ids=["files", "memory"])
def test_the_command_serves_the_api_probes_and_metrics(tmp_path: Path, path: str, stored: bool) -> None:
    with serve(Setup(tmp_path / "storage" if stored else None), tmp_path / "log") as registry:
        assert registry.request("GET", path).status == 200


def test_sigint_stops_it_with_status_0(tmp_path: Path) -> None:
    with serve(Setup(None), tmp_path / "log") as registry:
        registry.process.send_signal(signal.SIGINT)
        assert registry.process.wait(timeout=30) == 0


@pytest.mark.parametrize("stored", [True, False], ids=["files", "memory"])
def test_two_workers_serve_the_same_content(tmp_path: Path, stored: bool) -> None:
    setup = Setup(tmp_path / "storage" if stored else None, workers=2)
    with serve(setup, tmp_path / "log") as registry:
        registry.push_blob("a/b", BLOB)
        # Each connection may reach either worker.
        assert {registry.request("GET", f"/v2/a/b/blobs/{DIGEST}").status for _ in range(40)} == {200}


def test_what_two_workers_kept_in_memory_is_gone_when_they_are(tmp_path: Path) -> None:
    before = shared_folders()
    with serve(Setup(None, workers=2), tmp_path / "log") as registry:
        registry.push_blob("a/b", BLOB)
        assert shared_folders() > before
    assert shared_folders() == before


def test_any_of_two_workers_reports_the_metrics_of_both(tmp_path: Path) -> None:
    with serve(Setup(tmp_path / "storage", workers=2), tmp_path / "log") as registry:
        for _ in range(40):
            registry.request("GET", "/v2/")
        labels = f'method="GET",package="{PACKAGE_NAME}",route="/v2/",status="200"'
        # What the other worker has counted is told soon.
        deadline = time.monotonic() + 20
        metrics = ""
        while f"ferro_oci_requests_total{{{labels}}} 40.0" not in metrics:
            assert time.monotonic() < deadline, metrics
            metrics = registry.request("GET", "/metrics").body.decode()
    assert f'ferro_oci_open_uploads{{package="{PACKAGE_NAME}"}} 0.0' in metrics


def test_the_log_is_json_and_tells_of_every_request(tmp_path: Path) -> None:
    with serve(Setup(None), tmp_path / "log") as registry:
        registry.request("GET", "/v2/none/manifests/v1", headers={"User-Agent": 'a "quoted"\tagent'})

    [line] = [line for line in log_lines(tmp_path / "log") if line.get("path") == "/v2/none/manifests/v1"]
    assert (line["method"], line["status"], line["client"]) == ("GET", 404, "127.0.0.1")
    assert line["agent"] == 'a "quoted"\tagent'


def test_a_registry_in_memory_says_that_it_forgets(tmp_path: Path) -> None:
    with serve(Setup(None), tmp_path / "log"):
        pass
    assert any("FERRO_OCI_STORAGE_DIR" in line["message"] for line in log_lines(tmp_path / "log"))


def test_wrong_settings_are_all_named_and_nothing_is_served() -> None:
    done = subprocess.run([COMMAND, "--workers", "0", "--listen", "x"], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "--workers: " in done.stderr
    assert "--listen: " in done.stderr
    assert done.stdout == ""


def test_storage_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    with serve(Setup(tmp_path), tmp_path / "log"):
        pass
    with sqlite3.connect(tmp_path / "registry.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffff'")
    database.close()

    done = subprocess.run([COMMAND, "--storage-dir", str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert "ffff" in done.stderr


def test_a_folder_beside_a_bucket_is_made(tmp_path: Path, running_s3: S3Server) -> None:
    settings = {**CREDENTIALS, "FERRO_OCI_STORAGE_URL": running_s3.url()}
    with serve(Setup(tmp_path / "new" / "storage", settings=settings), tmp_path / "log") as registry:
        registry.push_blob("a/b", BLOB)
    assert [path.name for path in (tmp_path / "new" / "storage").iterdir()] == ["registry.db"]


def test_a_port_that_is_taken_is_an_error_and_not_silence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        done = subprocess.run([COMMAND, "--listen", listen], capture_output=True, timeout=30, check=False)

    assert done.returncode != 0
    assert b"Address already in use" in done.stderr


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ferro_oci_server", "serve", "--help"], capture_output=True, check=True
    )

    assert b"--storage-dir" in done.stdout


def test_a_running_upload_is_finished_after_sigterm_and_new_connections_are_refused(tmp_path: Path) -> None:
    with serve(Setup(tmp_path / "storage"), tmp_path / "log") as registry:
        connection, upload = _begin_patch(registry, tmp_path / "storage")
        registry.process.terminate()
        _wait_until_refused(registry)

        connection.send(b"5\r\nworld\r\n0\r\n\r\n")
        assert connection.getresponse().status == 202
        connection.close()
        assert registry.process.wait(timeout=30) == 0

    with serve(Setup(tmp_path / "storage"), tmp_path / "log2") as registry:
        assert registry.request("GET", upload).headers["Range"] == "0-9"


def test_a_request_that_never_ends_is_cut_off_behind_the_limit(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "storage", settings={"FERRO_OCI_SHUTDOWN_SECONDS": "1"})
    with serve(setup, tmp_path / "log") as registry:
        connection, _ = _begin_patch(registry, tmp_path / "storage")
        started = time.monotonic()
        registry.process.terminate()
        registry.process.wait(timeout=30)
        assert time.monotonic() - started < 10
        connection.close()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_an_upload_is_resumed_after_the_server_was_killed(tmp_path: Path, workers: int, algorithm: str) -> None:
    first, second = b"a" * 100_000, b"b" * 50_000
    setup = Setup(tmp_path / "storage", workers=workers)
    process = _start(setup)
    try:
        registry = Registry(process.listen, process.popen)
        target = f"/v2/a/b/blobs/uploads/?digest-algorithm={algorithm}"
        upload = registry.request("POST", target, b"").headers["Location"]
        assert registry.request("PATCH", upload, first, {"Content-Range": "0-99999"}).status == 202
    finally:
        process.kill()

    with serve(setup, tmp_path / "log") as registry:
        status = registry.request("GET", upload)
        assert (status.status, status.headers["Range"]) == (204, "0-99999")
        resumed = registry.request("PATCH", status.headers["Location"], second, {"Content-Range": "100000-149999"})
        digest = f"{algorithm}:{hashlib.new(algorithm, first + second).hexdigest()}"
        assert registry.request("PUT", f"{resumed.headers['Location']}?digest={digest}", b"").status == 201
        assert registry.request("GET", f"/v2/a/b/blobs/{digest}").body == first + second


class _Started:
    """A command in a process group of its own, so that its workers can be killed with it."""

    def __init__(self, popen: subprocess.Popen[bytes], listen: str) -> None:
        self.popen, self.listen = popen, listen

    def kill(self) -> None:
        # The workers first: those that lose their parent end in order.
        children = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()
        for pid in (*map(int, children), self.popen.pid):
            subprocess.run(["kill", "-9", str(pid)], check=True)
        self.popen.wait(timeout=30)


def _start(setup: Setup) -> _Started:
    listen = f"127.0.0.1:{free_port()}"
    popen = subprocess.Popen(setup.command(listen), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if Registry(listen, popen).request("GET", "/ready").status == 200:
                return _Started(popen, listen)
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the registry did not start")


def _begin_patch(registry: Registry, storage: Path) -> tuple[http.client.HTTPConnection, str]:
    """Send half of a chunk, and make sure that the server has begun with it."""
    upload = registry.request("POST", "/v2/a/b/blobs/uploads/", b"").headers["Location"]
    connection = http.client.HTTPConnection(registry.address, timeout=30)
    connection.putrequest("PATCH", upload)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders(b"5\r\nhello\r\n")
    deadline = time.monotonic() + 10
    while not (storage / "uploads" / upload.rpartition("/")[2]).exists():
        assert time.monotonic() < deadline, "the server does not take the chunk"
        time.sleep(0.02)
    return connection, upload


def _wait_until_refused(registry: Registry) -> None:
    host, port = registry.address.split(":")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return
        time.sleep(0.02)
    raise AssertionError("new connections are still taken")


def test_a_worker_that_dies_is_replaced_while_the_other_serves(tmp_path: Path) -> None:
    with serve(Setup(tmp_path / "storage", workers=2), tmp_path / "log") as registry:
        before = _children(registry.process.pid)
        os.kill(before[0], signal.SIGKILL)
        deadline, answered = time.monotonic() + 20, False
        while not answered or len(set(_children(registry.process.pid)) - {before[0]}) < 2:
            assert time.monotonic() < deadline, "the worker is not replaced, or nobody serves"
            # A connection that was the dead worker's is reset, and the other one may still be about to listen.
            answered = False
            with suppress(OSError):
                answered = registry.request("GET", "/v2/").status == 200


@pytest.mark.parametrize("milliseconds", range(0, 60, 6))
def test_a_worker_that_has_just_been_forked_hears_that_it_is_to_end(tmp_path: Path, milliseconds: int) -> None:
    with serve(Setup(tmp_path / "storage", workers=2), tmp_path / "log") as registry:
        before = set(_children(registry.process.pid))
        os.kill(min(before), signal.SIGKILL)
        while not set(_children(registry.process.pid)) - before:
            pass
        time.sleep(milliseconds / 1000)
        started = time.monotonic()
    # One that does not hear is killed half a minute later.
    assert time.monotonic() - started < 20


def test_workers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    process = _start(Setup(tmp_path / "storage", workers=2))
    workers = _children(process.popen.pid)
    process.popen.kill()
    process.popen.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker lives on, and holds the port"
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
