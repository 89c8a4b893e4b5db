"""What strace has printed, as calls in the order in which they ended."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["OPTIONS", "Call", "calls", "strings"]

_CALLS = (
    "?open,?creat,openat,?openat2,close,?dup,?dup2,dup3,"
    "write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,copy_file_range,sendfile,"
    "fsync,fdatasync,sync_file_range,"
    "?rename,renameat,renameat2,?link,linkat,?symlink,symlinkat,?unlink,unlinkat,?mkdir,mkdirat,?rmdir"
)

# All strings whole and in hexadecimal digits, so that nothing in them looks like a part of the line.
OPTIONS = ("-f", "--seccomp-bpf", "-qq", "-v", "-xx", "-s", "1000000000", "-e", "signal=none", "-e", f"trace={_CALLS}")

_LINE = re.compile(r"(\d+) +(.*)")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)(?: .*)?")
_UNFINISHED = "<unfinished ...>"
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """A system call. ``entered`` calls had ended when it began; they were over for certain."""

    name: str
    arguments: str
    result: int
    entered: int

    @property
    def first(self) -> int:
        """The first argument, where it is a number."""
        return int(self.arguments.partition(",")[0])

    @property
    def last(self) -> int:
        """The last argument, where it is a number."""
        return int(self.arguments.rpartition(",")[2])


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """Join the two halves of calls that others have interrupted.

    A file is closed when the call begins: its number may be given out again before the call has ended.
    """
    begun: dict[str, tuple[str, int]] = {}
    ended = 0
    for line in lines:
        if (match := _LINE.fullmatch(line.rstrip("\n"))) is None:
            raise ValueError(f"strace has printed something else: {line[:200]}")
        thread, text = match.groups()
        entered = ended
        if text.endswith(_UNFINISHED):
            text = text.removesuffix(_UNFINISHED).rstrip()
            begun[thread] = text, ended
            if not text.startswith("close("):
                continue
            text += ") = 0"
        elif resumed := _RESUMED.fullmatch(text):
            head, entered = begun.pop(thread)
            if head.startswith("close("):
                continue
            text = head + resumed[1]
        if call := _CALL.fullmatch(text):
            yield Call(call[1], call[2], int(call[3]), entered)
            ended += 1


def strings(text: str) -> list[bytes]:
    """The strings among the arguments of a call."""
    return [bytes.fromhex(match.replace("\\x", "")) for match in _STRING.findall(text)]
