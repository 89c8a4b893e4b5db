"""Letting the system begin with what a sync will wait for. On Linux only; elsewhere nothing happens.

Without it, a gigabyte lies in memory until the sync at its end, and the disk is idle until then.
"""

import ctypes
from typing import Any

__all__ = ["begin_writeback"]

_WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin, and do not wait


def _bound() -> Any:
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return call


_sync_file_range = _bound()


def begin_writeback(fd: int, start: int, stop: int) -> None:
    """Begin to write a part of a file to its disk. What goes wrong is told by the sync that must follow."""
    if _sync_file_range is not None:
        _sync_file_range(fd, start, stop - start, _WRITE)
