"""From files to PostgreSQL and a bucket, and back, by the command."""

from pathlib import Path

import pytest

from backup.source import Source
from ferro_oci_server.cli import main
from support.object_store import S3Server


def test_a_registry_moves_to_servers_and_back(
    tmp_path: Path, s3: S3Server, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Source(tmp_path)
    source.push(b"one", b"two")
    servers, files = tmp_path / "servers.toml", tmp_path / "back"
    servers.write_text(f'database_url = "{postgres_url}"\nstorage_url = "{s3.url()}"\n')
    for origin, target in ((source.storage, servers), (servers, files)):
        assert main(["transfer", "--from", str(origin), "--to", str(target)]) == 0
        out, err = capsys.readouterr()
        assert "copied: 3 blobs, 2 manifests, 2 tags (8 bytes)" in out
        assert (out.splitlines()[-1], err) == ("missing in the destination: nothing; only there: nothing", "")
    source.delete(b"one")
    for origin, target in ((source.storage, servers), (servers, files)):
        assert main(["transfer", "--from", str(origin), "--to", str(target), "--exact"]) == 0
        assert (
            "copied: nothing (0 bytes); linked: 0 blobs; removed: 1 blobs, 1 manifests, 1 tags"
            in capsys.readouterr().out
        )
    assert main(["verify", "--config", str(servers)]) == 0
    assert source.tags(files) == ["two"]
