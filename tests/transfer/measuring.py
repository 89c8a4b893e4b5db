"""How long a transfer takes, and what it holds in memory: ``python -m transfer.measuring --help``.

It fills a registry, copies it by the command, is killed three times on the way, passes over it again, and verifies the
copy. The folder should be on the disk that is asked about, and is left to whoever has named it.
"""

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ferro_oci_server.backends.blob.filesystem import FsBlobStore
from ferro_oci_server.backends.meta.sqlite import SqliteRegistryMeta
from ferro_oci_server.config import PREFIX
from ferro_oci_server.core.state import AppState
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.reference import Tag
from ferro_oci_server.testing.images import image
from support.replicas import shared_stores

COMMAND = Path(sys.executable).with_name("ferro-oci-server")
REPOSITORIES = 100
AT_A_TIME = 16


async def fill(storage: Path, images: int, layer: int) -> None:
    """Push images of two layers each, half of which are also in another repository."""
    state = AppState(FsBlobStore(storage), SqliteRegistryMeta(storage / "registry.db"))
    room = asyncio.Semaphore(AT_A_TIME)

    async def push(number: int) -> None:
        async with room:
            chance = random.Random(number)
            made = image(chance.randbytes(layer), chance.randbytes(layer), config=b'{"number": %d}' % number)
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


@contextmanager
def shared_place(folder: Path) -> Iterator[Path]:
    """A file of settings that names PostgreSQL and an S3 server, which run until the block ends."""
    with shared_stores(folder) as (_, _, settings):
        place = folder / "settings.toml"
        lines = [f'{name.removeprefix(PREFIX).lower()} = "{value}"\n' for name, value in settings.items()]
        place.write_text("".join(lines), encoding="utf-8")
        yield place


def measure_passes(old: Path, new: Path) -> None:
    """What each pass takes when nothing happens."""
    timed("first pass", "transfer", "--from", old, "--to", new)
    timed("second pass", "transfer", "--from", old, "--to", new)
    timed("last pass", "transfer", "--from", old, "--to", new, "--exact")
    timed("verify", "verify", "--storage-dir", new)


def measure_kills(old: Path, new: Path, kills: Sequence[float], verify: Sequence[str]) -> None:
    """What is left to do after passes that were killed."""
    for seconds in kills:
        killed(seconds, "transfer", "--from", old, "--to", new)
    timed("the pass after the kills", "transfer", "--from", old, "--to", new)
    timed("last pass", "transfer", "--from", old, "--to", new, "--exact")
    timed("verify", "verify", *verify)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m transfer.measuring", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=10_000, help="how many, each in one or two repositories")
    parser.add_argument("--layer-kib", type=int, default=128, help="the size of each of their two layers")
    parser.add_argument("--kill-after", type=float, nargs="*", default=[3.0, 5.0, 8.0], help="seconds")
    parser.add_argument("--shared", action="store_true", help="copy to PostgreSQL and an S3 server, not to a folder")
    options = parser.parse_args()
    old = options.folder / "old"
    if not old.exists():
        old.mkdir(parents=True)
        before = time.monotonic()
        asyncio.run(fill(old, options.images, options.layer_kib * 1024))
        print(f"== filled in {time.monotonic() - before:.1f} s", flush=True)
    if options.shared:
        with shared_place(options.folder / "shared") as settings:
            measure_kills(old, settings, options.kill_after, ("--config", str(settings)))
        return
    measure_passes(old, options.folder / "new")
    again = options.folder / "again"
    measure_kills(old, again, options.kill_after, ("--storage-dir", str(again)))


if __name__ == "__main__":
    main()
