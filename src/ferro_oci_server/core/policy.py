"""What a registry may be told to accept."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from ferro_oci_server.oci.name import RepositoryName

__all__ = ["MissingReferences"]


class MissingReferences:
    """In which repositories a manifest may refer to content that is not there, as sparse mirrors need.

    What is missing stays missing: reading it is answered by 404.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = tuple(patterns)

    @classmethod
    def parse(cls, text: str) -> "MissingReferences":
        """Read ``refuse``, ``allow``, or patterns of repository names between commas, such as ``mirror/*``.

        Raises:
            ValueError: a pattern is empty.
        """
        if text in ("refuse", "allow"):
            return cls(["*"] if text == "allow" else [])
        patterns = [pattern.strip() for pattern in text.split(",")]
        if not all(patterns):
            raise ValueError("expected refuse, allow, or patterns of repository names between commas")
        return cls(patterns)

    def allowed_in(self, name: RepositoryName) -> bool:
        """Whether a manifest in this repository may refer to what is not there. ``*`` matches slashes too."""
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)
