"""Backup and restore by the command, beside a registry that is pushed to, deleted from and collected."""

import hashlib
import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backup.source import Source
from ferro_oci_server.cli import main
from support.images import image
from support.registry import Registry, Setup, serve

COMMAND = str(Path(sys.executable).with_name("ferro-oci-server"))
# Blobs and manifests go quickly; their files stay for as long as a backup may take.
COLLECTING = {
    "FERRO_OCI_BLOB_GRACE": "1s",
    "FERRO_OCI_MANIFEST_GRACE": "1s",
    "FERRO_OCI_TRASH_GRACE": "20s",
    "FERRO_OCI_COLLECTION_INTERVAL": "1s",
}
PUSHERS = 4


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)


def back_up(storage: Path, folder: Path) -> str:
    """Back up; what it says."""
    done = run("backup", folder, "--storage-dir", storage)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def snapshot_of(folder: Path) -> sqlite3.Connection:
    name = json.loads((folder / "current.json").read_text())["snapshot"]
    return sqlite3.connect(f"file:{folder}/snapshots/{name}?immutable=1", uri=True)


def tags_in(folder: Path) -> dict[str, dict[str, str]]:
    """The tags of the current snapshot, by repository, with the digests that they point at."""
    snapshot = snapshot_of(folder)
    tags: dict[str, dict[str, str]] = {name: {} for (name,) in snapshot.execute("SELECT name FROM repositories")}
    query = (
        "SELECT repositories.name, tags.name, manifests.digest FROM tags "
        "JOIN repositories ON repositories.id = tags.repository_id JOIN manifests ON manifests.id = manifest_id"
    )
    for repository, tag, digest in snapshot.execute(query):
        tags[repository][tag] = digest
    snapshot.close()
    return tags


def manifests_in(folder: Path) -> list[tuple[str, str]]:
    """All manifests of the current snapshot: repository and digest."""
    snapshot = snapshot_of(folder)
    query = "SELECT name, digest FROM manifests JOIN repositories ON repositories.id = repository_id"
    rows = snapshot.execute(query).fetchall()
    snapshot.close()
    return rows


def churn(registry: Registry, number: int, ended: threading.Event) -> None:
    """Push images, move tags and delete, until the end."""
    chance = random.Random(number)
    repository = f"churn/{number}"
    digests: list[str] = []
    count = 0
    while not ended.is_set():
        made = image(f"{number}-{count}")
        registry.push(repository, made, f"v{chance.randrange(8)}")
        digests.append(made.digest)
        count += 1
        if len(digests) > 4:
            which = digests.pop(chance.randrange(len(digests)))
            registry.request("DELETE", f"/v2/{repository}/manifests/{which}")
        if count % 5 == 0:
            registry.request("DELETE", f"/v2/{repository}/manifests/v{chance.randrange(8)}")


