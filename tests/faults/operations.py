"""What the client does while the server is killed. Each operation can be gone on with after it was interrupted."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.testing.images import Content, image, index

from .history import Fact, Lost, Recorder

__all__ = ["OPERATIONS", "Operation", "Place", "put_blob", "put_manifest"]

_OCTETS = {"Content-Type": "application/octet-stream"}
_SIGNATURE = "application/vnd.example.signature"


@dataclass(frozen=True)
class Place:
    """Where an operation works: repositories and bytes that no other run has."""

    repository: str
    algorithm: Algorithm
    seed: int

    @property
    def other(self) -> str:
        """A second repository."""
        return f"{self.repository}-other"

    def content(self, size: int, name: str = "") -> bytes:
        """Bytes that only this place has, under each name."""
        return random.Random(f"{self.seed} {self.repository} {name}").randbytes(size)

    def image(self, name: str, **more: object) -> Content:
        """A small image that only this place has."""
        layer, config = self.content(300, f"{name} layer"), b'{"of":"%b"}' % f"{self.repository} {name}".encode()
        return image(layer, config=config, algorithm=self.algorithm, **more)  # type: ignore[arg-type]


class Operation(Protocol):
    """Something a client wants done."""

    place: Place

    def prepare(self, recorder: Recorder) -> None:
        """Push what it needs."""
        ...

    def run(self, recorder: Recorder) -> None:
        """Do it, or, when called again, do what is left of it."""
        ...


@dataclass
class Push:
    """A blob in an upload session: so many bytes in each PATCH, the last ones in the closing PUT."""

    place: Place
    patches: tuple[int, ...] = ()
    closing: int = 0
    declared: bool = True
    ranges: bool = True
    before: bool = False
    _location: str = ""
    _upload: Fact = field(default_factory=lambda: Fact("upload", "", ""))

    def __post_init__(self) -> None:
        self._content = self.place.content(sum(self.patches) + self.closing)
        self._digest = Digest.of(self._content, self.place.algorithm)
        self._blob = Fact("blob", self.place.repository, self._digest)

    def prepare(self, recorder: Recorder) -> None:
        """Push the same bytes, if they are to be there already."""
        if self.before:
            put_blob(recorder, self.place.repository, self._content, self.place.algorithm)

    def run(self, recorder: Recorder) -> None:
        """Go on from the offset that the server tells."""
        if not self._location:
            self._start(recorder)
        if self._upload in recorder.world:
            self._send(recorder)
        elif self._blob not in recorder.world:
            raise Lost(f"I1: the upload {self._upload} has gone, and its blob is not there")

    def _start(self, recorder: Recorder) -> None:
        algorithm = f"?digest-algorithm={self.place.algorithm}" if self.declared else ""
        reply = recorder.do("POST", f"/v2/{self.place.repository}/blobs/uploads/{algorithm}", status=202)
        self._location = reply.headers["Location"]
        self._upload = Fact("upload", self.place.repository, self._location.rpartition("/")[2])
        recorder.learn({self._upload: 0})

    def _send(self, recorder: Recorder) -> None:
        end = 0
        for size in self.patches:
            end += size
            offset = _offset(recorder, self._upload)
            if offset < end:
                headers = self._headers(offset, end)
                chunk = self._content[offset:end]
                recorder.do("PATCH", self._location, chunk, headers, status=202, change={self._upload: end})
        offset = _offset(recorder, self._upload)
        rest = self._content[offset:]
        headers = self._headers(offset, len(self._content)) if rest else {}
        recorder.do(
            "PUT",
            f"{self._location}?digest={self._digest}",
            rest,
            headers,
            status=201,
            change={self._upload: None, self._blob: self._content},
            halfway={self._upload: len(self._content)},
        )

    def _headers(self, start: int, end: int) -> Mapping[str, str]:
        return {**_OCTETS, "Content-Range": f"{start}-{end - 1}"} if self.ranges else _OCTETS


@dataclass
class PushAtOnce:
    """A blob in one POST."""

    place: Place

    def prepare(self, recorder: Recorder) -> None:
        """Nothing is needed."""

    def run(self, recorder: Recorder) -> None:
        """Push it, again if need be."""
        put_blob(recorder, self.place.repository, self.place.content(70_000), self.place.algorithm)


@dataclass
class Cancel:
    """An upload that is given up."""

    place: Place
    _push: Push = field(init=False)

    def __post_init__(self) -> None:
        self._push = Push(self.place, patches=(1000,), closing=1)

    def prepare(self, recorder: Recorder) -> None:
        """Send some bytes."""
        self._push._start(recorder)
        upload = self._push._upload
        recorder.do("PATCH", self._push._location, self.place.content(1000), status=202, change={upload: 1000})

    def run(self, recorder: Recorder) -> None:
        """Give it up, unless that is done."""
        if self._push._upload in recorder.world:
            recorder.do("DELETE", self._push._location, status=204, change={self._push._upload: None})


@dataclass
class PutManifests:
    """Manifests that are put one after the other, each with the tags that it then has."""

    place: Place
    steps: tuple[tuple[str, tuple[str, ...]], ...]
    """What is put (``first``, ``second``, ``signature`` of the first, ``index`` of both) under which tags."""
    by_digest: bool = False
    prepared: int = 0

    def __post_init__(self) -> None:
        first, second = self.place.image("first"), self.place.image("second")
        signature = self.place.image("signature", subject=first.descriptor(), artifactType=_SIGNATURE)
        both = index([first, second], algorithm=self.place.algorithm)
        self._contents = {"first": first, "second": second, "signature": signature, "index": both}

    def prepare(self, recorder: Recorder) -> None:
        """Push the blobs, and put the manifests that are there before."""
        for content in self._contents.values():
            for blob in content.blobs:
                put_blob(recorder, self.place.repository, blob, content.algorithm)
        self._put(recorder, self.steps[: self.prepared])

    def run(self, recorder: Recorder) -> None:
        """Put what is to be put; once more does no harm."""
        self._put(recorder, self.steps[self.prepared :])

    def _put(self, recorder: Recorder, steps: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
        for name, tags in steps:
            # A manifest of another algorithm than a tag implies is put by its digest.
            by_digest = self.by_digest or self.place.algorithm is not Algorithm.SHA256
            put_manifest(recorder, self.place.repository, self._contents[name], tags, by_digest=by_digest)


@dataclass
class Mount:
    """A blob of another repository."""

    place: Place

    def prepare(self, recorder: Recorder) -> None:
        """Push it there."""
        put_blob(recorder, self.place.other, self.place.content(5000), self.place.algorithm)

    def run(self, recorder: Recorder) -> None:
        """Mount it; once more does no harm."""
        content = self.place.content(5000)
        digest = Digest.of(content, self.place.algorithm)
        target = f"/v2/{self.place.repository}/blobs/uploads/?mount={digest}&from={self.place.other}"
        recorder.do("POST", target, status=201, change={Fact("blob", self.place.repository, digest): content})


@dataclass
class Delete:
    """A tag, a manifest with its tags and referrers, or a blob."""

    place: Place
    what: str

    def prepare(self, recorder: Recorder) -> None:
        """Push a signed image under two tags, and a blob that nothing refers to."""
        steps = (("first", ("v1", "v2")), ("signature", ()))
        PutManifests(self.place, steps, by_digest=True, prepared=2).prepare(recorder)
        put_blob(recorder, self.place.repository, b"alone", self.place.algorithm)
        put_blob(recorder, self.place.other, b"alone", self.place.algorithm)

    def run(self, recorder: Recorder) -> None:
        """Delete it, unless that is done."""
        digest = self.place.image("first").digest
        key = {"tag": "v1", "manifest": digest, "blob": Digest.of(b"alone", self.place.algorithm)}[self.what]
        fact = Fact(self.what, self.place.repository, key)
        if fact not in recorder.world:
            return
        change: dict[Fact, None] = {fact: None}
        if self.what == "manifest":
            change |= {Fact("tag", self.place.repository, tag): None for tag in ("v1", "v2")}
        folder = "blobs" if self.what == "blob" else "manifests"
        recorder.do("DELETE", f"/v2/{self.place.repository}/{folder}/{key}", status=202, change=change)


@dataclass
class Pull:
    """A blob of several pieces."""

    place: Place

    def prepare(self, recorder: Recorder) -> None:
        """Push it."""
        put_blob(recorder, self.place.repository, self.place.content(3_000_000), self.place.algorithm)

    def run(self, recorder: Recorder) -> None:
        """Read it; what ends early is no answer."""
        content = self.place.content(3_000_000)
        digest = Digest.of(content, self.place.algorithm)
        if recorder.do("GET", f"/v2/{self.place.repository}/blobs/{digest}", status=200).body != content:
            raise Lost(f"I2: other bytes than those of {digest} were served")


def put_manifest(
    recorder: Recorder, repository: str, content: Content, tags: tuple[str, ...], *, by_digest: bool = False
) -> None:
    """Put a manifest under its digest with tags, or under one tag."""
    change: dict[Fact, bytes | str] = {Fact("manifest", repository, content.digest): content.body}
    change |= {Fact("tag", repository, tag): content.digest for tag in tags}
    reference = content.digest if by_digest or len(tags) != 1 else tags[0]
    query = "?" + "&".join(f"tag={tag}" for tag in tags) if tags and reference == content.digest else ""
    headers = {"Content-Type": content.media_type}
    target = f"/v2/{repository}/manifests/{reference}{query}"
    recorder.do("PUT", target, content.body, headers, status=201, change=change)


def put_blob(recorder: Recorder, repository: str, content: bytes, algorithm: Algorithm) -> None:
    """Push a blob in one request."""
    digest = Digest.of(content, algorithm)
    change = {Fact("blob", repository, digest): content}
    recorder.do("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content, _OCTETS, status=201, change=change)


def _offset(recorder: Recorder, upload: Fact) -> int:
    offset = recorder.world[upload]
    assert isinstance(offset, int)
    return offset


_STREAM = 600_000  # more than two batches

OPERATIONS: Mapping[str, Callable[[Place], Operation]] = {
    "push in one POST": PushAtOnce,
    "push with a closing PUT": lambda place: Push(place, closing=70_000),
    "push in chunks": lambda place: Push(place, patches=(40_000, 30_000)),
    "push in chunks, the last in PUT": lambda place: Push(place, patches=(40_000,), closing=30_000),
    "push in a stream": lambda place: Push(place, patches=(_STREAM,), ranges=False),
    "push, algorithm told at the end": lambda place: Push(place, patches=(40_000, 30_000), declared=False),
    "push what is there": lambda place: Push(place, patches=(40_000,), closing=10, before=True),
    "push no bytes": Push,
    "cancel": Cancel,
    "put by tag": lambda place: PutManifests(place, (("first", ("v1",)),)),
    "put by digest with tags": lambda place: PutManifests(place, (("first", ("v1", "v2")),), by_digest=True),
    "move a tag": lambda place: PutManifests(place, (("first", ("v1", "v2")), ("second", ("v1",))), prepared=1),
    "put an index": lambda place: PutManifests(place, (("first", ()), ("second", ()), ("index", ("v1",))), prepared=2),
    "put a referrer": lambda place: PutManifests(place, (("first", ("v1",)), ("signature", ())), prepared=1),
    "mount": Mount,
    "delete a tag": lambda place: Delete(place, "tag"),
    "delete a manifest": lambda place: Delete(place, "manifest"),
    "delete a blob": lambda place: Delete(place, "blob"),
    "pull": Pull,
}
