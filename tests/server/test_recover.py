"""``ferro-oci-server recover``: a registry whose database came back from an older backup."""

import hashlib
import shutil
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from ferro_oci_server.cli import main
from support.damage import blob_file
from support.registry import Setup, serve

BLOB = b"layer" * 50_000
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"


def recover(storage: Path) -> tuple[int, list[list[str]]]:
    with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
        status = main(["recover", "--storage-dir", str(storage)])
    assert status in (0, 1), errors.getvalue()
    return status, [line.split("\t") for line in output.getvalue().splitlines()]


def test_a_blob_is_found_where_a_later_push_has_put_it(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    database = storage / "registry.db"
    with serve(Setup(storage), tmp_path / "log") as registry:
        registry.push_blob("a/b", BLOB)
    shutil.copy(database, tmp_path / "older.db")
    first = blob_file(storage, DIGEST)
    with serve(Setup(storage), tmp_path / "log") as registry:
        registry.push_blob("a/b", BLOB)
    first.unlink()
    shutil.copy(tmp_path / "older.db", database)
    assert recover(storage) == (0, [["blob", "-", DIGEST, "its bytes are gone", "recovered"]])
    assert recover(storage) == (0, [])
    with serve(Setup(storage), tmp_path / "log") as registry:
        assert registry.request("GET", f"/v2/a/b/blobs/{DIGEST}").body == BLOB
    blob_file(storage, DIGEST).unlink()
    assert recover(storage) == (1, [["blob", "-", DIGEST, "its bytes are gone", "must be pushed again"]])


def test_memory_has_nothing_to_recover() -> None:
    with redirect_stderr(StringIO()) as errors:
        assert main(["recover"]) == 2
    assert "storage_dir" in errors.getvalue()
