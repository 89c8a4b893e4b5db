"""What a run was made on and with."""

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

from support.tools import find, version

__all__ = ["facts"]


def facts() -> Mapping[str, str]:
    """The machine, the versions, and what is being measured."""
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} processors ({_processor()}), {int(memory.split()[1]) / 1e6:.0f} GB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "ours at": _commit(),
        "distribution": version("distribution"),
        "seed": version("seed"),
        "nginx": _said(find("nginx"), "-v").partition("/")[2],
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    here = Path(__file__).parent
    commit = _said("git", "-C", str(here), "rev-parse", "--short", "HEAD")
    changed = _said("git", "-C", str(here), "status", "--porcelain", "--", "../src")
    return f"{commit}, with changes" if changed else commit


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).strip()
