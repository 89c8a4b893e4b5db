"""A proxy before the registry that notes every exchange, so that a test can say what a client did not send again.

It reads each body as a whole: for small images only.
"""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from support.process import POLL_SECONDS
from support.registry import Registry


@dataclass(frozen=True)
class Exchange:
    method: str
    target: str
    status: int
    sent: int

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)


@dataclass(repr=False)
class Recording:
    """What passed through the proxy, in the order of the answers."""

    exchanges: list[Exchange] = field(default_factory=list)

    def clear(self) -> None:
        self.exchanges.clear()

    def uploads(self) -> list[Exchange]:
        """The requests that carried a blob's bytes."""
        return [e for e in self.exchanges if "/blobs/uploads/" in e.path and e.sent > 0]

    def mounts(self) -> list[Exchange]:
        """The blobs that the registry took from another repository, without their bytes."""
        return [e for e in self.exchanges if e.method == "POST" and "mount" in e.query and e.status == 201]

    def __repr__(self) -> str:
        return "\n".join(f"{e.status} {e.method} {e.target} ({e.sent} bytes sent)" for e in self.exchanges)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: str, recording: Recording) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.recording = recording


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A client that tries TLS first learns from a whole HTTP answer, not from a bare error text, that there is none.
    default_request_version = "HTTP/1.1"
    server: _Server

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self.forward
        raise AttributeError(name)

    def forward(self) -> None:
        body = self.read_body()
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for key, value in self.headers.items():
                upstream.putheader(key, value)
            chunked = "Transfer-Encoding" in self.headers
            upstream.endheaders([body] if chunked else body, encode_chunked=chunked)
            response = upstream.getresponse()
            answer = response.read()
        finally:
            upstream.close()
        self.server.recording.exchanges.append(Exchange(self.command, self.path, response.status, len(body)))
        self.send_response_only(response.status, response.reason)
        for key, value in response.headers.items():
            if key.lower() not in ("transfer-encoding", "connection"):
                self.send_header(key, value)
        if response.headers["Content-Length"] is None and response.status not in (204, 304):
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def read_body(self) -> bytes:
        if "Transfer-Encoding" not in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def record(registry: Registry) -> Iterator[tuple[Registry, Recording]]:
    """The same registry at the proxy's address, and what passes through it."""
    recording = Recording()
    with _Server(registry.address, recording) as server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True)
        thread.start()
        host, port = server.server_address[:2]
        try:
            yield Registry(f"{host!s}:{port}", registry.process), recording
        finally:
            server.shutdown()
            thread.join()
