"""Referrers: the manifests that name another as their subject. Spec: end-12a, end-12b.

Every manifest with a subject is indexed in the transaction that stores it. So those that clients also listed under a
fallback tag ("Referrers Tag Schema") are here without that tag being read: an entry of the tag counts only where its
manifest has the subject, and then it is in the index.
"""

from collections.abc import Sequence

from ferro_oci_server.core.pages import Page
from ferro_oci_server.core.ports import RegistryMeta
from ferro_oci_server.oci.descriptor import Descriptor
from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.oci.name import RepositoryName

__all__ = ["Referrers"]

# Clients read an index of up to 4 MiB. Annotations are the client's, so a page may have to be shorter than asked;
# one manifest's fit in any case, since they fitted into the manifest.
_MAX_PAGE_CHARACTERS = 512 * 1024

# How many are read at once: each may bring the annotations of a manifest of 4 MiB.
_STEP = 25


class Referrers:
    """Lists referrers by digest."""

    def __init__(self, meta: RegistryMeta) -> None:
        self._meta = meta

    async def list(
        self, name: RepositoryName, subject: Digest, artifact_type: str | None, after: str, limit: int
    ) -> Page[Descriptor]:
        """Up to ``limit`` referrers behind the digest ``after``, all or those of one type.

        A subject that is not there has no referrers, or has those that were pushed before it.
        """
        found: list[Descriptor] = []
        characters = 0
        while len(found) <= limit and characters <= _MAX_PAGE_CHARACTERS:
            step = min(_STEP, limit + 1 - len(found))
            referrers = await self._meta.list_referrers(name, subject, artifact_type, after, step)
            found += referrers
            characters += sum(map(_characters, referrers))
            if len(referrers) < step:
                break
            after = referrers[-1].digest
        return Page.cut(found, min(limit, _fitting(found)))


def _fitting(referrers: Sequence[Descriptor]) -> int:
    """How many of these fit into one page; always one, so that the next page is another."""
    total = 0
    for count, referrer in enumerate(referrers):
        total += _characters(referrer)
        if total > _MAX_PAGE_CHARACTERS and count:
            return count
    return len(referrers)


def _characters(referrer: Descriptor) -> int:
    return sum(len(key) + len(text) for key, text in (referrer.annotations or {}).items())
