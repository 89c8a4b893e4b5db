"""Content digests.

A digest names bytes by their hash: ``algorithm:encoded``. Two algorithms are registered by the image
specification and served here, each with its one length of lower-case hexadecimal digits.

Spec: image-spec descriptor.md, "Digests"; distribution-spec, end-4c.
"""

import hashlib
import re
from enum import StrEnum
from typing import Self

from ferro_oci_server.oci.errors import DigestInvalid

__all__ = ["Algorithm", "Digest", "Hasher"]


class Algorithm(StrEnum):
    """A registered hash algorithm."""

    SHA256 = "sha256"
    SHA512 = "sha512"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the value of ``digest-algorithm``.

        Raises:
            DigestInvalid: the algorithm is not served here.
        """
        try:
            return cls(text)
        except ValueError:
            raise DigestInvalid("unsupported digest algorithm") from None


_ALGORITHMS = {algorithm.value: algorithm for algorithm in Algorithm}
_HASHES = {Algorithm.SHA256: hashlib.sha256, Algorithm.SHA512: hashlib.sha512}

_GRAMMAR = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)


class Digest(str):
    """A digest that has the right form; file names and keys are built from nothing else."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a digest.

        Raises:
            DigestInvalid: it is not ``sha256:`` and 64, or ``sha512:`` and 128, lower-case hexadecimal digits.
        """
        if _GRAMMAR.fullmatch(text) is None:
            raise DigestInvalid("a digest is sha256: or sha512: and its lower-case hexadecimal digits")
        return cls(text)

    @classmethod
    def of(cls, content: bytes, algorithm: Algorithm = Algorithm.SHA256) -> Self:
        """Hash ``content``, which is small enough to hash where the caller stands."""
        return cls(f"{algorithm}:{_HASHES[algorithm](content).hexdigest()}")

    @property
    def algorithm(self) -> Algorithm:
        """The part before the colon."""
        return _ALGORITHMS[self[:6]]

    @property
    def encoded(self) -> str:
        """The part behind the colon: hexadecimal digits."""
        return self[7:]


class Hasher:
    """Hashes bytes as they arrive; ``size`` says how many it has seen."""

    __slots__ = ("_state", "algorithm", "size")

    def __init__(self, algorithm: Algorithm) -> None:
        self.algorithm = algorithm
        self.size = 0
        self._state = _HASHES[algorithm]()

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Take in the next bytes; lets other threads run while it works on large ones."""
        self._state.update(piece)
        self.size += len(piece)

    def digest(self) -> Digest:
        """The digest of all bytes so far; more may follow."""
        return Digest(f"{self.algorithm}:{self._state.hexdigest()}")

    def copy(self) -> "Hasher":
        """A second hasher that goes on from here, for bytes that may have to be forgotten."""
        twin = Hasher.__new__(Hasher)
        twin.algorithm, twin.size, twin._state = self.algorithm, self.size, self._state.copy()
        return twin
