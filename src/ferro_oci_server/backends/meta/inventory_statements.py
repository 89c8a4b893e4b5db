"""The statements of backups, which read everything once; built and compiled like all others."""

from sqlalchemy import delete, func, select, update
from sqlalchemy.engine import Dialect

from ferro_oci_server.backends.meta.schema import blobs, manifests, repositories, reviews, tags, trash, uploads
from ferro_oci_server.backends.meta.statements import Compiler, text

__all__ = ["InventoryStatements"]

_SOUND = blobs.c.suspect == 0


class InventoryStatements(Compiler):
    """The statements, each named for what it does."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self.every_blob = self.compile(
            select(blobs.c.digest, blobs.c.size, blobs.c.location).where(_SOUND).order_by(blobs.c.digest)
        )
        self.every_manifest = self.compile(
            select(repositories.c.name, manifests.c.digest, manifests.c.content).join(
                repositories, repositories.c.id == manifests.c.repository_id
            )
        )
        counted = (repositories, manifests, tags)
        self.contents = self.compile(
            select(
                *(select(func.count()).select_from(table).scalar_subquery() for table in counted),
                select(func.count()).select_from(blobs).where(_SOUND).scalar_subquery(),
                select(func.coalesce(func.sum(blobs.c.size), 0)).where(_SOUND).scalar_subquery(),
            )
        )
        self.suspect = self.compile(update(blobs).where(blobs.c.digest == text("which")).values(suspect=1))
        self.drop_uploads = self.compile(delete(uploads))
        self.drop_trash = self.compile(delete(trash))
        self.drop_reviews = self.compile(delete(reviews).where(reviews.c.kind == text("kind")))
