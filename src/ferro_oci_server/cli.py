"""The command: parse, call, print."""

import argparse
import sys
from collections.abc import Sequence

from ferro_oci_server.config import PREFIX, Config, ConfigError, settings
from ferro_oci_server.core.ports import StoreError
from ferro_oci_server.core.state import PACKAGE_NAME

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``ferro-oci-server``; return its exit status: 0, or 2 where a setting or the storage is wrong."""
    parsed = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    flags = {name: value for name, value in vars(parsed).items() if value is not None and name != "command"}
    try:
        config = Config.load(flags)
    except ConfigError as exc:
        return _refuse(exc.problems)
    # The server is a large import, which wrong settings and --help need not wait for.
    from ferro_oci_server.server import serve  # noqa: PLC0415

    try:
        serve(config)
    except StoreError as exc:
        return _refuse([f"storage_dir: {exc}"])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PACKAGE_NAME,
        description="An OCI container registry.",
        epilog=f"Every setting may also stand in the environment ({PREFIX}LISTEN for --listen) or in a TOML file "
        "(listen); a flag is stronger than the environment, and that than the file.",
    )
    parser.add_argument("command", nargs="?", choices=["serve"], default="serve", help="what to do (default: serve)")
    parser.add_argument("--config", metavar="FILE", help="a TOML file with settings")
    for setting in settings():
        parser.add_argument(
            "--" + setting.name.replace("_", "-"),
            metavar="VALUE",
            help=f"{setting.metadata['help']} Default: {setting.metadata['default'] or 'none'}",
        )
    return parser


def _refuse(problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"{PACKAGE_NAME}: {problem}", file=sys.stderr)
    return 2
