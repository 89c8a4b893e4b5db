"""The generator of load, a program of its own (``load/``), and what it tells."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Load", "LoadFailed", "Outcome"]

_SOURCE = Path(__file__).with_name("load")
# Beyond what a job is to take: the blobs that it prepares, and a server that does not answer.
_PATIENCE = 400.0


class LoadFailed(Exception):
    """Raised when a job could not be done, or was not answered as it should be."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job: ``load/outcome.go``."""

    seconds: float
    done: int
    bytes: int
    handled: int
    moved: int
    failed: int
    failure: str
    statuses: Mapping[str, int]
    latency: Mapping[str, float]
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """How much was done in a second."""
        return self.done / self.seconds

    @property
    def megabytes_per_second(self) -> float:
        """What was moved in a second."""
        return self.bytes / self.seconds / 1e6


class Load:
    """Runs jobs, one at a time unless ``start`` is used."""

    def __init__(self, folder: Path) -> None:
        """Build the program into a folder."""
        go = shutil.which("go")
        if go is None:
            raise LoadFailed("go is missing: the generator of load is written in it")
        self._program = folder.absolute() / "load"
        environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}
        subprocess.run(
            [go, "build", "-buildvcs=false", "-o", str(self._program), "."], cwd=_SOURCE, env=environment, check=True
        )

    def run(self, work: str, job: Mapping[str, Any], *, may_fail: bool = False) -> Outcome:
        """Do a job.

        Raises:
            LoadFailed: the program failed, or something was not answered as it should be.
        """
        return self.start(work, job).wait(may_fail=may_fail)

    def start(self, work: str, job: Mapping[str, Any]) -> "Running":
        """Begin a job."""
        return Running(self._program, work, job)


class Running:
    """A job that is being done."""

    def __init__(self, program: Path, work: str, job: Mapping[str, Any]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([str(program), work], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job))
        self._process.stdin.close()
        self._process.stdin = None

    def wait(self, *, may_fail: bool = False) -> Outcome:
        """Let it end.

        Raises:
            LoadFailed: see ``Load.run``.
        """
        try:
            output, errors = self._process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise LoadFailed(f"not done after {_PATIENCE:.0f} s") from None
        if self._process.returncode != 0:
            raise LoadFailed(errors.strip())
        outcome = Outcome(**json.loads(output))
        if outcome.failed and not may_fail:
            raise LoadFailed(f"{outcome.failed} failures: {outcome.failure}")
        if not outcome.done and not outcome.bytes:
            raise LoadFailed("nothing was done in the time")
        return outcome
