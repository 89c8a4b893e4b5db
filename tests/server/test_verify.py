"""``ferro-oci-server verify``, beside a registry that serves: what it finds, what it repairs, and what it leaves."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from ferro_oci_server.cli import main
from ferro_oci_server.testing.images import Content, image, index
from support.damage import DAMAGES, Damage, blob_file, damage_file, flipped
from support.registry import Registry, Setup, serve

COMMAND = str(Path(sys.executable).with_name("ferro-oci-server"))
LAYER = b"layer" * 50_000
IMAGE = image(LAYER)
DIGEST = f"sha256:{hashlib.sha256(LAYER).hexdigest()}"
NAME = "a/b"


def verify(storage: Path, *flags: str) -> tuple[int, list[list[str]]]:
    """Run the command in this process, which is quicker; its exit status, and its lines, field by field."""
    with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
        status = main(["verify", "--storage-dir", str(storage), *flags])
    assert status in (0, 1), errors.getvalue()
    return status, [line.split("\t") for line in output.getvalue().splitlines()]


def push(registry: Registry, content: Content, reference: str = "v1") -> None:
    for blob in content.blobs:
        registry.push_blob(NAME, blob)
    registry.push_manifest(NAME, reference, content.media_type, content.body)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def registry(tmp_path: Path, storage: Path) -> Iterator[Registry]:
    """A registry with a signed image in an index."""
    with serve(Setup(storage), tmp_path / "log") as registry:
        push(registry, IMAGE, IMAGE.digest)
        push(registry, index([IMAGE]))
        signature = image(b"signature", subject=IMAGE.descriptor())
        push(registry, signature, signature.digest)
        yield registry


def change(storage: Path, sql: str, *values: object) -> None:
    database = sqlite3.connect(storage / "registry.db", timeout=10)
    with database:
        assert database.execute(sql, values).rowcount > 0
    database.close()


def test_a_healthy_registry_is_clean(registry: Registry, storage: Path) -> None:
    assert verify(storage) == (0, [])
    assert verify(storage, "--repair") == (0, [])


def test_a_registry_is_clean_while_it_is_pushed_to(registry: Registry, storage: Path) -> None:
    ended = threading.Event()

    def go_on_pushing() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            push(registry, image(b"layer %d" % number, subject=IMAGE.descriptor()), f"v{number % 3}")
            registry.push_blob(NAME, LAYER)
            registry.request("DELETE", f"/v2/{NAME}/manifests/v{number % 3}")

    pushing = threading.Thread(target=go_on_pushing)
    pushing.start()
    try:
        for _ in range(2):
            assert verify(storage, "--repair") == (0, [])
    finally:
        ended.set()
        pushing.join()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_found_and_must_be_pushed_again(registry: Registry, storage: Path, damage: Damage) -> None:
    damage_file(blob_file(storage, DIGEST), damage)
    path = f"/v2/{NAME}/blobs/{DIGEST}"
    status, [line] = verify(storage)
    assert (status, line[:3], line[4]) == (1, ["blob", "-", DIGEST], "-")
    assert registry.request("HEAD", path).status == 200
    assert [line[4] for line in verify(storage, "--repair")[1]] == ["must be pushed again"]
    assert registry.request("HEAD", path).status == 404
    registry.push_blob(NAME, LAYER)
    assert registry.request("GET", path).body == LAYER
    assert verify(storage) == (0, [])


def test_a_damaged_file_is_restored_from_the_quarantine(registry: Registry, storage: Path) -> None:
    # The bytes of the first push wait for their removal.
    old = blob_file(storage, DIGEST)
    registry.push_blob(NAME, LAYER)
    [new] = [path for path in old.parent.iterdir() if path != old]
    damage_file(new, flipped)
    status, lines = verify(storage, "--repair")
    assert (status, [line[4] for line in lines]) == (1, ["restored from the quarantine"])
    assert registry.request("GET", f"/v2/{NAME}/blobs/{DIGEST}").body == LAYER
    assert verify(storage) == (0, [])


def test_damaged_bytes_are_not_restored(registry: Registry, storage: Path) -> None:
    old = blob_file(storage, DIGEST)
    registry.push_blob(NAME, LAYER)
    for path in old.parent.iterdir():
        damage_file(path, flipped)
    assert [line[4] for line in verify(storage, "--repair")[1]] == ["must be pushed again"]


def test_a_file_that_came_back_is_found_again(registry: Registry, storage: Path) -> None:
    path = blob_file(storage, DIGEST)
    content = path.read_bytes()
    path.unlink()
    assert registry.request("GET", f"/v2/{NAME}/blobs/{DIGEST}").status == 404
    path.write_bytes(content)
    assert [line[3:] for line in verify(storage)[1]] == [["it is marked as damaged, and is not", "-"]]
    assert [line[4] for line in verify(storage, "--repair")[1]] == ["found again"]
    assert registry.request("GET", f"/v2/{NAME}/blobs/{DIGEST}").body == LAYER


def test_a_damaged_manifest_is_found_not_delivered_and_repaired_by_a_push(registry: Registry, storage: Path) -> None:
    change(storage, "UPDATE manifests SET content = ? WHERE digest = ?", flipped(IMAGE.body), IMAGE.digest)
    assert [line[:3] for line in verify(storage, "--repair")[1]] == [["manifest", NAME, IMAGE.digest]]
    assert registry.request("GET", f"/v2/{NAME}/manifests/{IMAGE.digest}").status == 500
    registry.push_manifest(NAME, IMAGE.digest, IMAGE.media_type, IMAGE.body)
    assert registry.manifest(NAME, IMAGE.digest).body == IMAGE.body
    assert verify(storage) == (0, [])


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE manifests SET subject = NULL WHERE subject IS NOT NULL",
        "UPDATE manifests SET artifact_type = 'x' WHERE subject IS NOT NULL",
        "UPDATE manifests SET size = 1 WHERE subject IS NOT NULL",
        "DELETE FROM manifest_references WHERE manifest_id = 3",
    ],
)
def test_wrong_records_of_a_manifest_are_found_and_repaired_by_a_push(
    registry: Registry, storage: Path, sql: str
) -> None:
    change(storage, sql)
    assert {line[0] for line in verify(storage)[1]} == {"manifest"}
    signature = image(b"signature", subject=IMAGE.descriptor())
    registry.push_manifest(NAME, signature.digest, signature.media_type, signature.body)
    assert verify(storage) == (0, [])


def test_what_a_manifest_needs_and_lacks_is_found(registry: Registry, storage: Path) -> None:
    registry.request("DELETE", f"/v2/{NAME}/blobs/{DIGEST}")
    registry.request("DELETE", f"/v2/{NAME}/manifests/{IMAGE.digest}")
    [line] = verify(storage)[1]
    assert line[:3] == ["reference", NAME, IMAGE.digest]
    assert verify(storage, "--missing-references", "allow") == (0, [])


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("DELETE FROM repository_blobs WHERE digest = ?", {"reference", "row"}),
        ("DELETE FROM blobs WHERE digest = ?", {"row"}),
    ],
)
def test_links_and_blobs_without_each_other_are_found(
    registry: Registry, storage: Path, sql: str, kind: set[str]
) -> None:
    change(storage, sql, DIGEST)
    status, lines = verify(storage, "--repair")
    assert (status, {line[0] for line in lines}) == (1, kind)
    assert {line[2] for line in lines} == {DIGEST}


def stray(storage: Path, age: float) -> Path:
    """A file that no row knows, as a push leaves it that dies before its transaction."""
    content = b"stray"
    encoded = hashlib.sha256(content).hexdigest()
    path = storage / "blobs" / "sha256" / encoded[:2] / f"{encoded}.00000000-0000-4000-8000-000000000000"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_a_file_that_no_row_knows_is_found_and_then_collected(registry: Registry, storage: Path) -> None:
    path = stray(storage, 2 * 3600)
    location = str(path.relative_to(storage / "blobs"))
    assert verify(storage) == (1, [["file", "-", location, "no record knows these bytes", "-"]])
    assert [line[4] for line in verify(storage, "--repair")[1]] == ["waits as trash"]
    assert verify(storage) == (0, [])
    assert path.exists()


def test_fresh_files_and_staged_ones_are_not_garbage(registry: Registry, storage: Path) -> None:
    stray(storage, 60)
    registry.request("PATCH", registry.request("POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"], b"staged")
    assert verify(storage) == (0, [])


def test_files_older_than_their_rows_are_served_as_far_as_they_go(registry: Registry, storage: Path) -> None:
    """Restore old files under a newer database, as from backups of different days (F9)."""
    shutil.rmtree(storage / "blobs" / "sha256")
    (storage / "blobs" / "sha256").mkdir()
    status, lines = verify(storage, "--repair")
    assert (status, {line[4] for line in lines}) == (1, {"must be pushed again"})
    push(registry, IMAGE, IMAGE.digest)
    assert registry.request("GET", f"/v2/{NAME}/blobs/{DIGEST}").body == LAYER


def test_a_file_that_no_row_knows_is_given_to_the_blob_that_lacks_it(registry: Registry, storage: Path) -> None:
    """Restore an old database over newer files: the blob was pushed again since (F9)."""
    known = blob_file(storage, DIGEST)
    newer = known.rename(known.with_suffix(".00000000-0000-4000-8000-000000000000"))
    os.utime(newer, (0, 0))
    outcomes = [line[4] for line in verify(storage, "--repair")[1]]
    assert outcomes == ["waits as trash", "restored from the quarantine"]
    assert registry.request("GET", f"/v2/{NAME}/blobs/{DIGEST}").body == LAYER
    assert verify(storage) == (0, [])


def test_findings_go_to_standard_error(registry: Registry, storage: Path) -> None:
    done = subprocess.run(
        [COMMAND, "verify", "--storage-dir", str(storage)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "3 manifests looked at, 0 findings" in done.stderr


def test_without_a_folder_there_is_nothing_to_verify() -> None:
    done = subprocess.run([COMMAND, "verify"], capture_output=True, text=True, check=False)
    assert (done.returncode, "storage_dir" in done.stderr) == (2, True)
