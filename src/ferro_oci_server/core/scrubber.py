"""The scrub: all blobs are read and hashed in a cycle, slowly, in the background.

1. All processes share one cycle. Its place is in the metadata store, and moves with each batch that one of them takes;
   a process that is killed loses a batch, which the next cycle looks at.
2. It reads no faster than its rate. A small blob counts as a larger one: opening it costs, too.
"""

import asyncio
import logging
from dataclasses import dataclass
from time import monotonic

from ferro_oci_server.core.inspection import InspectedBlob, Inspection
from ferro_oci_server.core.integrity import Integrity
from ferro_oci_server.core.ports import StoreError, StoreUnavailable

__all__ = ["Scrub", "Scrubber"]

_MEBIBYTE = 1024 * 1024

# A transaction for each; and what a killed process leaves out.
_BATCH = 16
# How often it is looked whether a cycle begins.
_LOOK_SECONDS = 60.0
_LEAST_SECONDS = 1.0
# What a disk could read in the time that it takes to open a file.
_LEAST_COST = 64 * 1024

_log = logging.getLogger("ferro_oci_server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrub:
    """How fast and how often."""

    rate: float = 10 * _MEBIBYTE
    """How many bytes a second this process reads; 0 for none ever."""
    interval: float = 7 * 24 * 3600
    """How many seconds lie between two cycles."""


class Scrubber:
    """Looks at one blob after the other, and does what can be done about those that are damaged."""

    def __init__(self, inspection: Inspection, integrity: Integrity, scrub: Scrub) -> None:
        self._inspection = inspection
        self._integrity = integrity
        self._scrub = scrub
        self._free_at = 0.0
        """When what was read so far is paid for."""

    async def run(self) -> None:
        """Scrub for ever. A store that fails is asked again later."""
        if self._scrub.rate <= 0:
            return
        while True:
            # A process that has just started has better things to do.
            await asyncio.sleep(min(_LOOK_SECONDS, max(_LEAST_SECONDS, self._scrub.interval)))
            try:
                await self.scrub()
            except StoreError as exc:
                _log.warning("the scrub goes on later", exc_info=exc)

    async def scrub(self) -> None:
        """Go on with the cycle that is due to its end, if one is."""
        interval = int(self._scrub.interval * 1000)
        while page := await self._inspection.next_to_scrub(_BATCH, interval):
            for inspected in page:
                await self._look(inspected)

    async def _look(self, inspected: InspectedBlob) -> None:
        blob = inspected.blob
        try:
            problem = await self._integrity.examine(blob, self._pay)
        except StoreUnavailable as exc:
            _log.warning("a blob cannot be read", exc_info=exc, extra={"digest": blob.digest})
            return
        await self._pay(max(0, _LEAST_COST - blob.size))
        if problem is None:
            if inspected.suspect:
                await self._inspection.mark_blob(blob, suspect=False)
            return
        current = await self._inspection.inspect_blob(blob.digest)
        # It may have been removed or pushed again meanwhile; and what is marked is known.
        if current is not None and current.blob.location == blob.location:
            await self._integrity.mend(blob, problem)

    async def _pay(self, size: int) -> None:
        """Wait until what was read is within the rate."""
        now = monotonic()
        self._free_at = max(now, self._free_at) + size / self._scrub.rate
        await asyncio.sleep(self._free_at - now)
