"""Servers that are started, killed and started again on the same folder."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ferro_oci_server.testing.faults.failpoints import ChosenPoint
from support.process import answers, free_port

_TESTS = Path(__file__).parents[1]
_READY_SECONDS = 30.0
_POLL_SECONDS = 0.005
_LOG_TAIL = 3000


class ServerFailed(AssertionError):
    """Raised when a server does not start, or not end as it should."""


class Launcher:
    """The process that servers are forked from. Used by one thread at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.server"],
            cwd=_TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def order(self, **order: Any) -> Any:
        """Have one thing done."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise ServerFailed(f"the process that starts servers has ended with {self._process.wait(timeout=10)}")
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        # It then kills what still runs, and ends.
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)


@dataclass
class Server:
    """One storage folder, and the server that runs on it now, if one does."""

    launcher: Launcher
    folder: Path
    workers: int = 1
    checkpoint_pages: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings that are not those of the command."""
    address: str = ""
    starts: int = 0
    _pid: int = 0

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    @property
    def point(self) -> ChosenPoint:
        """Where the point is chosen at which something goes wrong."""
        folder = self.folder / "point"
        folder.mkdir(exist_ok=True)
        return ChosenPoint(folder)

    def begin(self) -> None:
        """Have the process started, and do not wait for it."""
        started = self.folder / "started"
        shutil.rmtree(started, ignore_errors=True)
        started.mkdir()
        self.address = f"127.0.0.1:{free_port()}"
        self.starts += 1
        self._pid = self.launcher.order(
            start={
                "settings": self._settings(),
                "failpoint": f"@{self.folder / 'point'}",
                "checkpoint_pages": self.checkpoint_pages,
                "started": str(started),
                "log": str(self.folder / "log"),
            }
        )

    def start(self) -> None:
        """Start, on the folder as it is, and wait until all workers serve."""
        self.begin()
        deadline = time.monotonic() + _READY_SECONDS
        while not self._ready():
            if time.monotonic() > deadline or not Path(f"/proc/{self._pid}").exists() or self._is_zombie():
                raise ServerFailed(f"the server did not start:\n{self.log_tail()}")
            time.sleep(_POLL_SECONDS)

    def wait_dead(self) -> None:
        """Wait until a server that is to be killed by a point has gone, with all its workers."""
        self._end(0, -signal.SIGKILL)

    def kill(self) -> None:
        """Kill it with all its workers, wherever they are."""
        self._end(signal.SIGKILL, -signal.SIGKILL)

    def stop(self) -> None:
        """Have it end as it should."""
        self._end(signal.SIGTERM, 0)

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return bool(self._pid) and Path(f"/proc/{self._pid}").exists() and not self._is_zombie()

    def log_tail(self) -> str:
        """The end of what it has said."""
        try:
            return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
        except FileNotFoundError:
            return ""

    def _end(self, number: int, expected: int) -> None:
        pid, self._pid = self._pid, 0
        status = self.launcher.order(end=pid, signal=number)
        if status != expected:
            raise ServerFailed(f"the server ended with {status}, not with {expected}:\n{self.log_tail()}")

    def _settings(self) -> Mapping[str, str]:
        return {
            "listen": self.address,
            "storage_dir": str(self.storage),
            "workers": str(self.workers),
            "access_log": "false",
            "log_level": "warning",
            **self.settings,
        }

    def _ready(self) -> bool:
        if len(list((self.folder / "started").iterdir())) < self.workers:
            return False
        return answers(self.address)

    def _is_zombie(self) -> bool:
        try:
            state = Path(f"/proc/{self._pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        return state == "Z"


@contextmanager
def new_server(
    launcher: Launcher,
    workers: int = 1,
    checkpoint_pages: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A server on an empty folder, not started; killed at the end if it runs."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="ferro-faults-", dir=memory if memory.is_dir() else None) as folder:
        server = Server(launcher, Path(folder), workers, checkpoint_pages, settings or {})
        try:
            yield server
        finally:
            if server.is_alive():
                server.kill()
