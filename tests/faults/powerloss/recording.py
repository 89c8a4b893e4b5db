"""Records workloads: the program runs under strace, and what it did to files is read from the trace."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from faults.powerloss.steps import Step, read_steps
from faults.powerloss.trace import OPTIONS, calls

__all__ = ["RecorderMissing", "record"]

_SECONDS = 120
# Of every thread, the third sync fails, and from there on every seventh.
_REFUSED = {"refused": "fsync,fdatasync:error=EIO:when=3+7"}
_TESTS = Path(__file__).parents[2]
_MEMORY = Path("/dev/shm")


class RecorderMissing(Exception):
    """Raised when strace is not there, or may not trace."""


def record(names: Sequence[str]) -> dict[str, list[Step]]:
    """Run workloads, and tell what each did to the files in its folder.

    Raises:
        RecorderMissing: strace is not there, or may not trace.
    """
    with _folder() as folder:
        log, root = folder / "trace", folder / "root"
        root.mkdir()
        plain = [name for name in names if name not in _REFUSED]
        steps = _recorded(log, root, plain, ()) if plain else {}
        for name in _REFUSED.keys() & set(names):
            steps |= _recorded(log, root, [name], ("-e", f"inject={_REFUSED[name]}"))
        return {name: steps[name] for name in names}


def _recorded(log: Path, root: Path, names: Sequence[str], options: Sequence[str]) -> dict[str, list[Step]]:
    _run(log, root, names, options)
    with log.open() as lines:
        recorded = list(calls(lines))
    return {
        name: read_steps(recorded, PurePosixPath(root / name), PurePosixPath(root / f"{name}.marks")) for name in names
    }


def _run(log: Path, root: Path, names: Sequence[str], options: Sequence[str]) -> None:
    strace = shutil.which("strace")
    if strace is None:
        raise RecorderMissing("strace is not installed: apt-get install strace")
    program = [sys.executable, "-m", "faults.powerloss.workloads", str(root), *names]
    done = subprocess.run(
        [strace, *OPTIONS, *options, "-o", str(log), *program],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if "ptrace" in done.stderr:
        raise RecorderMissing(done.stderr)
    if done.returncode:
        raise AssertionError(f"the workload has failed:\n{done.stderr}")


def _environment() -> Mapping[str, str]:
    path = os.pathsep.join([str(_TESTS), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="ferro-trace-", dir=_MEMORY if _MEMORY.is_dir() else None) as path:
        yield Path(path).resolve()
