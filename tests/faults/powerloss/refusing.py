"""Makes the kernel refuse a system call: the n-th of a kind below a folder, from any thread, SQLite's included.

A filter of seccomp stops the calls of a process and asks its supervisor, which answers for the kernel or lets them
pass. Nothing is built, nothing is replaced in the program.
"""

import ctypes
import errno
import fcntl
import os
import platform
import select
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["KINDS", "Refusal", "RefusingMissing", "install", "supervise"]

_NUMBERS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    # write, pwrite64, writev, pwritev, pwritev2; ftruncate, fallocate; fsync, fdatasync; all forms of the others.
    "x86_64": {
        "write": (1, 18, 20, 296, 328),
        "resize": (77, 285),
        "sync": (74, 75),
        "rename": (82, 264, 316),
        "mkdir": (83, 258),
        "open": (257,),
        "unlink": (87, 263),
    },
    "aarch64": {
        "write": (64, 68, 66, 70, 287),
        "resize": (46, 47),
        "sync": (82, 83),
        "rename": (38, 276),
        "mkdir": (34,),
        "open": (56,),
        "unlink": (35,),
    },
}
KINDS = tuple(_NUMBERS["x86_64"])
_OF_FILES = frozenset({"write", "resize", "sync"})
_WITH_FOLDER = frozenset({257, 258, 263, 264, 316} if platform.machine() == "x86_64" else {34, 35, 38, 56, 276})

_SECCOMP = {"x86_64": 317, "aarch64": 277}
_PR_SET_NO_NEW_PRIVS = 38
_SET_FILTER = 1
# For all threads there are; give a listener; tell if that cannot be.
_FLAGS = 1 | 8 | 16
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_RECEIVE, _SEND, _IS_VALID = 0xC0502100, 0xC0182101, 0x40082102
_CONTINUE = 1
_NOTICE = struct.Struct("QII iIQ 6Q")
_ANSWER = struct.Struct("QqiI")
_PATH_MAX = 4096


class RefusingMissing(Exception):
    """Raised when the kernel, or what confines this process, does not let it be supervised."""


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("then", ctypes.c_ubyte),
        ("otherwise", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


@dataclass
class Refusal:
    """Refuse a call of ``kind`` below ``folder``: the n-th, and with ``lasts`` all that follow. Counts what it sees."""

    kind: str
    error: int
    folder: str
    lasts: bool
    nth: int
    seen: int = field(default=0, init=False)
    refused: list[str] = field(default_factory=list, init=False)
    is_over: bool = field(default=False, init=False)

    def asks_for(self, what: str) -> bool:
        """Whether the call on this path is refused."""
        if self.is_over or not what.startswith(self.folder):
            return False
        self.seen += 1
        if self.seen == self.nth or (self.lasts and self.seen > self.nth):
            self.refused.append(what.removeprefix(self.folder))
            return True
        return False


def install(kind: str) -> int:
    """From now on, ask about calls of one kind; the descriptor is for the supervisor, which must not be this process.

    Raises:
        RefusingMissing: this cannot be done here.
    """
    machine = platform.machine()
    if machine not in _NUMBERS:
        raise RefusingMissing(f"the numbers of system calls are not known for {machine}")
    numbers = _NUMBERS[machine][kind]
    count = len(numbers)
    program = [
        _Instruction(_LOAD, 0, 0, 0),
        # The jump of the last number skips one instruction; that of the one before, two.
        *[_Instruction(_JUMP_IF_EQUAL, count - index, 0, number) for index, number in enumerate(numbers)],
        _Instruction(_RETURN, 0, 0, _ALLOW),
        _Instruction(_RETURN, 0, 0, _ASK),
    ]
    instructions = (_Instruction * len(program))(*program)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = libc.syscall(_SECCOMP[machine], _SET_FILTER, _FLAGS, ctypes.byref(_Program(len(program), instructions)))
    if listener < 0:
        raise RefusingMissing(f"seccomp: {os.strerror(ctypes.get_errno())}")
    return int(listener)


def supervise(listener: int, refusal: Refusal, until: int, over: Callable[[], bool]) -> None:
    """Answer for the kernel until ``over`` says so, which is asked whenever ``until`` can be read."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(until, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if ready.get(listener, 0) & select.POLLIN:
            _answer(listener, refusal)
        elif until in ready and over():
            return
        elif listener in ready:
            poll.unregister(listener)


def _answer(listener: int, refusal: Refusal) -> None:
    notice = bytearray(_NOTICE.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, notice)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return
        raise
    identity, process, _, number, _, _, *arguments = _NOTICE.unpack(notice)
    refuse = refusal.asks_for(_path(process, refusal.kind, number, arguments))
    answer = _ANSWER.pack(identity, 0, -refusal.error, 0) if refuse else _ANSWER.pack(identity, 0, 0, _CONTINUE)
    try:
        fcntl.ioctl(listener, _SEND, answer)
    except OSError as error:
        # Who has asked is gone.
        if error.errno != errno.ENOENT:
            raise


def _path(process: int, kind: str, number: int, arguments: list[int]) -> str:
    if kind in _OF_FILES:
        try:
            return str(Path(f"/proc/{process}/fd/{arguments[0]}").readlink())
        except OSError:
            return ""
    address = arguments[1] if number in _WITH_FOLDER else arguments[0]
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        return os.fsdecode(os.pread(memory.fileno(), _PATH_MAX, address).partition(b"\0")[0])
