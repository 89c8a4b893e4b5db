"""The files of distribution as a source: what they look like, and what becomes of what is broken in them.

``tests/interop/imports`` has a store that distribution itself has made.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.pushing import Pushing
from ferro_oci_server.api.app import router
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.media_types import OCI_IMAGE_INDEX, OCI_IMAGE_MANIFEST
from ferro_oci_server.testing.client import AsgiClient
from ferro_oci_server.testing.images import Content, image, index
from ferro_oci_server.transfer import DistributionSource, FolderTree, Report, SourceEmpty, Transfer

from .distribution_files import DistributionFiles

pytestmark = pytest.mark.anyio


class Import:
    """An import into a registry."""

    def __init__(self, files: DistributionFiles, state: AppState) -> None:
        self.files = files
        self.state = state
        self.told: list[str] = []
        self.tree = FolderTree(files.folder)

    async def run(self, *, exact: bool = False) -> Report:
        """One pass."""
        report = Report(self.told.append)
        source = DistributionSource(self.tree, report)
        return await Transfer(source, self.state.blob_store, self.state.registry_meta, report=report).run(exact=exact)

    async def get(self, path: str, name: str = "acme/app") -> tuple[int, str | None, bytes]:
        """What the registry answers."""
        reply = await Pushing(AsgiClient(router(self.state)), name).get(path)
        return reply.status, reply.header("content-type"), reply.body


@pytest.fixture
async def imported(folder: Path, state: AppState) -> AsyncIterator[Import]:
    (folder / "old").mkdir()
    made = Import(DistributionFiles(folder / "old"), state)
    yield made
    await made.tree.close()


def untyped(content: Content) -> Content:
    """The same without a ``mediaType``, which the OCI format allows."""
    document = json.loads(content.body)
    del document["mediaType"]
    return Content(content.media_type, json.dumps(document).encode(), content.blobs)


async def test_repositories_tags_and_revisions_arrive(imported: Import) -> None:
    one, two = image(b"one"), image(b"two")
    names = ["a", "a/b", "a-b", "a/b/c", "a_b/tags", "z"]
    for name in names:
        imported.files.push(name, one, "v1", "latest")
        imported.files.push(name, two)
    report = await imported.run()
    assert (report.is_complete, report.repositories, imported.told) == (True, 6, [])
    for name in names:
        assert await imported.get("manifests/latest", name) == (200, one.media_type, one.body)
        assert await imported.get(f"manifests/{two.digest}", name) == (200, two.media_type, two.body)
        assert (await imported.get(f"blobs/{Digest.of(b'two')}", name))[2] == b"two"
    assert report.copied_bytes == len(b"{}onetwo")
    assert [finding async for finding in imported.state.verify()] == []


@pytest.mark.parametrize(("content", "media_type"), [(image(b"x"), OCI_IMAGE_MANIFEST), (index([]), OCI_IMAGE_INDEX)])
async def test_types_are_found_in_the_content(imported: Import, content: Content, media_type: str) -> None:
    bare = untyped(content)
    imported.files.push("acme/app", bare, "v1")
    await imported.run()
    assert await imported.get("manifests/v1") == (200, media_type, bare.body)


async def test_a_second_pass_finds_all_there_and_the_last_removes(imported: Import) -> None:
    imported.files.push("acme/app", image(b"one"), "v1", "v2")
    await imported.run()
    shutil.rmtree(imported.files.root / "repositories/acme/app/_manifests/tags/v2")
    report = await imported.run(exact=True)
    assert (report.copied.total(), report.removed, report.is_complete) == (0, {"tags": 1}, True)
    assert (await imported.get("manifests/v2"))[0] == 404


async def test_links_whose_blobs_were_collected_are_passed_over(imported: Import) -> None:
    imported.files.push("acme/app", image(b"one"), "v1")
    gone = imported.files.blob("acme/app", b"collected")
    imported.files.data(gone).unlink()
    report = await imported.run()
    assert (report.is_complete, imported.told) == (True, [])
    assert (await imported.get(f"blobs/{gone}"))[0] == 404


async def test_a_blob_that_a_manifest_needs_and_is_gone_is_told(imported: Import) -> None:
    digest = imported.files.push("acme/app", image(b"one"), "v1")
    imported.files.data(Digest.of(b"one")).unlink()
    assert not (await imported.run()).is_complete
    assert imported.told == [f"manifest {digest} in acme/app: it is copied, but needs {Digest.of(b'one')}"]


async def test_a_blob_with_other_bytes_is_told(imported: Import) -> None:
    imported.files.push("acme/app", image(b"one"), "v1")
    imported.files.data(Digest.of(b"one")).write_bytes(b"two")
    report = await imported.run()
    assert f"blob {Digest.of(b'one')} in acme/app: its bytes have another digest" in imported.told
    assert report.missing["blobs"] == 1


async def test_what_is_deleted_there_is_not_here(imported: Import) -> None:
    imported.files.push("acme/app", image(b"one"), "v1")
    deleted = imported.files.push("acme/app", image(b"two"))
    imported.files.link("acme/app", "_manifests", "revisions", digest=deleted).unlink()
    loose = imported.files.blob("acme/app", b"loose")
    imported.files.link("acme/app", "_layers", digest=loose).unlink()
    assert (await imported.run()).is_complete
    assert (await imported.get(f"manifests/{deleted}"))[0] == 404
    assert (await imported.get(f"blobs/{loose}"))[0] == 404


@pytest.mark.parametrize("link", ["", "sha256:abc", "x" * 5000, "sha256:" + "0" * 64])
async def test_a_tag_that_points_at_nothing_is_told(imported: Import, link: str) -> None:
    imported.files.push("acme/app", image(b"one"), "v1", "v2")
    (imported.files.root / "repositories/acme/app/_manifests/tags/v2/current/link").write_text(link)
    report = await imported.run()
    assert [line.partition(":")[0] for line in imported.told] == ["tag v2 in acme/app"]
    assert (report.missing["tags"], (await imported.get("manifests/v1"))[0]) == (1, 200)


async def test_a_tag_that_is_being_removed_is_passed_over(imported: Import) -> None:
    imported.files.push("acme/app", image(b"one"), "v1", "v2")
    (imported.files.root / "repositories/acme/app/_manifests/tags/v2/current/link").unlink()
    assert (await imported.run()).is_complete
    assert imported.told == []


async def test_names_that_cannot_be_here_are_told(imported: Import) -> None:
    imported.files.push("acme/app", image(b"one"), "v1", "-x")
    imported.files.push("UPPER", image(b"one"), "v1")
    imported.files.push("a" * 201, image(b"one"), "v1")
    report = await imported.run()
    assert sorted(line.partition(": ")[0] for line in imported.told) == [
        "repository 'UPPER'",
        f"repository '{'a' * 201}'",
        "tag '-x' in acme/app",
    ]
    assert (report.missing.total(), report.is_complete) == (0, False)


@pytest.mark.parametrize("body", [b'{"schemaVersion": 1, "name": "x"}', b"no JSON", b"[]", b"\xff", b"{" * 5_000_000])
async def test_manifests_that_cannot_be_here_are_told(imported: Import, body: bytes) -> None:
    digest = imported.files.push("acme/app", Content(OCI_IMAGE_MANIFEST, body), "old")
    imported.files.push("acme/app", image(b"one"), "v1")
    await imported.run()
    assert sorted(line.partition(": ")[0] for line in imported.told) == [
        f"manifest {digest} in acme/app",
        "tag old in acme/app",
    ]
    assert (await imported.get("manifests/v1"))[0] == 200


async def test_uploads_and_strange_files_are_not_looked_at(imported: Import) -> None:
    imported.files.push("acme/app", image(b"one"), "v1")
    repository = imported.files.root / "repositories" / "acme" / "app"
    for path in ("_uploads/some-id/data", "_layers/sha256/link", "_layers/md5/abc/link", "_layers/sha256/zz/link"):
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_text("strange")
    (imported.files.root / "repositories" / "only" / "uploads" / "_uploads").mkdir(parents=True)
    report = await imported.run()
    assert (report.is_complete, report.repositories, imported.told) == (True, 1, [])


async def test_a_disk_that_is_gone_ends_the_pass_and_removes_nothing(
    imported: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ferro_oci_server.transfer.walking._DELAYS", ())
    imported.files.push("acme/app", image(b"one"), "v1")
    await imported.run()
    shutil.rmtree(imported.files.root)
    with pytest.raises(StoreUnavailable):
        await imported.run(exact=True)
    # Gone between the list of repositories and theirs.
    (imported.files.root / "repositories" / "acme" / "app" / "_layers").mkdir(parents=True)
    source = DistributionSource(imported.tree)
    names = [name async for name, _ in source.repositories()]
    shutil.rmtree(imported.files.root)
    for listed in (source.tags(names[0]), source.blobs(names[0]), source.manifests(names[0])):
        with pytest.raises(StoreUnavailable):
            _ = [entry async for entry in listed]
    assert (await imported.get("manifests/v1"))[0] == 200


async def test_an_empty_store_is_refused(imported: Import) -> None:
    with pytest.raises(SourceEmpty):
        await imported.run(exact=True)


async def test_what_may_not_be_read_ends_the_pass(imported: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferro_oci_server.transfer.walking._DELAYS", (0.01,))
    imported.files.push("acme/app", image(b"one"), "v1")
    data = imported.files.data(Digest.of(b"one"))
    data.unlink()
    await asyncio.to_thread(data.mkdir)
    with pytest.raises(StoreUnavailable):
        await imported.run()
