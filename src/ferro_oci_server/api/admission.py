"""What may begin now: not too much at once, and nothing that there is no room for."""

import asyncio
import os
from math import inf
from pathlib import Path
from time import monotonic

from ferro_oci_server.api import routes
from ferro_oci_server.api.limits import Limits
from ferro_oci_server.core.ports import StoreUnavailable
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.errors import Overloaded, StorageFull, TooManyRequests

__all__ = ["Admission"]

# What brings content, and so takes space. Closing an upload takes none, and deleting gives some back.
_GROWING = frozenset({(routes.UPLOADS, "POST"), (routes.UPLOAD, "PATCH"), (routes.MANIFEST, "PUT")})

# What has been asked for is true for so long: short beside the time in which a disk or a table fills.
_FRESH_SECONDS = 1.0

# Requests come and go; uploads take their time, and for a full disk somebody has to make room.
_RETRY_SOON, _RETRY_LATER = 2, 60


class Admission:
    """Counts what goes on in one process, and decides what may begin. Used by one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.running = 0
        """How many requests are being answered, this one among them."""
        self._uploads, self._uploads_until = 0, -inf
        self._free, self._free_until = inf, -inf

    def check_load(self) -> None:
        """Let the request go on if there are not too many.

        Raises:
            Overloaded: there are.
        """
        if 0 < self._limits.max_concurrent_requests < self.running:
            raise Overloaded("too many requests are being answered", _RETRY_SOON)

    async def check_room(self, pattern: str, method: str, state: AppState) -> None:
        """Let a request that changes something go on if there is room for what it brings.

        Raises:
            StorageFull: the disk is full, or nearly.
            TooManyRequests: it would start an upload session, and there are too many.
            StoreUnavailable: that cannot be known now.
        """
        if (pattern, method) not in _GROWING:
            return
        await self._check_space()
        if pattern == routes.UPLOADS:
            await self._check_uploads(state)

    async def _check_space(self) -> None:
        least, folder = self._limits.min_free_bytes, self._limits.storage_dir
        if not least or folder is None:
            return
        now = monotonic()
        if now >= self._free_until:
            self._free_until = now + _FRESH_SECONDS
            self._free = await asyncio.to_thread(_free_bytes, folder)
        if self._free < least:
            raise StorageFull("the storage has no room for more content", _RETRY_LATER)

    async def _check_uploads(self, state: AppState) -> None:
        most = self._limits.max_open_uploads
        if not most:
            return
        now = monotonic()
        # Between two counts all that start are added and none that end is taken away, so that no session too many
        # is opened by this process; before one is refused, they are counted.
        if self._uploads >= most or now >= self._uploads_until:
            self._uploads_until = now + _FRESH_SECONDS
            self._uploads = await state.count_uploads()
        if self._uploads >= most:
            raise TooManyRequests("too many uploads are open", _RETRY_LATER)
        self._uploads += 1


def _free_bytes(folder: Path) -> int:
    try:
        disk = os.statvfs(folder)
    except OSError as exc:
        raise StoreUnavailable(f"the storage directory cannot be looked at: {exc}") from exc
    return disk.f_bavail * disk.f_frsize
