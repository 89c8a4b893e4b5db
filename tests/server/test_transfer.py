"""``ferro-oci-server transfer``: beside a registry that serves, killed in the middle, and to the last switch."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backup.source import Source
from ferro_oci_server.cli import main
from ferro_oci_server.testing.faults.failpoints import VARIABLE
from ferro_oci_server.testing.images import image as content
from support.images import Image, image, index
from support.registry import Registry, Setup, serve
from transfer.distribution_files import DistributionFiles

COMMAND = str(Path(sys.executable).with_name("ferro-oci-server"))
TESTS = Path(__file__).parents[1]


def run(*arguments: str | Path, at: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command; ``at`` is the point where it is to be killed."""
    command = [sys.executable, "-m", "transfer.dying"] if at else [COMMAND]
    paths = [str(TESTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, VARIABLE: at, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60, env=environment
    )


def transferred(source: Path, target: Path, *flags: str) -> list[str]:
    """Transfer, with nothing to complain of; what is said."""
    done = run("transfer", "--from", source, "--to", target, *flags)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


def verify(storage: Path) -> None:
    done = run("verify", "--storage-dir", storage)
    assert (done.returncode, done.stdout) == (0, ""), done


def push_many(registry: Registry) -> dict[tuple[str, str], str]:
    """Fill a registry; the digests by repository and tag."""
    pushed: dict[tuple[str, str], str] = {}
    for number in range(12):
        repository = f"team/{number % 3}"
        for made, tag in ((image(f"image {number}"), f"v{number}"), (index(f"index {number}"), f"all{number}")):
            registry.push(repository, made, tag)
            pushed[repository, tag] = made.digest
    return pushed


def check(registry: Registry, pushed: dict[tuple[str, str], str]) -> None:
    """See that everything is served, byte for byte."""
    assert {where: registry.digest(*where) for where in pushed} == pushed
    for repository, tag in pushed:
        check_blobs(registry, repository, tag)


def check_blobs(registry: Registry, repository: str, reference: str) -> None:
    manifest = registry.content(repository, reference)
    for child in manifest.get("manifests", []):
        check_blobs(registry, repository, child["digest"])
    for blob in [*manifest.get("layers", []), *filter(None, [manifest.get("config")])]:
        reply = registry.request("GET", f"/v2/{repository}/blobs/{blob['digest']}")
        assert (reply.status, len(reply.body)) == (200, blob["size"])


@contextmanager
def reading(registry: Registry, repository: str, made: Image) -> Iterator[list[int]]:
    """Read an image again and again until the block ends; the statuses."""
    statuses: list[int] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            statuses.append(registry.status(repository, made.digest))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        thread.join()


def test_a_registry_moves_while_it_serves_and_is_switched_over(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    quiet = image("quiet")
    with serve(Setup(old), tmp_path / "log") as registry:
        registry.push("quiet/app", quiet)
        pushed = push_many(registry)
        with reading(registry, "quiet/app", quiet) as statuses:
            transferred(old, new)
        assert set(statuses) == {200}
        # Meanwhile, a tag moved, one went, and an image came.
        moved = image("moved")
        registry.push("team/0", moved, "v0")
        pushed["team/0", "v0"] = moved.digest
        assert registry.request("DELETE", "/v2/team/1/manifests/v1").status == 202
        del pushed["team/1", "v1"]
    with serve(Setup(old, settings={"FERRO_OCI_READ_ONLY": "true"}), tmp_path / "log") as registry:
        assert registry.request("DELETE", "/v2/team/1/manifests/v4").status == 405
        said = transferred(old, new, "--exact")
        assert registry.status("quiet/app") == 200
    assert said[1].endswith("removed: 0 blobs, 0 manifests, 1 tags")
    assert said[2] == "missing in the destination: nothing; only there: nothing"
    verify(new)
    with serve(Setup(new), tmp_path / "log") as registry:
        check(registry, pushed)
        assert registry.status("team/1", "v1") == 404


# In the middle of a blob, between its file and its row, among the manifests, and among the tags.
KILLS = [
    "blob.append.piece:2",
    "blob.commit.after:20",
    "meta.complete_upload.before:30",
    "meta.mount_blob.after:10",
    "meta.put_manifest.before:7",
    "meta.put_manifest.after:36",
    "meta.put_manifest.before:12",
]


def test_killed_again_and_again_it_goes_on_and_ends_with_everything(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    with serve(Setup(old), tmp_path / "log") as registry:
        pushed = push_many(registry)
    for point in KILLS:
        done = run("transfer", "--from", old, "--to", new, at=point)
        assert done.returncode == -signal.SIGKILL, (point, done)
        verify(new)
    transferred(old, new)
    verify(new)
    assert "copied: nothing (0 bytes); linked: 0 blobs" in transferred(old, new)
    with serve(Setup(new), tmp_path / "log") as registry:
        check(registry, pushed)


def test_it_says_what_it_has_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Source(tmp_path)
    source.push(b"one", b"two")
    arguments = ["transfer", "--from", str(source.storage), "--to", str(source.restored)]
    assert main([*arguments, "--dry-run"]) == 1
    assert capsys.readouterr() == (
        "repositories: 1, blobs: 3, manifests: 2, tags: 2\n"
        "missing in the destination: 3 blobs, 2 manifests, 2 tags; only there: nothing\n",
        "",
    )
    assert main(arguments) == 0
    assert capsys.readouterr() == (
        "repositories: 1, blobs: 3, manifests: 2, tags: 2\n"
        "copied: 3 blobs, 2 manifests, 2 tags (8 bytes); linked: 0 blobs\n"
        "missing in the destination: nothing; only there: nothing\n",
        "",
    )
    assert main([*arguments, "--dry-run", "--exact", "--parallel", "1"]) == 0
    assert sorted(source.tags(source.restored)) == ["one", "two"]


def test_damage_is_a_line_each_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Source(tmp_path)
    source.push(b"one", b"two")
    source.file(b"one").write_bytes(b"onE")
    assert main(["transfer", "--from", str(source.storage), "--to", str(source.restored)]) == 1
    out, err = capsys.readouterr()
    assert out.endswith("missing in the destination: 1 blobs, 0 manifests, 0 tags; only there: nothing\n")
    assert len(err.splitlines()) == 3
    assert "its bytes have another digest" in err.splitlines()[0]
    assert err.splitlines()[2] == "ferro-oci-server: 2 problems"


def test_what_is_only_in_the_destination_is_said_and_fails_only_what_must_be_exact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Source(tmp_path)
    source.push(b"one")
    arguments = ["transfer", "--from", str(source.storage), "--to", str(source.restored)]
    assert main(arguments) == 0
    source.delete(b"one")
    source.push(b"two")
    assert main(arguments) == 0
    assert capsys.readouterr().out.endswith(
        "missing in the destination: nothing; only there: 1 blobs, 1 manifests, 1 tags\n"
    )
    assert main([*arguments, "--exact", "--dry-run"]) == 1
    assert main([*arguments, "--exact"]) == 0
    assert source.tags(source.restored) == ["two"]


def test_files_of_settings_say_where_and_nothing_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(tmp_path)
    source.push(b"one")
    (tmp_path / "old.toml").write_text(f'storage_dir = "{source.storage}"\nread_only = true\n')
    (tmp_path / "new.toml").write_text(f'storage_dir = "{source.restored}"\n')
    for name in ("STORAGE_DIR", "DATABASE_URL", "WORKERS"):
        monkeypatch.setenv(f"FERRO_OCI_{name}", "nonsense")
    assert main(["transfer", "--from", str(tmp_path / "old.toml"), "--to", str(tmp_path / "new.toml")]) == 0
    assert source.tags(source.restored) == ["one"]


def test_it_imports_the_files_of_distribution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DistributionFiles(tmp_path / "files").push("a/b", content(b"one"), "one")
    new = tmp_path / "new"
    arguments = ["transfer", "--from-distribution", str(tmp_path / "files"), "--to", str(new)]
    assert main(arguments) == 0
    assert "copied: 2 blobs, 1 manifests, 1 tags (5 bytes)" in capsys.readouterr().out
    verify(new)
    with serve(Setup(new), tmp_path / "log") as registry:
        assert registry.digest("a/b", "one") == content(b"one").digest


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--from", "none", "--to", "new"], "--from: there is no folder"),
        (["--from", "none.toml", "--to", "new"], "none.toml"),
        (["--from", "wrong.toml", "--to", "new"], "wrong.toml: colour: there is no such setting"),
        (["--from", "memory.toml", "--to", "new"], "--from: it keeps things in memory"),
        (["--from", "storage", "--to", "memory.toml"], "--to: it keeps things in memory"),
        (["--from", "storage", "--to", "storage"], "--to: it is the registry to copy"),
        (["--from", "storage", "--to", "link"], "--to: it is the registry to copy"),
        (["--from", "storage", "--to", "memory.toml/below"], "--to: "),
        (["--from", "empty", "--to", "new"], "--from: the source has no repositories"),
        (["--from", "empty", "--to", "new", "--exact"], "--from: the source has no repositories"),
        (["--from-distribution", "storage", "--to", "new"], "--from-distribution: there is no docker/registry/v2"),
    ],
)
def test_what_is_refused_is_a_line_and_status_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    problem: str,
) -> None:
    Source(tmp_path).push(b"one")
    monkeypatch.chdir(tmp_path)
    Path("memory.toml").write_text("workers = 2\n")
    Path("wrong.toml").write_text("colour = 1\n")
    Path("empty").mkdir()
    Path("link").symlink_to("storage")
    assert main(["transfer", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert problem in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--to", "new"],
        ["--from", "old"],
        ["--from", "old", "--from-distribution", "old", "--to", "new"],
        ["--from", "old", "--to", "new", "--parallel", "0"],
        ["--from", "old", "--to", "new", "--storage-dir", "x"],
    ],
)
def test_what_is_no_command_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["transfer", *arguments])
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err
