"""The command: parse, call, print."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ferro_oci_server.config import PREFIX, Config, ConfigError, settings
from ferro_oci_server.core.inspection import Finding
from ferro_oci_server.core.ports import StoreError
from ferro_oci_server.core.recovery import LOST
from ferro_oci_server.core.state import PACKAGE_NAME, AppState
from ferro_oci_server.oci.errors import OciError

if TYPE_CHECKING:
    from ferro_oci_server.backup import Contents

__all__ = ["main"]

_PROGRESS_SECONDS = 5

_COMMANDS = {
    "serve": "Serve the registry. This is what is done without a command.",
    "gc": "Remove what is due now, beside a registry that serves or without one.",
    "backup": "Copy the registry into a folder, beside a registry that serves or without one; blobs only once.",
    "restore": "Make a storage folder of what a backup has, and verify it.",
    "keys": "Create, list or revoke the keys of robots, beside a registry that serves or without one.",
    "can-i": "Explain whether somebody may do something, and which rule decides; the status is 1 if not.",
    "verify": "Look at everything that is kept, beside a registry that serves or without one; the status is 1 if "
    "something is wrong.",
    "recover": "Find blobs that the metadata has lost among the bytes that are still there: after it came back from a "
    "backup that is older than they are. The status is 1 if something stays lost.",
    "transfer": "Copy a registry to another, whatever each keeps its content in, while the first one serves; again and "
    "again, for what is new. The status is 1 if the destination lacks something at the end.",
}

_PLACES = (
    "PLACE is a storage folder, or a TOML file of settings, whose name ends in .toml. It says all: the environment and "
    "the settings of this command do not count, apart from what databases and object stores themselves look for there."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``ferro-oci-server``.

    Returns:
        Its exit status: 0; 1 where something is damaged or missing, or not as it should be; 2 where a setting or a
        folder is wrong.
    """
    parsed = _parser().parse_args(_with_command(sys.argv[1:] if arguments is None else arguments))
    names = ("config", *(setting.name for setting in settings()))
    flags = {name: getattr(parsed, name) for name in names if getattr(parsed, name, None) is not None}
    try:
        if parsed.command == "transfer":
            return _transfer(parsed)
        return _RUN[parsed.command](Config.load(flags), parsed)
    except ConfigError as exc:
        return _refuse(exc.problems)
    except StoreError as exc:
        return _refuse([f"the storage cannot be used: {exc}"])


def _serve(config: Config, _: argparse.Namespace) -> int:
    # The server is a large import, which wrong settings and --help need not wait for.
    from ferro_oci_server.server import serve  # noqa: PLC0415

    serve(config)
    return 0


def _collect(config: Config, parsed: argparse.Namespace) -> int:
    """Print what was removed, or, dry, what becomes of everything that waits; a line each, tab-separated."""
    from ferro_oci_server.server import open_state  # noqa: PLC0415

    if not config.is_kept:
        return _refuse(["storage_dir: there is nothing to collect without one"])

    async def collect() -> None:
        state = open_state(config)
        try:
            async for verdict in state.collect(dry_run=parsed.dry_run):
                fate = "remove" if verdict.removed else "keep"
                print(
                    fate, verdict.kind, verdict.repository or "-", verdict.key, verdict.size, verdict.reason, sep="\t"
                )
        finally:
            await state.close()

    asyncio.run(collect())
    return 0


def _back_up(config: Config, parsed: argparse.Namespace) -> int:
    """Say what the backup has, and what of the registry was damaged."""
    from ferro_oci_server.backup import BackupError, BackupRefused, back_up  # noqa: PLC0415

    if config.database_url is not None or config.storage_url is not None:
        return _refuse(["backup copies a storage folder; for a database and a bucket see docs/operations.md"])
    if config.storage_dir is None:
        return _refuse(["storage_dir: there is nothing to back up without one"])
    try:
        saved = back_up(config.storage_dir, parsed.folder, keep=parsed.keep)
    except BackupError as exc:
        return _refuse([str(exc)], status=2 if isinstance(exc, BackupRefused) else 1)
    print(
        f"{_counted(saved.contents)}; "
        f"copied: {saved.copied} blobs ({saved.copied_bytes} bytes); removed: {saved.removed} blobs"
    )
    return _refuse(saved.problems, status=1) if saved.problems else 0


