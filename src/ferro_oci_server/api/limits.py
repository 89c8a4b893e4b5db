"""What one application bears, and does for whom. What a registry holds at most is its state's: ``core.quota``.

Limits of a request's head, which no client comes near, are constants of ``api.requests``. Of connections, and of heads
that do not end, an ASGI application is never told: they are the server's.
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one application, in one process. 0 is no limit, except for the times."""

    body_idle_seconds: float = 30
    """How long a body may bring nothing. A stalled connection of a client that lives recovers in less."""

    body_grace_seconds: float = 60
    """How long a body may be slower than the least rate: time for a link to come back."""

    body_min_bytes_per_second: int = 1024
    """What a body must bring on average after that. The slowest links bring ten times as much."""

    response_piece_seconds: float = 300
    """How long a reader may take for a piece of a response, before the file that it reads from is closed. A piece has a
    megabyte, and systems hold up to four before it: for a reader of 17 kB a second that is long enough."""

    max_concurrent_requests: int = 500
    """Requests that are answered at a time: with a megabyte or two each, what a small machine can hold."""

    max_open_uploads: int = 10_000
    """Upload sessions, of all processes: far more than clients that push at a time."""

    min_free_bytes: int = 16 * 1024 * 1024
    """What stays free on the disk, for the metadata: a disk without room takes no deletion either."""

    storage_dir: Path | None = None
    """The folder whose disk that is; ``None`` where there is none."""

    read_only: bool = False
    """Whether everything that changes something is refused."""

    redirect_downloads: bool = False
    """Whether a GET of a blob is answered by a link to it, where the store of blobs gives any."""

    redirect_except: tuple[str, ...] = ()
    """Patterns of the ``User-Agent`` of clients that are served here all the same; ``*`` stands for any characters."""

    redirect_seconds: float = 60
    """How long a link may be followed. It is asked for right before; reading may then take as long as it takes."""
