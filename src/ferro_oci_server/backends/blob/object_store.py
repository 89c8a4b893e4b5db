"""A blob store in a bucket of an object store: S3, Google Cloud Storage, Azure, or what speaks as one of them.

    chunk --append--> segment, named by the session's note --commit--> a marker lists the segments: they are the blob

1. Each byte is written once. A commit writes a marker and copies nothing (``segments`` has the names of all objects).
2. Any number of processes may share a bucket, and nothing keeps two of them off the same upload: each writes segments
   of its own, and whose segments count is what the session says in the metadata store.
3. A commit and a discard that meet do not both succeed. The commit writes its marker and then looks whether anything is
   being discarded; the discard says so and then looks whether there is a marker. So at least one sees the other. Both
   rely on a list being complete as soon as a write has ended, as all of these stores promise.
4. A blob is deleted from its segments to its marker: what dies in between leaves a marker, and is done again.
5. Of what a process did not come to the end of, the store keeps the parts of an object that was never whole. No one
   lists these; a rule of the bucket removes them ("abort incomplete multipart uploads").
"""

import logging
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import accumulate

from ferro_oci_server.backends.blob.bucket import Bucket, ObjectMissing
from ferro_oci_server.backends.blob.bucket_url import open_bucket
from ferro_oci_server.backends.blob.segment_writing import SegmentWriter, batches_of
from ferro_oci_server.backends.blob.segments import (
    BLOBS,
    DISCARDED,
    Marker,
    MarkerInvalid,
    Segment,
    first_bytes,
    folder_of,
    format_segments,
    is_upload_id,
    key_of,
    location_of,
    new_name,
    parse_location,
    parse_segments,
    total,
)
from ferro_oci_server.core.ports import StagedBytesMissing, StoreCorrupted, StoreUnavailable, UploadBusy
from ferro_oci_server.core.records import Blob, StagedBytes, UploadId
from ferro_oci_server.oci.digest import Digest

__all__ = ["ObjectBlobStore", "ObjectStagedUpload"]

# A marker takes about half a kilobyte.
_MAX_MARKERS = 10_000
# Of a blob of more segments than this, the marker is read each time.
_MAX_CACHED_SEGMENTS = 16

# What a session's note may list before its beginning goes into an object.
_MAX_NOTED = 256
_PAGE_LENGTH = 128

_log = logging.getLogger("ferro_oci_server")


