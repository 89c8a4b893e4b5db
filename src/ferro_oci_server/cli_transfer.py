"""``ferro-oci-server transfer``: from one registry, or the files of another, to a registry."""

import argparse
import asyncio
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from ferro_oci_server.backends.blob.memory import InMemoryBlobStore
from ferro_oci_server.backends.meta.memory import InMemoryRegistryMeta
from ferro_oci_server.config import Config, ConfigError
from ferro_oci_server.core.ports import StoreError
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
# The settings that say where a registry is.
_WHERE = ("storage_dir", "database_url", "storage_url")


def transfer(parsed: argparse.Namespace) -> int:
    """Run one pass; say how far it has come, and what came of it.

    Returns:
        The exit status: 0; 1 where the destination lacks something, or a store failed; 2 where nothing was done.

    Raises:
        ConfigError: a place is not one.
    """
    closing = AsyncExitStack()
    report = Report(_complain)
    try:
        work = _open(parsed, report, closing)
    except BaseException:
        asyncio.run(closing.aclose())
        raise
    return asyncio.run(_run(work, closing, parsed))


def _open(parsed: argparse.Namespace, report: Report, closing: AsyncExitStack) -> Transfer:
    """Open both sides; ``closing`` will close what was opened."""
    config = _read_place(parsed.destination, "--to")
    source: Source
    if parsed.from_distribution is not None:
        tree = _open_tree(parsed.from_distribution)
        closing.push_async_callback(tree.close)
        source = DistributionSource(tree, report)
    else:
        origin = _read_place(parsed.source, "--from")
        if _where(origin) == _where(config):
            raise ConfigError(["--to: it is the registry to copy"])
        if origin.storage_dir is not None and not origin.storage_dir.is_dir():
            raise ConfigError([f"--from: there is no folder {origin.storage_dir}"])
        state = _open_registry(origin, "--from", closing)
        source = RegistrySource(state.blob_store, state.registry_meta)
    state = _open_registry(config, "--to", closing)
    return Transfer(
        source,
        state.blob_store,
        state.registry_meta,
        missing_references=config.missing_references,
        parallel=parsed.parallel,
        report=report,
    )


def _open_tree(place: str) -> Tree:
    """The files of distribution, in a folder or in a bucket."""
    if "://" not in place:
        if not Path(place, ROOT, "repositories").is_dir():
            raise ConfigError([f"--from-distribution: there is no {ROOT}/repositories in {place}"])
        return FolderTree(Path(place))
    # Their library is large, and is not needed for folders.
    from ferro_oci_server.backends.blob.bucket_url import open_bucket  # noqa: PLC0415
    from ferro_oci_server.transfer.bucket_tree import BucketTree  # noqa: PLC0415

    try:
        return BucketTree(open_bucket(place))
    except ValueError as exc:
        raise ConfigError([f"--from-distribution: {exc}"]) from exc


def _read_place(text: str, flag: str) -> Config:
    """The settings of one side. The environment is of no side: it would have to be of both."""
    if not text.endswith(".toml"):
        return Config.from_mapping({"storage_dir": text}, lambda _: flag)
    return Config.load({"config": text}, {})


def _where(config: Config) -> list[object]:
    values = [getattr(config, name, None) for name in _WHERE]
    return [value.resolve() if isinstance(value, Path) else value for value in values]


def _open_registry(config: Config, flag: str, closing: AsyncExitStack) -> AppState:
    try:
        state = open_state(config)
    except StoreError as exc:
        raise ConfigError([f"{flag}: {exc}"]) from exc
    closing.push_async_callback(state.close)
    if isinstance(state.blob_store, InMemoryBlobStore) or isinstance(state.registry_meta, InMemoryRegistryMeta):
        raise ConfigError([f"{flag}: it keeps things in memory, and would lose them at the end"])
    return state


async def _run(work: Transfer, closing: AsyncExitStack, parsed: argparse.Namespace) -> int:
    async with closing:
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
