"""Writing an upload: pieces are gathered into a batch while the batch before is written.

    pieces as they arrive --gather--> a batch --one write, in a thread--> the staged file

So an upload holds two batches in memory, whatever its size.
"""

import asyncio
import os
from collections.abc import AsyncIterator

from ferro_oci_server.backends.blob.staging import StagedFile
from ferro_oci_server.backends.blob.threads import Threads, finish, settle

__all__ = ["write_pieces"]

# A hop to a thread costs some 50 us, and writing this much about half of that; hundreds of uploads at once hold two
# each. Few uploads come in larger pieces.
_BATCH = 128 * 1024

# The system takes no more pieces than this in one write.
_MAX_PIECES = os.sysconf("SC_IOV_MAX")


async def write_pieces(staged: StagedFile, offset: int, pieces: AsyncIterator[bytes], threads: Threads) -> int:
    """Write pieces behind the first ``offset`` bytes and sync the file; return how many bytes it has.

    When it raises, no thread is using the file any more.
    """
    batch: list[bytes] = []
    size, position = 0, offset
    writing: asyncio.Future[None] | None = None
    try:
        async for piece in pieces:
            batch.append(piece)
            size += len(piece)
            if size < _BATCH and len(batch) < _MAX_PIECES:
                continue
            if writing is not None:
                await finish(writing)
            writing = threads.start(staged.write, batch, position)
            batch, size, position = [], 0, position + size
    finally:
        if writing is not None:
            await settle(writing)
    if writing is not None:
        writing.result()
    await threads.run(staged.finish, batch, position, is_first=offset == 0)
    return position + size