class ObjectBlobStore:
    """Keeps blobs as objects of a bucket."""

    chunk_min_length = 0

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._writer = SegmentWriter(bucket)
        self._claimed: set[UploadId] = set()
        self._markers: OrderedDict[str, Marker] = OrderedDict()

    @classmethod
    def from_url(cls, url: str) -> "ObjectBlobStore":
        """The store in the bucket that a URL names, such as ``s3://bucket/prefix?region=eu-west-1``.

        Raises:
            ValueError: the URL is none of an object store, or says what is not known here.
        """
        return cls(open_bucket(url))

    def location(self, upload: UploadId, digest: Digest) -> str:
        """Where an upload's blob will be, if that is its digest."""
        return location_of(upload, digest)

    async def open(self, location: str) -> "ObjectReader | None":
        """Open a blob.

        Raises:
            StoreUnavailable: the object store cannot be asked now.
        """
        upload, marker = parse_location(location), await self._marker(location)
        return None if upload is None or marker is None else ObjectReader(self._bucket, upload, marker)

    async def delete(self, location: str) -> bool:
        """Remove a blob; tell whether it was there. Whoever is reading it finds the rest gone.

        Raises:
            StoreUnavailable: some of it may still be there, and found when this is called again.
        """
        upload = parse_location(location)
        self._markers.pop(location, None)
        if upload is None or await self._bucket.stat(_marker_key(location)) is None:
            return False
        await self._empty(upload)
        await self._bucket.delete([_marker_key(location)])
        return True

    async def list(self) -> AsyncIterator[str]:
        """The locations of all blobs.

        Raises:
            StoreUnavailable: the object store cannot be asked now.
        """
        async for stat in self._bucket.list(BLOBS):
            location = stat.key.removeprefix(f"{BLOBS}/")
            if parse_location(location) is not None:
                yield location

    async def age(self, location: str) -> float | None:
        """For how many seconds a blob has been there, by the object store's clock and ours; ``None`` if there is none.

        Raises:
            StoreUnavailable: the object store cannot be asked now.
        """
        stat = None if parse_location(location) is None else await self._bucket.stat(_marker_key(location))
        return None if stat is None else (datetime.now(UTC) - stat.modified_at).total_seconds()

    async def describe(self, location: str) -> Blob | None:
        """What the store itself knows of a blob, without reading it; ``None`` where there is none.

        Raises:
            StoreUnavailable: the object store cannot be asked now.
        """
        marker = await self._marker(location)
        return None if marker is None else Blob(marker.digest, marker.size, location)

    async def url(self, location: str, seconds: float) -> str | None:
        """Where a client can read a blob for some time without further ado; ``None`` where it must come through us.

        Raises:
            StoreUnavailable: the object store cannot be asked now.
        """
        upload, marker = parse_location(location), await self._marker(location)
        if upload is None or marker is None or not marker.is_object:
            return None
        segment = marker.segments[0]
        stat = await self._bucket.stat(key_of(upload, segment.name))
        # Whoever reads it here finds out what became of it, and has it marked; whoever follows a link does not.
        if stat is None or stat.size != segment.size:
            return None
        try:
            return await self._bucket.url(stat.key, seconds)
        except StoreUnavailable as exc:
            # Reading needs fewer rights than signing, which with some credentials is a request of its own.
            _log.warning("a link to a blob cannot be made", extra={"problem": str(exc)})
            return None

    @asynccontextmanager
    async def claim(self, upload: UploadId) -> AsyncIterator["ObjectStagedUpload"]:
        """Be the only one in this process to work on what is staged for an upload.

        Raises:
            UploadBusy: another has the claim.
            StagedBytesMissing: the id is none that was given here.
        """
        if not is_upload_id(upload):
            raise StagedBytesMissing
        if upload in self._claimed:
            raise UploadBusy
        self._claimed.add(upload)
        try:
            yield ObjectStagedUpload(upload, self._bucket, self._writer, self._remember)
        finally:
            self._claimed.discard(upload)

    async def discard(self, upload: UploadId) -> None:
        """Drop what is staged for an upload, if anything is, unless it has become a blob.

        Raises:
            StoreUnavailable: some of it may still be there, and is dropped when this is called again.
        """
        if not is_upload_id(upload) or not await self._bucket.has_any(folder_of(upload)):
            return
        # In this order, and the reverse of that of a commit: rule 3.
        await self._bucket.put(key_of(upload, DISCARDED), [b""])
        if await self._bucket.has_any(f"{BLOBS}/{upload}"):
            await self._bucket.delete([key_of(upload, DISCARDED)])
        else:
            await self._empty(upload)

    async def check(self) -> None:
        """See that the bucket is there, and can be listed.

        Raises:
            StoreUnavailable: it is not, or cannot.
        """
        await self._bucket.has_any("check")

    async def close(self) -> None:
        """Forget what was remembered; connections end by themselves."""
        self._markers.clear()

    async def _marker(self, location: str) -> Marker | None:
        """What is at a location. A location is given once, so what was there is there, until it is deleted."""
        if parse_location(location) is None:
            return None
        if (known := self._markers.get(location)) is not None:
            self._markers.move_to_end(location)
            return known
        try:
            marker = Marker.unpack(await self._bucket.get(_marker_key(location)), location)
        except ObjectMissing:
            return None
        except MarkerInvalid as exc:
            _log.warning("a blob's marker is damaged", extra={"location": location, "problem": str(exc)})
            return None
        self._remember(location, marker)
        return marker

    def _remember(self, location: str, marker: Marker) -> None:
        if len(marker.segments) <= _MAX_CACHED_SEGMENTS:
            self._markers[location] = marker
        if len(self._markers) > _MAX_MARKERS:
            self._markers.popitem(last=False)

    async def _empty(self, upload: str) -> None:
        """Remove all that an upload has written, and last the word that it is being discarded."""
        keys = [stat.key async for stat in self._bucket.list(folder_of(upload))]
        await self._bucket.delete([key for key in keys if not key.endswith(DISCARDED)])
        await self._bucket.delete([key for key in keys if key.endswith(DISCARDED)])


