"""What disks do to files."""

from collections.abc import Callable
from pathlib import Path

Damage = Callable[[bytes], bytes | None]


def flipped(content: bytes) -> bytes:
    """One bit in the middle is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def truncated(content: bytes) -> bytes:
    return content[:-1]


def extended(content: bytes) -> bytes:
    return content + b"x"


def missing(_: bytes) -> None:
    return None


DAMAGES: dict[str, Damage] = {
    "flipped": flipped,
    "truncated": truncated,
    "extended": extended,
    "missing": missing,
}


def damage_file(path: Path, damage: Damage) -> None:
    content = damage(path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def blob_file(storage: Path, digest: str) -> Path:
    """The only file of a blob."""
    encoded = digest.partition(":")[2]
    [path] = (storage / "blobs").rglob(f"{encoded}.*")
    return path
