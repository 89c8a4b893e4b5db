"""Points within what a store does with files and with SQLite, for a process that serves only to be killed.

    file.<what>.<call>.before, .after   around a system call; <what> is staged, blob, or the name of a folder
    file.staged.pwritev.half            half of a write is done
    sql.<verb>[.<table>].before, .after around a statement that changes something, BEGIN and COMMIT
    sql.commit.during                   just before COMMIT, for a kill that comes while it is being done

The functions of ``os`` and the connections of ``sqlite3`` are replaced in the whole process.
"""

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from ferro_oci_server.testing.faults.failpoints import Failpoints

__all__ = ["watch_database", "watch_files"]

_CALLS = ("fdatasync", "fsync", "ftruncate", "link", "mkdir", "open", "pwrite", "pwritev", "rename", "replace", "rmdir")
_CHANGE = re.compile(
    r"\s*(BEGIN|COMMIT|ROLLBACK|RELEASE|(?:CREATE|DROP) \w+|INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM)\s*(\w+)?",
    re.IGNORECASE,
)


def watch_files(root: Path, failpoints: Failpoints) -> None:
    """Have points around every call that concerns a file below ``root``."""
    for name in (*_CALLS, "unlink"):
        setattr(os, name, _watched(name, getattr(os, name), root, failpoints))


def _watched(name: str, call: Callable[..., Any], root: Path, failpoints: Failpoints) -> Callable[..., Any]:
    @wraps(call)
    def watched(first: Any, *args: Any, **kwargs: Any) -> Any:
        what = _what(first, root)
        if what is None or (name == "open" and not args[0] & os.O_CREAT):
            return call(first, *args, **kwargs)
        point = f"file.{what}.{name}"
        failpoints.hit(f"{point}.before")
        if name == "pwritev":
            _half(call, first, args, f"{point}.half", failpoints)
        result = call(first, *args, **kwargs)
        failpoints.hit(f"{point}.after")
        return result

    return watched


def _half(call: Callable[..., Any], fd: int, args: tuple[Any, ...], point: str, failpoints: Failpoints) -> None:
    pieces, position = args
    if failpoints.expects(point):
        content = b"".join(pieces)
        call(fd, [content[: len(content) // 2]], position)
    failpoints.hit(point)


def _what(first: Any, root: Path) -> str | None:
    """The kind of file that a path or a descriptor is about, if it is below ``root``."""
    path = first
    if isinstance(first, int):
        with suppress(OSError):
            path = Path(f"/proc/self/fd/{first}").readlink()
    if isinstance(path, int):
        return None
    try:
        parts = Path(os.fsdecode(path)).relative_to(root).parts
    except ValueError:
        return None
    if not parts:
        return "root"
    if parts[0] == "uploads" and len(parts) > 1:
        return "staged"
    if parts[0] == "blobs" and len(parts) > 3:
        return "blob"
    return parts[0].replace("_", "-").lower()


def watch_database(failpoints: Failpoints, checkpoint_pages: int | None = None) -> None:
    """Have points around every statement that changes something; move the log into place every so many pages."""

    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *args: Any) -> "Cursor":
            if checkpoint_pages and sql.startswith("PRAGMA wal_autocheckpoint"):
                sql = f"PRAGMA wal_autocheckpoint = {checkpoint_pages}"
            with _Statement(sql, failpoints):
                super().execute(sql, *args)
            return self

        def executemany(self, sql: str, *args: Any) -> "Cursor":
            with _Statement(sql, failpoints):
                super().executemany(sql, *args)
            return self

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            cursor: sqlite3.Cursor = self.cursor().execute(sql, *args)
            return cursor

        def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
            cursor: sqlite3.Cursor = self.cursor().executemany(sql, *args)
            return cursor

        def commit(self) -> None:
            with _Statement("COMMIT", failpoints):
                super().commit()

    connect = sqlite3.connect

    @wraps(connect)
    def watched(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **{"factory": Connection, **kwargs})
        return connection

    vars(sqlite3)["connect"] = watched


class _Statement:
    """The points around one statement."""

    def __init__(self, sql: str, failpoints: Failpoints) -> None:
        match = _CHANGE.match(sql)
        self._name = ""
        if match:
            verb = match[1].split()[0].lower()
            table = "" if verb in ("begin", "commit", "rollback", "release") else f".{(match[2] or '').lower()}"
            self._name = f"sql.{verb}{table}".replace("_", "-")
        self._failpoints = failpoints

    def __enter__(self) -> None:
        if not self._name:
            return
        self._hit("before")
        if self._name == "sql.commit":
            self._hit("during")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._name and kind is None:
            self._hit("after")

    def _hit(self, where: str) -> None:
        try:
            self._failpoints.hit(f"{self._name}.{where}")
        except OSError as exc:
            raise sqlite3.OperationalError(f"disk I/O error: {exc}") from exc
