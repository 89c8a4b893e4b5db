"""The command: parse, call, print."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from ferro_oci_server.config import PREFIX, Config, ConfigError, settings
from ferro_oci_server.core.ports import StoreError
from ferro_oci_server.core.state import PACKAGE_NAME

__all__ = ["main"]

_COMMANDS = {
    "serve": "Serve the registry. This is what is done without a command.",
    "gc": "Remove what is due now, beside a registry that serves or without one.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``ferro-oci-server``; return its exit status: 0, or 2 where a setting or the storage is wrong."""
    parsed = vars(_parser().parse_args(_with_command(sys.argv[1:] if arguments is None else arguments)))
    command, dry_run = parsed.pop("command"), parsed.pop("dry_run", False)
    try:
        config = Config.load({name: value for name, value in parsed.items() if value is not None})
    except ConfigError as exc:
        return _refuse(exc.problems)
    try:
        if command == "gc":
            return _collect(config, dry_run=dry_run)
        # The server is a large import, which wrong settings and --help need not wait for.
        from ferro_oci_server.server import serve  # noqa: PLC0415

        serve(config)
    except StoreError as exc:
        return _refuse([f"storage_dir: {exc}"])
    return 0


def _collect(config: Config, *, dry_run: bool) -> int:
    """Print what was removed, or, dry, what becomes of everything that waits; a line each, tab-separated."""
    from ferro_oci_server.server import open_state  # noqa: PLC0415

    if config.storage_dir is None:
        return _refuse(["storage_dir: there is nothing to collect without one"])

    async def collect() -> None:
        state = open_state(config)
        try:
            async for verdict in state.collect(dry_run=dry_run):
                fate = "remove" if verdict.removed else "keep"
                print(
                    fate, verdict.kind, verdict.repository or "-", verdict.key, verdict.size, verdict.reason, sep="\t"
                )
        finally:
            await state.close()

    asyncio.run(collect())
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
    }
    parsers["gc"].add_argument("--dry-run", action="store_true", help="remove nothing, and explain each decision")
    return parser


def _refuse(problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"{PACKAGE_NAME}: {problem}", file=sys.stderr)
    return 2
