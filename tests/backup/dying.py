"""The command, killed before its n-th change to files: ``python dying.py N ARGUMENTS...``.

What changes is told by Python itself, to its audit hooks; nothing of the command is another for it. Exits with 0 if
there are fewer changes.
"""

import os
import signal
import sys

from ferro_oci_server.cli import main

# Opening a file to write is opening it with any flag but these: they only read, and close on exec.
READS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY
CHANGES = ("os.rename", "os.remove", "os.mkdir", "sqlite3.connect")

left = int(sys.argv[1])


def count(event: str, arguments: tuple[object, ...]) -> None:
    global left  # noqa: PLW0603
    opens = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & ~READS)
    if event in CHANGES or opens:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


sys.dont_write_bytecode = True
sys.addaudithook(count)
sys.exit(main(sys.argv[2:]))
