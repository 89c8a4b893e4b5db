"""Where the clients are, and which versions they have.

`scripts/install-clients` builds the Go programs into a cache folder and takes the rest from Debian's packages.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest


class ToolMissing(Exception):
    """Raised when a program is in none of the folders searched."""


def tools_dir() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("FERRO_TOOLS_DIR") or f"{cache}/ferro-oci-server/bin")


def search_path() -> str:
    """PATH, with the tools' folder before it and the daemons' usual folders behind it."""
    return os.pathsep.join([str(tools_dir()), os.environ.get("PATH", ""), "/usr/local/bin", "/usr/sbin", "/sbin"])


def find(name: str) -> str:
    path = shutil.which(name, path=search_path())
    if path is None:
        raise ToolMissing(f"{name} is not installed: run scripts/install-clients")
    return path


def require(name: str) -> str:
    """The program's path. Without it the test fails where CI is set, and is skipped, loudly, elsewhere."""
    try:
        return find(name)
    except ToolMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


def version(name: str) -> str:
    """What scripts/install-clients built, or what the program says of itself."""
    built = tools_dir() / f".{name}.version"
    if built.exists():
        said = built.read_text(encoding="ascii").rpartition("@")[2]
    else:
        said = subprocess.run([find(name), "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"\d+\.\d+\.\d+", said)
    return number.group() if number else said.strip()


def clean_environment(home: Path) -> dict[str, str]:
    """An environment in which no client finds a setting or a credential of the person who runs the tests."""
    for folder in ("config", "run", "tmp"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    return {
        "PATH": search_path(),
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "LC_ALL": "C.UTF-8",
    }
