"""A name server that knows one name, whose addresses change: what Docker's is to a balancer."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ANSWER = 0x8180
_A_RECORD = struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4)


class Names:
    """Answers each question with all ``addresses``, which may be changed at any time."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def at(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            question, client = self._socket.recvfrom(512)
            if not question:
                return
            # One question: a name, whose type is in the two bytes after its end. Only IPv4 has answers here.
            end = question.index(0, 12) + 5
            is_ipv4 = question[end - 4 : end - 2] == b"\0\1"
            found = [socket.inet_aton(address) for address in self.addresses] if is_ipv4 else []
            head = question[:2] + struct.pack("!HHHHH", _ANSWER, 1, len(found), 0, 0)
            self._socket.sendto(head + question[12:end] + b"".join(_A_RECORD + it for it in found), client)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


@contextmanager
def name_server(*addresses: str) -> Iterator[Names]:
    """Run it until the block ends."""
    names = Names(*addresses)
    names.start()
    try:
        yield names
    finally:
        names.stop()
