"""Collection that meets pushes: what a client was told is there, it may refer to while its lease lasts.

age something almost to its end  ->  at once: a client asks for it and refers to it | two workers collect what is due
                                 ->  collect until nothing is due: all that was acknowledged is there
"""

from collections.abc import Callable, Mapping
from http.client import HTTPMessage
from typing import Any

from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.images import Content, index
from support.registry import Reply

from .garbage import collect, collect_all
from .history import Client, Fact, Lost, Recorder, Value
from .meeting import Race, at_once
from .operations import Place, put_blob, put_manifest

__all__ = ["COLLECTION_RACES"]

# Of a grace of ten seconds. What was aged is due when the race's collections have let their time go on; what was leased
# in the race is not.
_AGED = 8.0
_RACE = 2.5
_COLLECTORS = 2
_TRASHED = 11.0


def _meet(client: Client, recorder: Recorder, body: Callable[[], None]) -> None:
    """Do something while it is collected; then see that nothing of it is lost, now and when all was collected."""

    _at_once(client, body)
    recorder.check()
    collect_all(recorder)
    recorder.check()


def _at_once(client: Client, body: Callable[[], None]) -> None:
    def push() -> Reply:
        body()
        return Reply(200, HTTPMessage(), b"")

    at_once(push, *[lambda: client.request("POST", f"/faults/collect?seconds={_RACE}")] * _COLLECTORS)


def _push(recorder: Recorder, place: Place, content: Content) -> None:
    for blob in content.blobs:
        put_blob(recorder, place.repository, blob, place.algorithm)


def _refer(recorder: Recorder, place: Place, content: Content) -> None:
    put_manifest(recorder, place.repository, content, ("v1",), by_digest=True)


def _facts(place: Place, content: Content) -> dict[Fact, Value]:
    """A manifest and its blobs."""
    facts: dict[Fact, Value] = {Fact("manifest", place.repository, content.digest): content.body}
    blobs = {Digest.of(blob, place.algorithm): blob for blob in content.blobs}
    return facts | {Fact("blob", place.repository, digest): blob for digest, blob in blobs.items()}


def _ask(recorder: Recorder, fact: Fact, content: bytes) -> bool:
    """Ask whether something is there, as a client does before it pushes; what is told is to be believed."""
    folder = "blobs" if fact.kind == "blob" else "manifests"
    status = recorder.client.request("HEAD", f"/v2/{fact.repository}/{folder}/{fact.key}").status
    if status not in (200, 404):
        raise Lost(f"I7: HEAD {fact} is answered by {status}")
    if status == 200:
        recorder.learn({fact: content})
    return status == 200


def blobs_then_manifest(client: Client, place: Place) -> None:
    """A push as it is, with its bytes among what is just being deleted."""
    recorder, image = Recorder(client), place.image("image")
    _push(recorder, place, image)
    collect(recorder, _TRASHED)
    collect(recorder, _AGED)
    recorder.forget(set(recorder.world))

    def push() -> None:
        _push(recorder, place, image)
        _refer(recorder, place, image)

    _meet(client, recorder, push)


def head_then_manifest(client: Client, place: Place) -> None:
    """A blob that HEAD finds is not pushed again."""
    recorder, image = Recorder(client), place.image("image")
    _push(recorder, place, image)
    collect(recorder, _AGED)
    recorder.forget(set(recorder.world))

    def push() -> None:
        for blob in image.blobs:
            digest = Digest.of(blob, place.algorithm)
            if not _ask(recorder, Fact("blob", place.repository, digest), blob):
                put_blob(recorder, place.repository, blob, place.algorithm)
        _refer(recorder, place, image)

    _meet(client, recorder, push)


def mount_then_manifest(client: Client, place: Place) -> None:
    """A blob is mounted while it goes where it is mounted from."""
    recorder, image = Recorder(client), place.image("image")
    for blob in image.blobs:
        put_blob(recorder, place.other, blob, place.algorithm)
    collect(recorder, _AGED)
    recorder.forget(set(recorder.world))

    def push() -> None:
        for blob in image.blobs:
            digest = Digest.of(blob, place.algorithm)
            target = f"/v2/{place.repository}/blobs/uploads/?mount={digest}&from={place.other}"
            if client.request("POST", target).status == 201:
                recorder.learn({Fact("blob", place.repository, digest): blob})
            else:
                put_blob(recorder, place.repository, blob, place.algorithm)
        _refer(recorder, place, image)

    _meet(client, recorder, push)


