"""References: what may stand behind ``/manifests/``. Spec: distribution-spec, "Pulling manifests"."""

import re
from typing import Self

from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.errors import TagInvalid

__all__ = ["Reference", "Tag", "parse_reference"]

_GRAMMAR = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)


class Tag(str):
    """A name that points at one manifest of a repository."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a tag.

        Raises:
            TagInvalid: it is empty, longer than 128 characters or has a character that tags may not have.
        """
        if _GRAMMAR.fullmatch(text) is None:
            raise TagInvalid("a tag is at most 128 letters, digits, dots, hyphens and underscores")
        return cls(text)

    @classmethod
    def for_referrers(cls, subject: Digest) -> Self:
        """The tag under which clients without the referrers API list what refers to ``subject``.

        Spec: "Referrers Tag Schema".
        """
        return cls(f"{subject.algorithm}-{subject.encoded[:64]}")


Reference = Tag | Digest


def parse_reference(text: str) -> Reference:
    """Read a tag or a digest: only a digest has a colon.

    Raises:
        DigestInvalid: there is a colon, and it is not a digest.
        TagInvalid: there is none, and it is not a tag.
    """
    return Digest.parse(text) if ":" in text else Tag.parse(text)
