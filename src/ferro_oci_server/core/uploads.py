"""Upload sessions: the bytes of one blob, collected until the client names their digest.

    (none) --start--> open --append*--> open --complete--> blob
                      open --cancel, or complete with a wrong digest--> (none)

1. The offset in the metadata store is the truth; staged bytes behind it are garbage.
2. A refused chunk changes nothing. Of a chunk whose client went away, what arrived is kept, and can be gone on from.
3. Bytes are hashed while they arrive (``core.intake``). The digest of what is kept stands in the session, so that a
   closing PUT without a body compares, on any worker and after a restart. Only an upload whose chunks crossed
   processes is read again.
4. A session is sealed before its bytes become a blob: it says where they will be. So whatever dies after that, there
   are no bytes that nobody knows; and the closing PUT can be repeated.

Spec: end-4a, end-4b, end-4c, end-5, end-6, end-13, end-14.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from uuid import uuid4

from ferro_oci_server.core.fingerprint import Fingerprint
from ferro_oci_server.core.hashing import Hashing
from ferro_oci_server.core.intake import Intake, Room
from ferro_oci_server.core.ports import (
    BlobStore,
    RegistryMeta,
    StagedBytesMissing,
    StagedUpload,
    StoreError,
    UploadBusy,
)
from ferro_oci_server.core.quota import Quota, Quotas
from ferro_oci_server.core.records import Blob, StagedBytes, UploadId, UploadSession
from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.errors import DigestInvalid, UploadOutOfOrder, UploadUnknown
from ferro_oci_server.oci.name import RepositoryName
from ferro_oci_server.oci.ranges import ContentRange

__all__ = ["Uploads"]

# A fingerprint is about a kilobyte. A session whose fingerprint was dropped is read again when it closes.
_MAX_FINGERPRINTS = 10_000


class Uploads:
    """Starts, feeds, completes and cancels upload sessions."""

    def __init__(
        self, store: BlobStore, meta: RegistryMeta, quotas: Quotas | None = None, hashing: Hashing | None = None
    ) -> None:
        self._store = store
        self._meta = meta
        self._quotas = quotas or Quotas(Quota(), meta)
        self._hashing = hashing or Hashing()
        self._fingerprints: OrderedDict[UploadId, Fingerprint] = OrderedDict()

    @property
    def chunk_min_length(self) -> int:
        """The fewest bytes that a chunk other than the last should have; 0 for any."""
        return self._store.chunk_min_length

    async def start(
        self, name: RepositoryName, algorithm: Algorithm = Algorithm.SHA256, owner: str | None = None
    ) -> UploadSession:
        """Open a session whose bytes will be hashed with ``algorithm``."""
        session = UploadSession(UploadId(str(uuid4())), name, algorithm, owner=owner or "")
        await self._meta.create_upload(session)
        return session

    async def status(self, name: RepositoryName, upload: UploadId, owner: str | None = None) -> UploadSession:
        """The state of an open session. To an ``owner`` those of others are not there, here and below.

        Raises:
            UploadUnknown: this repository has no such session, or it has ended.
        """
        session = await self._meta.get_upload(name, upload)
        if session is None or owner not in (None, session.owner):
            raise _unknown()
        return session

    async def append(
        self,
        name: RepositoryName,
        upload: UploadId,
        pieces: AsyncIterator[bytes],
        content_range: ContentRange | None = None,
        announced: int = 0,
        owner: str | None = None,
    ) -> UploadSession:
        """Take a chunk in behind what is there; without a range it goes wherever the session ends.

        ``announced`` is how many bytes it claims to have, if it does.

        Raises:
            UploadUnknown: this repository has no such session, or it has ended.
            UploadOutOfOrder: the chunk starts elsewhere, or another request is writing; nothing was changed.
            SizeInvalid: the range does not have as many bytes as arrived; nothing was changed.
            BlobTooLarge, QuotaExceeded: there is no room for all that is there with it; nothing was changed.
            ClientVanished: raised by ``pieces``; what arrived before is kept.
        """
        async with self._claim(name, upload, owner) as (session, staged):
            _check_order(session, content_range)
            fingerprint = self._fingerprint(session, session.algorithm)
            intake = Intake(pieces, fingerprint, content_range, self._hashing, self._room(session), announced)
            advanced = await self._advance(session, await _stage(staged, session, intake), intake)
        intake.finish()
        return advanced

    async def complete(
        self,
        name: RepositoryName,
        upload: UploadId,
        digest: Digest,
        pieces: AsyncIterator[bytes],
        content_range: ContentRange | None = None,
        announced: int = 0,
        owner: str | None = None,
    ) -> Blob:
        """Take the last chunk in, if there is one, and make all the bytes the blob ``digest``.

        Raises:
            UploadUnknown, UploadOutOfOrder, SizeInvalid, BlobTooLarge, QuotaExceeded, ClientVanished: as ``append``;
                the session stays open.
            DigestInvalid: the bytes have another digest; the session has ended.
        """
        async with self._claim(name, upload, owner) as (session, staged):
            location, sealed = self._store.location(upload, digest), session
            # A closing PUT that is repeated brings its last chunk again.
            if session.location != location:
                _check_order(session, content_range)
                fingerprint = self._fingerprint(session, digest.algorithm)
                room = self._room(session, digest)
                intake = Intake(pieces, fingerprint, content_range, self._hashing, room, announced)
                sealed = await self._seal(session, staged, intake, digest, location)
            await staged.commit(sealed.staged, digest)
            blob = Blob(digest, sealed.offset, location, sealed.checksum)
            if not await self._meta.complete_upload(sealed, blob):
                raise _unknown()
        self._fingerprints.pop(upload, None)
        return blob

    async def _seal(
        self, session: UploadSession, staged: StagedUpload, intake: Intake, digest: Digest, location: str
    ) -> UploadSession:
        """Take the last chunk in, see that all the bytes have the digest, and record where they are about to be."""
        kept = await _stage(staged, session, intake)
        if intake.vanished:
            await self._advance(session, kept, intake)
            intake.finish()
        found, checksum = await self._identify(staged, session, kept, intake, digest.algorithm)
        if found != digest:
            await self.cancel(session.repository, session.id)
            raise DigestInvalid("the uploaded bytes have another digest")
        await self._quotas.admit_blob(session.repository, digest, kept.size)
        sealed = replace(session, offset=kept.size, note=kept.note, digest=digest, checksum=checksum, location=location)
        if not await self._meta.advance_upload(session, sealed):
            raise _unknown()
        return sealed

    async def _identify(
        self, staged: StagedUpload, session: UploadSession, kept: StagedBytes, intake: Intake, algorithm: Algorithm
    ) -> tuple[Digest, str | None]:
        """Digest and checksum of all staged bytes, from the first source that has them."""
        fingerprint = intake.fingerprint
        if fingerprint is None:
            unchanged = kept.size == session.offset
            if unchanged and session.digest is not None and session.digest.algorithm is algorithm:
                return session.digest, session.checksum
            fingerprint = Fingerprint(algorithm)
            async for piece in staged.read(kept):
                if (hashing := self._hashing.update(fingerprint, piece)) is not None:
                    await hashing
        return fingerprint.digest(), fingerprint.checksum()

    async def push(
        self,
        name: RepositoryName,
        digest: Digest,
        pieces: AsyncIterator[bytes],
        announced: int = 0,
        owner: str | None = None,
    ) -> Blob:
        """Take in a whole blob in one request: a session that lives as long as the call.

        Raises:
            DigestInvalid: the bytes have another digest; nothing is kept.
            BlobTooLarge, QuotaExceeded: there is no room for them; nothing is kept.
            ClientVanished: raised by ``pieces``; nothing is kept.
        """
        await self._quotas.room(name, 0, announced, digest)
        session = await self.start(name, digest.algorithm, owner)
        try:
            return await self.complete(name, session.id, digest, pieces, announced=announced)
        except BaseException:
            # No client was told of the session, so none will go on with it.
            with suppress(StoreError, UploadUnknown):
                await self.cancel(name, session.id)
            raise

    async def cancel(self, name: RepositoryName, upload: UploadId, owner: str | None = None) -> None:
        """End a session and drop its bytes.

        Raises:
            UploadUnknown: this repository has no such session, or it has ended.
        """
        await self.status(name, upload, owner)
        # If we die before the session ends, what is staged is no longer there, and nobody has to find it.
        await self._store.discard(upload)
        if not await self._meta.delete_upload(name, upload):
            raise _unknown()
        self._fingerprints.pop(upload, None)
        # Somebody may have begun to write in between.
        await self._store.discard(upload)

    @asynccontextmanager
    async def _claim(
        self, name: RepositoryName, upload: UploadId, owner: str | None
    ) -> AsyncIterator[tuple[UploadSession, StagedUpload]]:
        """Be the only one to work on a session, as it is now, until the block ends."""
        # Asked before, so that nothing is made for a session that does not exist, and again when nobody else moves it.
        session = await self.status(name, upload, owner)
        try:
            async with self._store.claim(upload) as staged:
                current = await self._meta.get_upload(name, upload)
                if current is None:
                    await self._store.discard(upload)
                    raise _unknown()
                session = current
                try:
                    yield session, staged
                except StagedBytesMissing:
                    # Nobody can go on from where it says that it is.
                    await self.cancel(name, upload)
                    raise
        except UploadBusy:
            raise _out_of_order(session) from None
        except StagedBytesMissing:
            raise _unknown() from None

    def _room(self, session: UploadSession, digest: Digest | None = None) -> Room:
        """How many bytes the next chunk may have."""
        return lambda size: self._quotas.room(session.repository, session.offset, size, digest)

    def _fingerprint(self, session: UploadSession, algorithm: Algorithm) -> Fingerprint | None:
        """What has seen the bytes that the session keeps, to go on with; ``None`` where nothing has."""
        if session.offset == 0:
            return Fingerprint(algorithm)
        known = self._fingerprints.get(session.id)
        if known is None or known.size != session.offset or known.algorithm is not algorithm:
            return None
        return known.copy()

    async def _advance(self, session: UploadSession, kept: StagedBytes, intake: Intake) -> UploadSession:
        """Keep what is staged, hashed as far as it could be."""
        if kept.size == session.offset:
            return session
        seen = intake.fingerprint
        if seen is not None and seen.algorithm is not session.algorithm:
            seen = None
        advanced = replace(
            session,
            offset=kept.size,
            note=kept.note,
            digest=seen.digest() if seen else None,
            checksum=seen.checksum() if seen else None,
        )
        if not await self._meta.advance_upload(session, advanced):
            raise _out_of_order(await self.status(session.repository, session.id))
        if seen:
            self._remember(session.id, seen)
        return advanced

    def _remember(self, upload: UploadId, fingerprint: Fingerprint) -> None:
        self._fingerprints[upload] = fingerprint
        self._fingerprints.move_to_end(upload)
        if len(self._fingerprints) > _MAX_FINGERPRINTS:
            self._fingerprints.popitem(last=False)


async def _stage(staged: StagedUpload, session: UploadSession, intake: Intake) -> StagedBytes:
    """Write what arrives behind what the session keeps; return what is staged then."""
    if not await intake.has_bytes():
        return session.staged
    async with aclosing(intake.pieces()) as pieces:
        return await staged.append(session.staged, pieces)


def _check_order(session: UploadSession, content_range: ContentRange | None) -> None:
    if content_range is not None and content_range.start != session.offset:
        raise _out_of_order(session)


def _unknown() -> UploadUnknown:
    return UploadUnknown("this repository has no such open upload")


def _out_of_order(session: UploadSession) -> UploadOutOfOrder:
    return UploadOutOfOrder(session.repository, session.id, session.offset)