class ObjectStagedUpload:
    """What is staged for one upload, while it is claimed."""

    def __init__(
        self, upload: UploadId, bucket: Bucket, writer: SegmentWriter, remember: Callable[[str, Marker], None]
    ) -> None:
        self._upload = upload
        self._bucket = bucket
        self._writer = writer
        self._remember = remember

    async def append(self, staged: StagedBytes, pieces: AsyncIterator[bytes]) -> StagedBytes:
        """Write pieces as a segment of their own; return what is staged then. What was staged is as it was.

        Raises:
            StagedBytesMissing: there are fewer bytes than ``staged`` says.
            StoreUnavailable: the object store does not take them.
        """
        kept = await self._noted(staged)
        # That the others are there is asked at the end, by the commit.
        if kept and await self._bucket.stat(key_of(self._upload, kept[-1].name)) is None:
            raise StagedBytesMissing
        async with aclosing(batches_of(pieces)) as batches:
            name = new_name()
            while size := await self._writer.write(key_of(self._upload, name), batches):
                kept.append(Segment(name, size))
                name = new_name()
        kept = await self._shortened(kept)
        return StagedBytes(total(kept), format_segments(kept))

    async def read(self, staged: StagedBytes) -> AsyncGenerator[bytes, None]:
        """Read what is staged, a piece at a time.

        Raises:
            StagedBytesMissing: there are fewer bytes.
            StoreUnavailable: they cannot be read now.
        """
        try:
            for segment in await self._segments(staged):
                key = key_of(self._upload, segment.name)
                async with aclosing(self._bucket.read(key, 0, segment.size)) as pieces:
                    async for piece in pieces:
                        yield piece
        except (ObjectMissing, StoreCorrupted):
            raise StagedBytesMissing from None

    async def commit(self, staged: StagedBytes, digest: Digest) -> None:
        """Make what is staged the blob ``digest``.

        Raises:
            StagedBytesMissing: there are fewer bytes.
            StoreUnavailable: the object store cannot be used now.
        """
        segments = await self._segments(staged)
        sizes = await self._sizes(segments)
        is_object = len(segments) == 1 and sizes[segments[0].name] == staged.size
        location, marker = location_of(self._upload, digest), Marker(digest, tuple(segments), is_object)
        await self._bucket.put(_marker_key(location), [marker.pack()])
        # In this order, and the reverse of that of a discard: rule 3 of the store.
        sizes = await self._sizes(segments)
        self._remember(location, marker)
        strays = sizes.keys() - {it.name for it in (*segments, *self._parse(staged.note))}
        # What lost against another process, or was cut off. What is not removed now goes with the blob.
        with suppress(StoreUnavailable):
            await self._bucket.delete([key_of(self._upload, name) for name in strays])

    async def _segments(self, staged: StagedBytes) -> list[Segment]:
        """The segments of what is staged, without pages."""
        segments: list[Segment] = []
        for noted in await self._noted(staged):
            segments += await self._listed(noted) if noted.is_page else [noted]
        return segments

    async def _noted(self, staged: StagedBytes) -> list[Segment]:
        """The same with its pages."""
        segments = self._parse(staged.note)
        if total(segments) < staged.size:
            raise StagedBytesMissing
        return first_bytes(segments, staged.size)

    async def _listed(self, page: Segment) -> list[Segment]:
        """The segments on a page."""
        try:
            content = await self._bucket.get(key_of(self._upload, page.name))
        except ObjectMissing:
            raise StagedBytesMissing from None
        return first_bytes(self._parse(content.decode("ascii", "replace")), page.size)

    async def _shortened(self, segments: list[Segment]) -> list[Segment]:
        """The same list, its beginning on a page if it has become too long."""
        plain = [it for it in segments if not it.is_page]
        if len(plain) <= _MAX_NOTED:
            return segments
        pages = segments[: len(segments) - len(plain)]
        page = Segment(new_name(), total(plain[:_PAGE_LENGTH]), is_page=True)
        content = format_segments(plain[:_PAGE_LENGTH]).encode("ascii")
        await self._bucket.put(key_of(self._upload, page.name), [content])
        return [*pages, page, *plain[_PAGE_LENGTH:]]

    async def _sizes(self, segments: Sequence[Segment]) -> dict[str, int]:
        """What there is of the upload, by name.

        Raises:
            StagedBytesMissing: not all of the segments, or it is being discarded.
        """
        found = self._bucket.list(folder_of(self._upload))
        sizes = {stat.key.rpartition("/")[2]: stat.size async for stat in found}
        if DISCARDED in sizes or any(sizes.get(segment.name, -1) < segment.size for segment in segments):
            raise StagedBytesMissing
        return sizes

    def _parse(self, text: str) -> list[Segment]:
        try:
            return parse_segments(text)
        except MarkerInvalid:
            raise StagedBytesMissing from None


class ObjectReader:
    """An open blob. Once it is deleted, what was not read of it is gone."""

    def __init__(self, bucket: Bucket, upload: str, marker: Marker) -> None:
        self._bucket = bucket
        self._upload = upload
        self._segments = marker.segments
        self._starts = [0, *accumulate(segment.size for segment in marker.segments)]

    @property
    def size(self) -> int:
        """The number of bytes there are."""
        return self._starts[-1]

    async def pieces(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Read the bytes from ``start`` up to ``stop``, a piece at a time.

        Raises:
            StoreUnavailable: they cannot be read now.
            StoreCorrupted: a segment is gone, or has become shorter.
        """
        at = bisect_right(self._starts, start) - 1
        while start < stop:
            begin, end = self._starts[at : at + 2]
            key = key_of(self._upload, self._segments[at].name)
            try:
                async with aclosing(self._bucket.read(key, start - begin, min(stop, end) - begin)) as pieces:
                    async for piece in pieces:
                        yield piece
            except ObjectMissing:
                raise StoreCorrupted("a part of a blob is gone") from None
            start, at = end, at + 1

    async def close(self) -> None:
        """Nothing is held."""


def _marker_key(location: str) -> str:
    return f"{BLOBS}/{location}"