def _restore(config: Config, parsed: argparse.Namespace) -> int:
    """Say what the registry has, and what was not as it should be."""
    from ferro_oci_server.backup import BackupError, BackupRefused, restore  # noqa: PLC0415

    if config.database_url is not None or config.storage_url is not None:
        return _refuse(["restore makes a storage folder; for a database and a bucket see docs/operations.md"])
    if config.storage_dir is None:
        return _refuse(["storage_dir: name the folder to restore into"])
    try:
        restored = restore(parsed.folder, config.storage_dir)
    except BackupError as exc:
        return _refuse([str(exc)], status=2 if isinstance(exc, BackupRefused) else 1)
    print(f"{_counted(restored.contents)}; as of {restored.taken_at}")
    return _refuse(restored.problems, status=1) if restored.problems else 0


def _counted(contents: "Contents") -> str:
    return (
        f"repositories: {contents.repositories}, manifests: {contents.manifests}, tags: {contents.tags}, "
        f"blobs: {contents.blobs} ({contents.bytes} bytes)"
    )


def _verify(config: Config, parsed: argparse.Namespace) -> int:
    """Print what is wrong, a line each, tab-separated; how far it has come goes to standard error."""
    from ferro_oci_server.server import open_state  # noqa: PLC0415

    if not config.is_kept:
        return _refuse(["storage_dir: there is nothing to verify without one"])

    return asyncio.run(_print_findings(open_state(config), repair=parsed.repair))


def _recover(config: Config, _: argparse.Namespace) -> int:
    """Print what was found again, and what was not, a line each, tab-separated."""
    from ferro_oci_server.server import open_state  # noqa: PLC0415

    if not config.is_kept:
        return _refuse(["storage_dir: there is nothing to recover without one"])

    return asyncio.run(_print_recovered(open_state(config)))


async def _print_recovered(state: AppState) -> int:
    status = 0
    try:
        async for finding in state.recover():
            _print_finding(finding)
            status = 1 if finding.outcome == LOST else status
    finally:
        await state.close()
    return status


def _print_finding(finding: Finding) -> None:
    fields = (finding.kind, finding.repository, finding.key, finding.problem, finding.outcome)
    print(*(" ".join(field.split()) or "-" for field in fields), sep="\t", flush=True)


def _transfer(parsed: argparse.Namespace) -> int:
    from ferro_oci_server.cli_transfer import transfer  # noqa: PLC0415

    return transfer(parsed)


async def _print_findings(state: AppState, *, repair: bool) -> int:
    found = 0
    telling = asyncio.create_task(_tell_progress(state))
    try:
        async for finding in state.verify(repair=repair):
            found += 1
            _print_finding(finding)
    finally:
        telling.cancel()
        await state.close()
    _print_progress(state, f", {found} findings")
    return 1 if found else 0


async def _tell_progress(state: AppState) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        _print_progress(state)


def _print_progress(state: AppState, more: str = "") -> None:
    if state.verifier is not None:
        done = state.verifier.progress
        size = f"{done.bytes / 2**20:.0f} MiB"
        text = f"{done.files} files, {done.blobs} blobs ({size}), {done.manifests} manifests looked at{more}"
        print(f"{PACKAGE_NAME}: {text}", file=sys.stderr)


def _can_i(config: Config, parsed: argparse.Namespace) -> int:
    """Print a decision, and the rule that made it."""
    from ferro_oci_server.auth import FileProblem  # noqa: PLC0415
    from ferro_oci_server.auth.commands import can_i  # noqa: PLC0415

    try:
        decision, status = can_i(config, parsed)
    except FileProblem as exc:
        return _refuse([f"policy: {problem}" for problem in exc.problems])
    except (ValueError, OciError) as exc:
        return _refuse([str(exc)])
    print(decision)
    return status


def _change_keys(config: Config, parsed: argparse.Namespace) -> int:
    """Print a new key, which nobody will show again, or what is known of keys."""
    from ferro_oci_server.auth.commands import change_keys  # noqa: PLC0415
    from ferro_oci_server.server import open_state  # noqa: PLC0415

    if not config.is_kept:
        return _refuse(["storage_dir: there are no keys without one"])

    async def change(state: AppState) -> list[str]:
        try:
            return await change_keys(state, parsed)
        finally:
            await state.close()

    try:
        lines = asyncio.run(change(open_state(config)))
    except ValueError as exc:
        return _refuse([str(exc)])
    print(*lines, sep="\n")
    return 0


def _with_command(arguments: Sequence[str]) -> list[str]:
    """Without a command the registry is served."""
    given = list(arguments)
    return given if given and (given[0] in _COMMANDS or given[0] in ("-h", "--help")) else ["serve", *given]


