"""Points at which something goes wrong, and stores that have them."""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.core.inspection import DatedBlobs, Inspection
from ferro_oci_server.core.ports import BlobStore, RegistryMeta, Reviews, StoreFull, StoreUnavailable
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.testing.blob_store import BlobStoreSuite
from ferro_oci_server.testing.faults.failpoints import VARIABLE, Action, ChosenPoint, Failpoints, Fault
from ferro_oci_server.testing.faults.stores import faulty_blob_store, faulty_registry_meta
from ferro_oci_server.testing.registry_meta import RegistryMetaSuite


class TestBlobStoreWithPoints(BlobStoreSuite):
    @pytest.fixture
    def open_store(self) -> Callable[[], BlobStore]:
        return lambda: faulty_blob_store(InMemoryBlobStore(), Failpoints())


class TestRegistryMetaWithPoints(RegistryMetaSuite):
    @pytest.fixture
    def open_store(self) -> Callable[[], RegistryMeta]:
        return lambda: faulty_registry_meta(InMemoryRegistryMeta(), Failpoints())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("blob.commit.after", Fault("blob.commit.after")),
        ("sql.insert.repository-blobs.before:3", Fault("sql.insert.repository-blobs.before", 3)),
        ("blob.append.piece:2=eio", Fault("blob.append.piece", 2, Action.EIO)),
        ("meta.put_manifest.before:*=delay 0.5", Fault("meta.put_manifest.before", None, Action.DELAY, 0.5)),
        ("sql.commit.during=kill 0.001", Fault("sql.commit.during", 1, Action.KILL, 0.001)),
        ("sql.commit.during=kill 0.00001", Fault("sql.commit.during", 1, Action.KILL, 0.00001)),
    ],
)
def test_a_fault_is_read_from_its_text_and_back(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault
    assert Fault.parse(str(fault)) == fault


@pytest.mark.parametrize("text", ["", "a b", "a:x", "a=explode", "a=delay x", "a:1:2"])
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|not a valid"):
        Fault.parse(text)


def test_a_process_is_killed_at_the_hit_that_was_chosen() -> None:
    ends: list[str] = []
    failpoints = Failpoints.from_environ({VARIABLE: "here:2"}, end=lambda: ends.append("killed"))
    for expected in (0, 1, 1):
        failpoints.hit("here")
        failpoints.hit("elsewhere")
        assert len(ends) == expected


@pytest.mark.parametrize(("action", "number"), [("eio", errno.EIO), ("enospc", errno.ENOSPC)])
def test_a_point_can_raise_what_a_disk_does(action: str, number: int) -> None:
    with pytest.raises(OSError, match="here") as caught:
        Failpoints(f"here={action}").hit("here")
    assert caught.value.errno == number


def test_nothing_happens_where_nothing_was_chosen() -> None:
    Failpoints().hit("here")
    asyncio.run(Failpoints("here:*=delay 0").reach("here"))


def test_processes_that_look_in_one_folder_count_together(tmp_path: Path) -> None:
    ends: list[str] = []
    first, second = (Failpoints(f"@{tmp_path}", end=lambda: ends.append("killed")) for _ in range(2))
    first.hit("here")
    chosen = ChosenPoint(tmp_path)
    chosen.choose("here:2")
    first.hit("here")
    assert ends == []
    second.hit("here")
    assert ends == ["killed"]
    assert chosen.hits() == ["here", "here"]
    chosen.clear()
    first.hit("here")
    assert chosen.hits() == ["here", "here"]


def test_all_points_can_be_recorded(tmp_path: Path) -> None:
    failpoints = Failpoints(f"@{tmp_path}")
    ChosenPoint(tmp_path).choose("*")
    for point in ("here", "there", "here"):
        failpoints.hit(point)
    assert ChosenPoint(tmp_path).hits() == ["here", "there", "here"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_every_method_of_a_store_has_points_around_it(where: str) -> None:
    ends: list[str] = []
    failpoints = Failpoints(f"meta.list_tags.{where}", end=lambda: ends.append("killed"))
    meta = faulty_registry_meta(InMemoryRegistryMeta(), failpoints)
    assert asyncio.run(meta.list_tags(RepositoryName("a"), "", 1)) is None
    assert ends == ["killed"]


@pytest.mark.parametrize(("action", "kind"), [("eio", StoreUnavailable), ("enospc", StoreFull)])
def test_an_error_at_a_point_of_a_store_is_an_error_of_the_store(action: str, kind: type[Exception]) -> None:
    meta = faulty_registry_meta(InMemoryRegistryMeta(), Failpoints(f"meta.check.before={action}"))
    with pytest.raises(StoreUnavailable) as caught:
        asyncio.run(meta.check())
    assert caught.type is kind


def test_a_store_with_points_can_do_what_it_can_without(tmp_path: Path) -> None:
    for meta in (InMemoryRegistryMeta(), SqliteRegistryMeta(tmp_path / "registry.db")):
        faulty = faulty_registry_meta(meta, Failpoints())
        assert isinstance(faulty, Reviews)
        assert isinstance(faulty, Inspection)
        asyncio.run(meta.close())
    assert isinstance(faulty_blob_store(InMemoryBlobStore(), Failpoints()), DatedBlobs)