@contextmanager
def churned(registry: Registry) -> Iterator[None]:
    """Threads that change the registry until the block ends; none may fail."""
    ended = threading.Event()
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as exc:
            failures.append(exc)

    def pusher(number: int) -> threading.Thread:
        return threading.Thread(target=guarded, args=(lambda: churn(registry, number, ended),))

    threads = [pusher(number) for number in range(PUSHERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert failures == []


def check_whole(registry: Registry, folder: Path) -> int:
    """Compare what is served with the snapshot, byte for byte by digests; the number of manifests."""
    for repository, tags in tags_in(folder).items():
        assert registry.tags(repository) == sorted(tags)
        assert {tag: registry.digest(repository, tag) for tag in tags} == tags
    manifests = manifests_in(folder)
    for repository, digest in manifests:
        content = registry.content(repository, digest)
        for blob in (content["config"], *content["layers"]):
            reply = registry.request("GET", f"/v2/{repository}/blobs/{blob['digest']}")
            assert reply.status == 200
            assert f"sha256:{hashlib.sha256(reply.body).hexdigest()}" == blob["digest"]
    return len(manifests)


def back_up_beside_the_collector(registry: Registry, storage: Path, folder: Path) -> None:
    """Back up again and again, until the collector has removed something meanwhile, and once more."""
    deadline = time.monotonic() + 30
    while b'ferro_oci_collected{kind="link"' not in registry.request("GET", "/metrics").body:
        assert time.monotonic() < deadline, "nothing is collected"
        back_up(storage, folder)
    back_up(storage, folder)


def test_a_backup_taken_while_everything_changes_is_consistent(tmp_path: Path) -> None:
    storage, folder, restored = tmp_path / "storage", tmp_path / "backup", tmp_path / "restored"
    with serve(Setup(storage, settings=COLLECTING), tmp_path / "log") as registry:
        registry.push("quiet/app", image("quiet"))
        with churned(registry):
            back_up_beside_the_collector(registry, storage, folder)
    done = run("restore", folder, "--storage-dir", restored)
    assert (done.returncode, done.stderr) == (0, "")
    with serve(Setup(restored), tmp_path / "log2") as registry:
        assert check_whole(registry, folder) > PUSHERS
        assert registry.status("quiet/app") == 200


def test_a_later_backup_copies_only_what_is_new(tmp_path: Path) -> None:
    storage, folder = tmp_path / "storage", tmp_path / "backup"

    def written() -> dict[Path, int]:
        return {path: path.stat().st_ino for path in (folder / "blobs").rglob("*") if path.is_file()}

    with serve(Setup(storage), tmp_path / "log") as registry:
        registry.push("a/b", image("one", layer_count=5))
        assert "copied: 6 blobs" in back_up(storage, folder)
        before = written()
        registry.push("a/b", image("two", layer_count=2), "v2")
        assert "copied: 3 blobs" in back_up(storage, folder)
        assert len(set(written().items()) - set(before.items())) == 3
        assert "copied: 0 blobs" in back_up(storage, folder)


def test_it_says_what_it_has_and_what_it_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Source(tmp_path)
    source.push(b"one", b"two")
    said = "repositories: 1, manifests: 2, tags: 2, blobs: 3 (8 bytes); "
    assert main(["backup", str(source.backup), "--storage-dir", str(source.storage)]) == 0
    assert capsys.readouterr() == (f"{said}copied: 3 blobs (8 bytes); removed: 0 blobs\n", "")
    assert main(["restore", str(source.backup), "--storage-dir", str(source.restored)]) == 0
    assert capsys.readouterr().out.startswith(f"{said}as of 20")


def test_damage_is_a_line_each_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Source(tmp_path)
    source.push(b"one", b"two")
    source.file(b"one").write_bytes(b"onE")
    for command, storage in (("backup", source.storage), ("restore", source.restored)):
        assert main([command, str(source.backup), "--storage-dir", str(storage)]) == 1
        out, err = capsys.readouterr()
        assert "manifests: 2" in out
        assert err.startswith(f"ferro-oci-server: blob sha256:{hashlib.sha256(b'one').hexdigest()}: ")
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "folder", "storage"),
    [
        ("backup", "backup", None),
        ("backup", "new", "none"),
        ("backup", "storage/backup", "storage"),
        ("restore", "backup", None),
        ("restore", "backup", "storage"),
        ("restore", "none", "restored"),
    ],
)
def test_what_is_refused_is_a_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, folder: str, storage: str | None
) -> None:
    source = Source(tmp_path)
    source.push(b"one")
    source.save()
    flags = [] if storage is None else ["--storage-dir", str(tmp_path / storage)]
    assert main([command, str(tmp_path / folder), *flags]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith("ferro-oci-server: ")


def test_a_backup_that_cannot_be_written_is_a_line_and_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Source(tmp_path)
    source.push(b"one")
    (tmp_path / "file").write_text("no folder")
    assert main(["backup", str(tmp_path / "file" / "backup"), "--storage-dir", str(source.storage)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
