"""Folders and buckets as trees."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ferro_oci_server.backends.blob.bucket_url import open_bucket
from ferro_oci_server.core.ports import StoreCorrupted, StoreUnavailable
from ferro_oci_server.transfer import FolderTree, Tree
from ferro_oci_server.transfer.bucket_tree import BucketTree
from ferro_oci_server.transfer.tree import read_whole

pytestmark = pytest.mark.anyio

LARGE = bytes(range(256)) * 10_000
FILES = {"a/b/link": b"1", "a/b/c/link": b"22", "a/d": b"", "a/e/large": LARGE, "ab/link": b"other"}


@pytest.fixture(params=["folder", "bucket"])
async def tree(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Tree]:
    """A tree with ``FILES``."""
    root, made = folder, FolderTree(folder) if request.param == "folder" else None
    opened: Tree | None = made
    if opened is None:
        server = request.getfixturevalue("s3")
        root = server.folder / folder.name
        opened = BucketTree(open_bucket(server.url(folder.name)))
    await asyncio.to_thread(write, root)
    yield opened
    await opened.close()


def write(root: Path) -> None:
    for path, content in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


async def test_folders_are_listed_by_their_names(tree: Tree) -> None:
    assert sorted(await tree.folders("a")) == ["b", "e"]
    assert sorted(await tree.folders("a/b")) == ["c"]
    assert list(await tree.folders("a/b/c")) == list(await tree.folders("none/such")) == []


async def test_files_are_listed_from_the_folder_on_however_deep(tree: Tree) -> None:
    assert sorted(await tree.files("a")) == ["b/c/link", "b/link", "d", "e/large"]
    assert sorted(await tree.files("a/b/c")) == ["link"]
    assert list(await tree.files("none")) == []


@pytest.mark.parametrize("path", FILES)
async def test_a_file_is_read_whole_and_in_part(tree: Tree, path: str) -> None:
    content = FILES[path]
    assert await read_whole(tree, path, len(content)) == content
    reader = await tree.open(path)
    assert reader is not None
    assert reader.size == len(content)
    middle = len(content) // 2
    assert b"".join([piece async for piece in reader.pieces(middle, len(content))]) == content[middle:]
    await reader.close()


async def test_what_is_not_there_is_none(tree: Tree) -> None:
    assert await tree.open("a/none") is None
    assert await read_whole(tree, "none/such", 10) is None


async def test_what_is_too_large_is_not_read(tree: Tree) -> None:
    with pytest.raises(StoreCorrupted):
        await read_whole(tree, "a/e/large", len(LARGE) - 1)


async def test_an_object_that_goes_while_it_is_read_is_no_longer_whole(
    request: pytest.FixtureRequest, folder: Path
) -> None:
    server = request.getfixturevalue("s3")
    await asyncio.to_thread(write, server.folder / folder.name)
    reader = await BucketTree(open_bucket(server.url(folder.name))).open("a/e/large")
    assert reader is not None
    (server.folder / folder.name / "a/e/large").unlink()
    with pytest.raises(StoreCorrupted):
        _ = [piece async for piece in reader.pieces(0, reader.size)]


@pytest.mark.parametrize("ask", [FolderTree.files, FolderTree.folders])
async def test_a_folder_that_is_a_file_cannot_be_listed(folder: Path, ask: Callable[[FolderTree, str], object]) -> None:
    (folder / "file").write_text("no folder")
    tree = FolderTree(folder)
    with pytest.raises(StoreUnavailable):
        await ask(tree, "file")  # type: ignore[misc]
    await tree.close()
