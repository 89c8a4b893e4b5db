"""The programs that the tests run: one-shot client commands, and daemons that live as long as a fixture.

1. Every command is bounded in time, and a failure carries everything that it printed.
2. Only processes started here are ended, each by its own id.
"""

import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

COMMAND_SECONDS = 60.0
READY_SECONDS = 60.0
POLL_SECONDS = 0.05


class CommandFailed(AssertionError):
    """Raised when a client command exits with another status than 0, or does not exit in time."""

    def __init__(self, argv: Sequence[str], outcome: str, output: str) -> None:
        super().__init__(f"{' '.join(argv)}\n{outcome}\n{output}")
        self.output = output


@dataclass(frozen=True)
class Client:
    """A client program, the options that every call carries, and the environment it runs in.

    Calling it returns what the command wrote to its standard output, without the blanks around it.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    seconds: float = COMMAND_SECONDS

    def __call__(self, *args: str, stdin: bytes = b"", cwd: Path | None = None) -> str:
        return self.bytes(*args, stdin=stdin, cwd=cwd).decode().strip()

    def bytes(self, *args: str, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
        argv = [*self.argv, *args]
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, env=self.env, cwd=cwd, timeout=self.seconds, check=False
            )
        except subprocess.TimeoutExpired as expired:
            output = b"\n".join(part for part in (expired.stdout, expired.stderr) if part)
            raise CommandFailed(argv, f"still running after {self.seconds} s", output.decode()) from None
        if done.returncode != 0:
            output = done.stdout + b"\n" + done.stderr
            raise CommandFailed(argv, f"exit status {done.returncode}", output.decode(errors="replace"))
        return done.stdout

    def refuses(self, *args: str) -> str:
        """The output of a command that must fail."""
        try:
            output = self(*args)
        except CommandFailed as failure:
            return failure.output
        raise AssertionError(f"{' '.join([*self.argv, *args])} succeeded:\n{output}")

    def patient(self, seconds: float) -> "Client":
        """The same client with another bound on each command's time."""
        return replace(self, seconds=seconds)


def connect(address: str, tls: ssl.SSLContext | None, seconds: float) -> http.client.HTTPConnection:
    """A connection, encrypted where it is said whom to believe."""
    if tls is None:
        return http.client.HTTPConnection(address, timeout=seconds)
    return http.client.HTTPSConnection(address, timeout=seconds, context=tls)


def answers(address: str, path: str = "/ready", tls: ssl.SSLContext | None = None) -> bool:
    """Whether a server is there, and answers a path with 200."""
    connection = connect(address, tls, 5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def listens(address: str) -> bool:
    """Whether somebody takes connections."""
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def daemon(
    argv: Sequence[str], env: Mapping[str, str] | None, log: Path, ready: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a daemon, wait until it is ready, and end it with SIGTERM."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait_until_ready(process, argv, log, ready)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(READY_SECONDS)


def _wait_until_ready(
    process: subprocess.Popen[bytes], argv: Sequence[str], log: Path, ready: Callable[[], bool]
) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        if process.poll() is not None:
            raise CommandFailed(argv, f"exited with {process.returncode}", log.read_text(errors="replace"))
        if time.monotonic() > deadline:
            raise CommandFailed(argv, f"not ready after {READY_SECONDS} s", log.read_text(errors="replace"))
        time.sleep(POLL_SECONDS)
