"""How long a transfer takes, and what it holds in memory: ``python -m transfer.measuring FOLDER [IMAGES] [LAYER_KIB]``.

It fills a registry, copies it by the command, is killed three times on the way, passes over it again, and verifies the
copy. FOLDER should be on the disk that is asked about, and is left to whoever has named it.
"""

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.images import image

COMMAND = Path(sys.executable).with_name("ferro-oci-server")
REPOSITORIES = 100
AT_A_TIME = 16
KILLS_AFTER = (3.0, 5.0, 8.0)


async def fill(storage: Path, images: int, layer: int) -> None:
    """Push images of two layers each, half of which are also in another repository."""
    state = AppState(FsBlobStore(storage), SqliteRegistryMeta(storage / "registry.db"))
    room = asyncio.Semaphore(AT_A_TIME)

    async def push(number: int) -> None:
        chance = random.Random(number)
        made = image(chance.randbytes(layer), chance.randbytes(layer), config=b'{"number": %d}' % number)
        async with room:
            for name in {f"team/app-{number % REPOSITORIES}", f"copy/app-{number % 2 * number % REPOSITORIES}"}:
                for blob in made.blobs:
                    digest = Digest.of(blob)
                    if await state.blobs.mount(RepositoryName(name), digest, None) is None:
                        await state.uploads.push(RepositoryName(name), digest, pieces(blob))
                await state.manifests.put(RepositoryName(name), Tag(f"v{number}"), made.body, made.media_type)

    async with asyncio.TaskGroup() as group:
        for number in range(images):
            group.create_task(push(number))
    await state.close()


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    """A body."""
    yield content


def command(*arguments: str | Path) -> Sequence[str]:
    return [str(COMMAND), *map(str, arguments)]


def timed(title: str, *arguments: str | Path) -> None:
    """Run the command, and print behind what it says how long it took, and what it held."""
    before = time.monotonic()
    process = subprocess.Popen(command(*arguments))
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_kib(process.pid))
        time.sleep(0.05)
    seconds = time.monotonic() - before
    print(f"== {title}: {seconds:.1f} s, {peak / 1024:.0f} MiB, status {process.returncode}", flush=True)


def peak_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def killed(seconds: float, *arguments: str | Path) -> None:
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL)
    try:
        process.wait(seconds)
        print("== it had ended before it was to be killed")
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"== killed after {seconds} s", flush=True)


def main(folder: Path, images: int = 10_000, layer_kib: int = 128) -> None:
    """Measure."""
    old, new, again = folder / "old", folder / "new", folder / "again"
    if not old.exists():
        old.mkdir(parents=True)
        before = time.monotonic()
        asyncio.run(fill(old, images, layer_kib * 1024))
        print(f"== filled in {time.monotonic() - before:.1f} s", flush=True)
    timed("first pass", "transfer", "--from", old, "--to", new)
    timed("second pass", "transfer", "--from", old, "--to", new)
    timed("last pass", "transfer", "--from", old, "--to", new, "--exact")
    timed("verify", "verify", "--storage-dir", new)
    for seconds in KILLS_AFTER:
        killed(seconds, "transfer", "--from", old, "--to", again)
    timed("the pass after the kills", "transfer", "--from", old, "--to", again)
    timed("verify", "verify", "--storage-dir", again)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
