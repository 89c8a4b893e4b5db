"""The command's server, on its real stores, with points in it: what the runner starts and kills.

    runner --lines of JSON--> this process (everything imported, no thread) --fork--> serve(config) --fork--> workers

1. Forking what is imported already makes a start cheap; nothing else differs from the command.
2. A server and its workers are a process group, and die together. Only groups that were started here are killed.
3. This process takes in the orphans of a killed server, so that it can tell when all of them are gone.
"""

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ferro_oci_server.api.metrics  # noqa: F401  (imported here once, not in every worker)
from ferro_oci_server import server
from ferro_oci_server.api.app import Router
from ferro_oci_server.api.exchange import Observer
from ferro_oci_server.config import Config
from ferro_oci_server.core.ports import StoreError
from ferro_oci_server.testing.faults.failpoints import VARIABLE, Failpoints
from ferro_oci_server.testing.faults.stores import faulty_blob_store, faulty_registry_meta

from .steps import watch_database, watch_files

_TAKE_IN_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER
_GONE_SECONDS = 60.0
_POLL_SECONDS = 0.002


def main() -> None:
    """Do what the lines on standard input say, and answer each with a line."""
    if ctypes.CDLL(None).prctl(_TAKE_IN_ORPHANS, 1, 0, 0, 0):
        raise OSError("orphans are not taken in here")
    started: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            pid = _start(order["start"])
            started.add(pid)
            answer: int | None = pid
        else:
            answer = _end(order["end"], order["signal"], started)
        print(json.dumps(answer), flush=True)
    for pid in sorted(started):
        _end(pid, signal.SIGKILL, started)


def _end(pid: int, number: int, started: set[int]) -> int | None:
    """Send a signal to a server (0: none), wait until its whole group is gone, and tell how it ended, if it did."""
    if pid not in started:
        raise ValueError(f"{pid} was not started here")
    if number == signal.SIGKILL:
        os.killpg(pid, number)
    elif number:
        os.kill(pid, number)
    status: int | None = None
    deadline = time.monotonic() + _GONE_SECONDS
    while time.monotonic() < deadline:
        found, raw = _reap(pid)
        if found == pid:
            status = os.waitstatus_to_exitcode(raw)
        elif not found and not _group_is_there(pid):
            started.discard(pid)
            return status
        elif not found:
            time.sleep(_POLL_SECONDS)
    return None


def _reap(group: int) -> tuple[int, int]:
    try:
        return os.waitpid(-group, os.WNOHANG)
    except ChildProcessError:
        return 0, 0


def _group_is_there(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _start(order: Mapping[str, Any]) -> int:
    pid = os.fork()
    # Done on both sides, so that it is done whoever comes first.
    os.setpgid(pid, 0)
    if pid:
        return pid
    status = 1
    try:
        _redirect(order["log"])
        status = _serve(order)
    finally:
        os._exit(status)


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    for fd in (1, 2):
        os.dup2(output, fd)


def _serve(order: Mapping[str, Any]) -> int:
    group = os.getpid()

    def end() -> None:
        if os.getpgrp() == group:
            os.killpg(group, signal.SIGKILL)

    failpoints = Failpoints.from_environ({VARIABLE: order["failpoint"]}, end=end)
    config = Config.load(order["settings"], {})
    assert config.storage_dir is not None
    watch_files(config.storage_dir.resolve(), failpoints)
    watch_database(failpoints, order["checkpoint_pages"])
    _compose(failpoints, Path(order["started"]))
    try:
        server.serve(config)
    except StoreError as exc:
        print(exc, file=sys.stderr)
        return 2
    return 0


def _compose(failpoints: Failpoints, started: Path) -> None:
    """Have ``server`` build what it builds, with points in it, and each worker say that it has started."""
    names: dict[str, Any] = vars(server)
    blobs, meta, build = names["FsBlobStore"], names["SqliteRegistryMeta"], names["build_app"]

    def build_watched(config: Config, observers: Iterable[Observer] = ()) -> Any:
        app = build(config, observers)
        (started / str(os.getpid())).touch()
        return _Watched(app, failpoints)

    names["FsBlobStore"] = lambda *args, **kwargs: faulty_blob_store(blobs(*args, **kwargs), failpoints)
    names["SqliteRegistryMeta"] = lambda *args, **kwargs: faulty_registry_meta(meta(*args, **kwargs), failpoints)
    names["build_app"] = build_watched


class _Watched:
    """An application with points where bytes come in and go out: http.request.piece, http.response.before, .after."""

    def __init__(self, app: Router, failpoints: Failpoints) -> None:
        self._app = app
        self._failpoints = failpoints

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/faults/"):
            await self._work(scope, send)
            return
        if scope["type"] != "http" or not scope["path"].startswith("/v2/"):
            await self._app(scope, receive, send)
            return

        async def receive_watched() -> Any:
            message = await receive()
            if message.get("body"):
                await self._failpoints.reach("http.request.piece")
            return message

        async def send_watched(message: Any) -> None:
            if message["type"] == "http.response.start":
                await self._failpoints.reach("http.response.before")
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                await self._failpoints.reach("http.response.after")

        await self._app(scope, receive_watched, send_watched)

    async def _work(self, scope: Any, send: Any) -> None:
        """Do what a registry does by itself: /faults/collect?seconds=, which its clock goes on by."""
        status = 200
        try:
            await self._collect(float(scope["query_string"].partition(b"=")[2]))
        except StoreError:
            status = 503
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def _collect(self, seconds: float) -> None:
        collector = self._app._required_state.collector
        assert collector is not None
        await collector.tick(0)
        await collector.tick(seconds)
        async for _ in collector.collect():
            pass


if __name__ == "__main__":
    main()