def _parser() -> argparse.ArgumentParser:
    settings_of_all = argparse.ArgumentParser(add_help=False)
    settings_of_all.add_argument("--config", metavar="FILE", help="a TOML file with settings")
    for setting in settings():
        settings_of_all.add_argument(
            "--" + setting.name.replace("_", "-"),
            metavar="VALUE",
            help=f"{setting.metadata['help']} Default: {setting.metadata['default'] or 'none'}",
        )
    parser = argparse.ArgumentParser(prog=PACKAGE_NAME, description="An OCI container registry.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(_COMMANDS))
    epilog = (
        f"Every setting may also stand in the environment ({PREFIX}LISTEN for --listen) or in a TOML file (listen); "
        "a flag is stronger than the environment, and that than the file."
    )
    parsers = {
        name: commands.add_parser(name, help=text, description=text, epilog=epilog, parents=[settings_of_all])
        for name, text in _COMMANDS.items()
        if name != "transfer"
    }
    text = _COMMANDS["transfer"]
    _add_places(commands.add_parser("transfer", help=text, description=text, epilog=_PLACES))
    parsers["verify"].add_argument(
        "--repair",
        action="store_true",
        help="bring damaged blobs back from the quarantine, or else let them be pushed again; collect unknown files",
    )
    parsers["gc"].add_argument("--dry-run", action="store_true", help="remove nothing, and explain each decision")
    _add_can_i_arguments(parsers["can-i"])
    _add_keys_arguments(parsers["keys"])
    for name in ("backup", "restore"):
        parsers[name].add_argument("folder", metavar="FOLDER", type=Path, help="where the backup is")
    parsers["backup"].add_argument(
        "--keep", action="store_true", help="keep blobs that the registry does not have any more"
    )
    return parser


def _add_can_i_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("principal", metavar="PRINCIPAL", help="anonymous, or KIND:NAME, such as user:alice")
    parser.add_argument(
        "action", metavar="ACTION", help="pull, push, create-tag, overwrite-tag, delete, catalog, metrics"
    )
    parser.add_argument("repository", metavar="REPOSITORY", nargs="?", help="none for every one")
    parser.add_argument("--tag", help="the tag that is made or moved")
    parser.add_argument("--claims", metavar="JSON", default="{}", help="what the issuer of the principal says of it")


def _add_keys_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", required=True, metavar="create|list|revoke")
    create = what.add_parser("create", help="make a key, and print it")
    create.add_argument("name", metavar="NAME", help="the robot: key:NAME in the policy")
    create.add_argument("--expires", metavar="TIME", help="after a time such as 90d; never without it")
    what.add_parser("list", help="print the id, name, time of making and end of every key")
    revoke = what.add_parser("revoke", help="take keys back")
    revoke.add_argument("name", metavar="NAME|ID", help="all keys of a name, or the one with an id")


def _add_places(parser: argparse.ArgumentParser) -> None:
    """The flags of ``transfer``, which is about two registries and so has no settings of its own."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--from", metavar="PLACE", dest="source", help="the registry to copy; it is only read")
    source.add_argument(
        "--from-distribution",
        metavar="FOLDER",
        help="files of the registry distribution to copy: the folder that its settings call rootdirectory, or the URL "
        "of a bucket, such as s3://bucket/prefix?region=eu-west-1",
    )
    parser.add_argument("--to", metavar="PLACE", required=True, dest="destination", help="the registry to copy to")
    parser.add_argument(
        "--exact",
        action="store_true",
        help="also remove from the destination what the source does not have: in the last pass, when nobody pushes to "
        "the source any more, and nobody has pushed to the destination yet",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing, and say how the two differ")
    parser.add_argument(
        "--parallel", metavar="NUMBER", type=_parallel, default=8, help="blobs or manifests at a time. Default: 8"
    )


def _parallel(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError("expected a number from 1 to 256")
    return int(text)


def _refuse(problems: Sequence[str], status: int = 2) -> int:
    for problem in problems:
        print(f"{PACKAGE_NAME}: {problem}", file=sys.stderr)
    return status


_RUN: Mapping[str, Callable[[Config, argparse.Namespace], int]] = {
    "serve": _serve,
    "gc": _collect,
    "backup": _back_up,
    "restore": _restore,
    "verify": _verify,
    "recover": _recover,
    "can-i": _can_i,
    "keys": _change_keys,
}
