"""``ferro-oci-server transfer``: from one registry, or the files of another, to a registry."""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from ferro_oci_server.config import Config, ConfigError
from ferro_oci_server.core.ports import StoreError, StoreUnavailable
from ferro_oci_server.core.state import PACKAGE_NAME, AppState
from ferro_oci_server.server import open_state
from ferro_oci_server.transfer import (
    DistributionSource,
    FolderTree,
    RegistrySource,
    Report,
    Source,
    SourceEmpty,
    Transfer,
    Tree,
)
from ferro_oci_server.transfer.distribution import ROOT

__all__ = ["transfer"]

_PROGRESS_SECONDS = 5
_KINDS = ("blobs", "manifests", "tags")


def transfer(parsed: argparse.Namespace) -> int:
    """Run one pass; say how far it has come, and what came of it.

    Returns:
        The exit status: 0; 1 where the destination lacks something, or a store failed; 2 where nothing was done.

    Raises:
        ConfigError: a place is not one.
    """
    sides = _Sides()
    try:
        work = _open(parsed, sides)
    except BaseException:
        asyncio.run(sides.closing.aclose())
        raise
    return asyncio.run(_run(work, sides, parsed))


class _Sides:
    """What was opened: how each side is checked, by its flag, and what closes all."""

    def __init__(self) -> None:
        self.closing = AsyncExitStack()
        self._checks: dict[str, Callable[[], Awaitable[object]]] = {}

    def open_registry(self, config: Config, flag: str) -> AppState:
        """Open a registry that keeps what it has.

        Raises:
            ConfigError: it does not, or cannot be opened.
        """
        if not config.is_kept:
            raise ConfigError([f"{flag}: it keeps everything in memory, and would lose it at the end"])
        try:
            state = open_state(config)
        except StoreError as exc:
            raise ConfigError([f"{flag}: {exc}"]) from exc
        self.closing.push_async_callback(state.close)
        self._checks[flag] = state.check
        return state

    def open_tree(self, place: str) -> Tree:
        """Open the files of distribution, in a folder or in a bucket.

        Raises:
            ConfigError: there are none.
        """
        flag = "--from-distribution"
        tree = _open_bucket(place, flag) if "://" in place else FolderTree(Path(place))
        self.closing.push_async_callback(tree.close)

        async def check() -> None:
            if "repositories" not in await tree.folders(ROOT):
                raise StoreUnavailable(f"there is no {ROOT}/repositories in {place}")

        self._checks[flag] = check
        return tree

    async def check(self) -> None:
        """Ask each side whether it is there at all, without the patience that is for one that goes away later.

        Raises:
            ConfigError: one is not.
        """
        for flag, check in self._checks.items():
            try:
                await check()
            except StoreError as exc:
                raise ConfigError([f"{flag}: {exc}"]) from exc


def _open(parsed: argparse.Namespace, sides: _Sides) -> Transfer:
    """Open both sides."""
    report = Report(_complain)
    config = _read_place(parsed.destination, "--to")
    source: Source
    if parsed.from_distribution is not None:
        source = DistributionSource(sides.open_tree(parsed.from_distribution), report)
    else:
        origin = _read_place(parsed.source, "--from")
        if not _where(origin).isdisjoint(_where(config)):
            raise ConfigError(["--to: it would keep things where the registry to copy does"])
        if origin.storage_dir is not None and not origin.storage_dir.is_dir():
            raise ConfigError([f"--from: there is no folder {origin.storage_dir}"])
        state = sides.open_registry(origin, "--from")
        source = RegistrySource(state.blob_store, state.registry_meta)
    state = sides.open_registry(config, "--to")
    return Transfer(
        source,
        state.blob_store,
        state.registry_meta,
        missing_references=config.missing_references,
        parallel=parsed.parallel,
        report=report,
    )


def _open_bucket(url: str, flag: str) -> Tree:
    # Their library is large, and is not needed for folders.
    from ferro_oci_server.backends.blob.bucket_url import open_bucket  # noqa: PLC0415
    from ferro_oci_server.transfer.bucket_tree import BucketTree  # noqa: PLC0415

    try:
        return BucketTree(open_bucket(url))
    except ValueError as exc:
        raise ConfigError([f"{flag}: {exc}"]) from exc


def _read_place(text: str, flag: str) -> Config:
    """The settings of one side. The environment is of no side: it would have to be of both."""
    if not text.endswith(".toml"):
        return Config.from_mapping({"storage_dir": text}, lambda _: flag)
    return Config.load({"config": text}, {})


def _where(config: Config) -> set[object]:
    """The places where a registry keeps things: no two may share one, or each would take the other's for garbage."""
    folder = None if config.storage_dir is None else config.storage_dir.resolve()
    return {place for place in (folder, config.database_url, config.storage_url) if place is not None}


async def _run(work: Transfer, sides: _Sides, parsed: argparse.Namespace) -> int:
    async with sides.closing:
        await sides.check()
        telling = asyncio.create_task(_tell_progress(work.report))
        try:
            report = await (work.compare() if parsed.dry_run else work.run(exact=parsed.exact))
        except SourceEmpty as exc:
            _complain(f"--from: {exc}")
            return 2
        except StoreError as exc:
            _complain(f"it has ended before its end: {exc}. What was copied is kept; run it again to go on")
            return 1
        finally:
            telling.cancel()
    return _conclude(report, is_exact=parsed.exact, is_dry=parsed.dry_run)


def _conclude(report: Report, *, is_exact: bool, is_dry: bool) -> int:
    print(f"repositories: {report.repositories}, " + ", ".join(f"{kind}: {report.seen[kind]}" for kind in _KINDS))
    if not is_dry:
        removed = f"; removed: {_counted(report.removed)}" if is_exact else ""
        print(
            f"copied: {_counted(report.copied)} ({report.copied_bytes} bytes); linked: {report.linked} blobs{removed}"
        )
    print(f"missing in the destination: {_counted(report.missing)}; only there: {_counted(report.extra)}")
    if report.problems:
        _complain(f"{report.problems} problems")
    is_same = report.is_complete and not (is_exact and report.extra.total())
    return 0 if is_same else 1


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[kind]} {kind}" for kind in _KINDS) if counts.total() else "nothing"


async def _tell_progress(report: Report) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        copied = f"{report.copied_bytes / 2**20:.0f} MiB, " if report.phase == "copying" else ""
        seen = ", ".join(f"{report.seen[kind]} {kind} ({report.copied[kind]} copied)" for kind in _KINDS)
        _complain(f"{report.phase}: {report.repositories} repositories, {copied}{seen}")


def _complain(text: str) -> None:
    print(f"{PACKAGE_NAME}: {text}", file=sys.stderr, flush=True)
