"""A slow line to a server: bytes pass as they are, those of all answers together at one pace."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE = 8 * 1024


class _Line:
    def __init__(self, upstream: tuple[str, int], bytes_a_second: float) -> None:
        self.upstream = upstream
        self.bytes_a_second = bytes_a_second
        self.lock = threading.Lock()
        self.open: set[socket.socket] = set()

    def serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self.upstream)
                self.open |= {client, server}
                for source, target, is_slow in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self.carry, args=(source, target, is_slow), daemon=True).start()

    def carry(self, source: socket.socket, target: socket.socket, is_slow: bool) -> None:
        try:
            while piece := source.recv(_PIECE):
                if is_slow:
                    with self.lock:
                        time.sleep(len(piece) / self.bytes_a_second)
                target.sendall(piece)
        except OSError:
            pass  # One of them has gone, and the other learns of it.
        finally:
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)


@contextmanager
def throttled(address: str, bytes_a_second: float) -> Iterator[str]:
    """The address of a line that carries so many bytes a second from ``address``, until the block ends."""
    host, port = address.split(":")
    line = _Line((host, int(port)), bytes_a_second)
    with socket.create_server((host, 0)) as listener:
        threading.Thread(target=line.serve, args=(listener,), daemon=True).start()
        try:
            yield f"{host}:{listener.getsockname()[1]}"
        finally:
            # What waits in accept() does not notice that its socket is closed.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for it in line.open:
                it.close()