def _untagged(recorder: Recorder, place: Place, image: Content) -> Fact:
    """Push an image that nothing keeps, and age it."""
    _push(recorder, place, image)
    put_manifest(recorder, place.repository, image, (), by_digest=True)
    collect(recorder, _AGED)
    recorder.forget(set(recorder.world))
    return Fact("manifest", place.repository, image.digest)


def tag_again(client: Client, place: Place, method: str = "HEAD") -> None:
    """A manifest that has lost its tag is read, and has a new one."""
    recorder, image = Recorder(client), place.image("image")
    manifest = _untagged(recorder, place, image)

    def push() -> None:
        reply = client.request(method, f"/v2/{place.repository}/manifests/{manifest.key}")
        if reply.status == 404:
            _push(recorder, place, image)
        # If it was there, so are its blobs: they have a grace of their own behind it.
        _refer(recorder, place, image)

    _meet(client, recorder, push)
    recorder.learn(_facts(place, image))
    recorder.check()


def get_and_tag_again(client: Client, place: Place) -> None:
    """The same with GET, which is no lease."""
    tag_again(client, place, "GET")


def index_of_what_is_there(client: Client, place: Place) -> None:
    """A manifest that HEAD finds is not pushed again, and an index refers to it."""
    recorder, image = Recorder(client), place.image("image")
    manifest = _untagged(recorder, place, image)

    def push() -> None:
        if not _ask(recorder, manifest, image.body):
            _push(recorder, place, image)
            put_manifest(recorder, place.repository, image, (), by_digest=True)
        _refer(recorder, place, index([image], algorithm=place.algorithm))

    _meet(client, recorder, push)


def tag_moved_back(client: Client, place: Place) -> None:
    """A tag goes away from a manifest and comes back."""
    recorder, image, other = Recorder(client), place.image("image"), place.image("other")
    for content in (image, other):
        _push(recorder, place, content)
        _refer(recorder, place, content)
    collect(recorder, _AGED)
    recorder.forget(_facts(place, image))

    def push() -> None:
        manifest = Fact("manifest", place.repository, image.digest)
        if client.request("HEAD", f"/v2/{place.repository}/manifests/{manifest.key}").status == 200:
            recorder.forget(_facts(place, other))
            _refer(recorder, place, image)
            recorder.learn(_facts(place, image))

    _meet(client, recorder, push)


def upload_expires(client: Client, place: Place) -> None:
    """An upload that is closed when its time is over: it is a blob, or has gone."""
    recorder, content = Recorder(client), place.content(50_000)
    digest = Digest.of(content, place.algorithm)
    location = str(client.request("POST", f"/v2/{place.repository}/blobs/uploads/").headers["Location"])
    headers: Mapping[str, Any] = {"Content-Type": "application/octet-stream"}
    if client.request("PATCH", location, content[:40_000], headers).status != 202:
        raise Lost("a chunk was refused")
    collect(recorder, _AGED)

    def push() -> None:
        status = client.request("PUT", f"{location}?digest={digest}", content[40_000:], headers).status
        if status not in (201, 404, 416):
            raise Lost(f"I7: a closing PUT of an upload that expires is answered by {status}")
        if status == 201:
            recorder.learn({Fact("blob", place.repository, digest): content})
        recorder.check()

    _at_once(client, push)
    recorder.check()
    collect_all(recorder)


COLLECTION_RACES: Mapping[str, Race] = {
    "collection, push": blobs_then_manifest,
    "collection, HEAD and manifest": head_then_manifest,
    "collection, mount": mount_then_manifest,
    "collection, HEAD and tag": tag_again,
    "collection, GET and tag": get_and_tag_again,
    "collection, index": index_of_what_is_there,
    "collection, tag moved back": tag_moved_back,
    "collection, closing PUT": upload_expires,
}
"""For servers with the settings ``GRACE`` only."""
