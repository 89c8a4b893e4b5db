"""Repository names. Spec: distribution-spec, "Pulling manifests"."""

import re
from typing import Self

from ferro_oci_server.oci.errors import NameInvalid

__all__ = ["RepositoryName"]

# Clients stop at 255 characters with the host in front, and file systems at 255 a component.
_MAX_NAME = 255
_MAX_COMPONENT = 200

# The specification's grammar, with the alternatives of a component made disjoint so that matching is linear.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)


class RepositoryName(str):
    """The name of a repository, such as ``library/ubuntu``. Compared byte by byte: no case is folded."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name.

        Raises:
            NameInvalid: it does not match the specification's grammar, or is longer than 255 characters
                (200 in one component).
        """
        if not cls.is_valid(text):
            raise NameInvalid("a repository name is lower-case letters, digits and separators between slashes")
        return cls(text)

    @staticmethod
    def is_valid(text: str) -> bool:
        """Whether ``parse`` would take it."""
        if len(text) > _MAX_NAME or _NAME.fullmatch(text) is None:
            return False
        return len(text) <= _MAX_COMPONENT or max(map(len, text.split("/"))) <= _MAX_COMPONENT
