"""Garbage collection by the command: in the background, once, and dry."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

from support.registry import Setup, serve

COMMAND = str(Path(sys.executable).with_name("ferro-oci-server"))
BLOB = b"lost"
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
QUICK = {
    "FERRO_OCI_BLOB_GRACE": "1s",
    "FERRO_OCI_TRASH_GRACE": "1s",
    "FERRO_OCI_COLLECTION_INTERVAL": "1s",
}


def gc(storage: Path, *flags: str) -> list[list[str]]:
    """Run the command once; its lines, field by field."""
    done = subprocess.run(
        [COMMAND, "gc", "--storage-dir", str(storage), *flags], capture_output=True, text=True, check=True
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


def files(storage: Path) -> list[Path]:
    return [path for path in (storage / "blobs").rglob("*") if path.is_file()]


def wait_until_collected(storage: Path) -> None:
    deadline = time.monotonic() + 30
    while files(storage):
        assert time.monotonic() < deadline, "the bytes are still there"
        time.sleep(0.1)


def test_what_nothing_needs_goes_while_the_registry_serves(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with serve(Setup(storage, workers=2, settings=QUICK), tmp_path / "log") as registry:
        registry.push_blob("a/b", BLOB)
        wait_until_collected(storage)
        assert registry.request("GET", f"/v2/a/b/blobs/{DIGEST}").status == 404
        metrics = registry.request("GET", "/metrics").body.decode()
    assert 'ferro_oci_collected{kind="trash",package="ferro-oci-server"} 1.0' in metrics
    assert 'ferro_oci_collected_bytes{kind="link",package="ferro-oci-server"} 4.0' in metrics


def test_a_dry_run_explains_and_removes_nothing(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with serve(Setup(storage), tmp_path / "log") as registry:
        registry.push_blob("a/b", BLOB)
        assert gc(storage, "--dry-run") == [["remove", "link", "a/b", DIGEST, "4", "no manifest refers to it"]]
        assert registry.request("GET", f"/v2/a/b/blobs/{DIGEST}").status == 200


def test_once_removes_what_is_due_beside_a_registry_that_serves(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    # The registry's clock goes on, but it keeps blobs for longer than the command is told to.
    with serve(Setup(storage, settings={"FERRO_OCI_COLLECTION_INTERVAL": "1s"}), tmp_path / "log") as registry:
        registry.push_blob("a/b", BLOB)
        assert gc(storage) == []
        assert [line[:2] for line in collect_when_due(storage)] == [["remove", "link"]]
        assert registry.request("GET", f"/v2/a/b/blobs/{DIGEST}").status == 404


def collect_when_due(storage: Path) -> list[list[str]]:
    deadline = time.monotonic() + 30
    while not (lines := gc(storage, "--blob-grace", "1s")):
        assert time.monotonic() < deadline, "nothing becomes due"
    return lines
