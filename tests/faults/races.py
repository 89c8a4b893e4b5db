"""Requests that meet: each race is run many times, and its outcome must be one that an order of them explains."""

from collections.abc import Mapping

from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.images import index
from support.registry import Reply

from .collection_races import COLLECTION_RACES
from .history import Client, Fact, Lost, Recorder, observe
from .meeting import Race, at_once
from .operations import Place, put_blob, put_manifest

__all__ = ["DELAYS", "RACES"]

_OCTETS = {"Content-Type": "application/octet-stream"}

DELAYS = (
    "blob.claim.before",
    "blob.append.before",
    "blob.append.after",
    "blob.commit.before",
    "blob.commit.after",
    "meta.complete_upload.before",
    "meta.complete_upload.after",
    "meta.advance_upload.before",
    "meta.get_upload.after",
    "meta.put_manifest.before",
    "meta.unlink_blob.before",
    "file.staged.replace.after",
    "sql.begin.after",
    "sql.commit.before",
    "meta.get_blob.after",
    "meta.mount_blob.before",
    "meta.stat_manifest.after",
    "meta.review.before",
    "meta.review.after",
    "meta.waste.after",
    "blob.delete.before",
    "blob.delete.after",
)
"""Where waiting a little lets requests meet that would otherwise pass each other."""


def _allow(replies: list[Reply], *outcomes: tuple[int, ...]) -> None:
    statuses = tuple(sorted(reply.status for reply in replies))
    if statuses not in outcomes:
        raise Lost(f"F18: the answers are {statuses}; they must be one of {outcomes}")


def _upload(client: Client, place: Place, content: bytes, kept: int) -> tuple[str, str, Fact]:
    """An upload that has the first ``kept`` bytes; where it is, its digest, and its blob."""
    digest = Digest.of(content, place.algorithm)
    target = f"/v2/{place.repository}/blobs/uploads/?digest-algorithm={place.algorithm}"
    location = str(client.request("POST", target).headers["Location"])
    if kept and client.request("PATCH", location, content[:kept], _OCTETS).status != 202:
        raise Lost("a chunk was refused")
    return location, f"{location}?digest={digest}", Fact("blob", place.repository, digest)


def _expect(client: Client, fact: Fact, content: bytes | None) -> None:
    observed = observe(client, [fact]).get(fact)
    if observed != content:
        raise Lost(f"I1: {fact} is {'there' if observed else 'not there'}, or has other bytes")


def two_closing_puts(client: Client, place: Place) -> None:
    """One wins; the other is told that the upload has ended, or that somebody is at it."""
    content = place.content(50_000)
    _, closing, blob = _upload(client, place, content, len(content))
    replies = at_once(*[lambda: client.request("PUT", closing)] * 2)
    _allow(replies, (201, 404), (201, 416))
    _expect(client, blob, content)


def two_closing_puts_with_bytes(client: Client, place: Place) -> None:
    """The same where each brings the last chunk."""
    content = place.content(50_000)
    _, closing, blob = _upload(client, place, content, 20_000)
    headers = {**_OCTETS, "Content-Range": "20000-49999"}
    replies = at_once(*[lambda: client.request("PUT", closing, content[20_000:], headers)] * 2)
    _allow(replies, (201, 404), (201, 416))
    _expect(client, blob, content)


def patch_and_put(client: Client, place: Place) -> None:
    """A chunk that comes with the closing PUT is before it, and then the digest is wrong, or is not taken in."""
    content = place.content(50_000)
    location, closing, blob = _upload(client, place, content, len(content))
    replies = at_once(
        lambda: client.request("PUT", closing),
        lambda: client.request("PATCH", location, b"more", {**_OCTETS, "Content-Range": "50000-50003"}),
    )
    closed, patched = replies
    if (closed.status, patched.status) not in {(201, 404), (201, 416), (400, 202), (416, 202)}:
        raise Lost(f"F18: PUT is answered by {closed.status}, PATCH by {patched.status}")
    if closed.status == 416 and client.request("PUT", closing).status != 400:
        raise Lost("F18: a closing PUT with the digest of other bytes is not refused")
    _expect(client, blob, content if closed.status == 201 else None)


def two_patches(client: Client, place: Place) -> None:
    """Two chunks at one offset, of different bytes: one is kept whole, the other is refused."""
    content, other = place.content(50_000), place.content(30_000, "other")
    location, _, _ = _upload(client, place, content, 20_000)
    headers = {**_OCTETS, "Content-Range": "20000-49999"}
    first, second = at_once(
        lambda: client.request("PATCH", location, content[20_000:], headers),
        lambda: client.request("PATCH", location, other, headers),
    )
    _allow([first, second], (202, 416))
    whole = content if first.status == 202 else content[:20_000] + other
    digest = Digest.of(whole, place.algorithm)
    if client.request("PUT", f"{location}?digest={digest}").status != 201:
        raise Lost("I2: the acknowledged chunk is not what is kept")
    _expect(client, Fact("blob", place.repository, digest), whole)


def same_digest_in_two_repositories(client: Client, place: Place) -> None:
    """Both are taken in; each repository has it."""
    content = place.content(50_000)
    _, first, blob = _upload(client, place, content, 50_000)
    elsewhere = Place(place.other, place.algorithm, place.seed)
    _, second, other = _upload(client, elsewhere, content, 50_000)
    _allow(at_once(lambda: client.request("PUT", first), lambda: client.request("PUT", second)), (201, 201))
    _expect(client, blob, content)
    _expect(client, other, content)


def blob_deleted_under_a_manifest(client: Client, place: Place) -> None:
    """A manifest that is taken in found its blob, or the manifest is refused for it."""
    recorder = Recorder(client)
    image = place.image("image")
    for content in image.blobs:
        put_blob(recorder, place.repository, content, place.algorithm)
    layer = Digest.of(image.blobs[1], place.algorithm)
    put, deleted = at_once(
        lambda: client.request(
            "PUT", f"/v2/{place.repository}/manifests/{image.digest}", image.body, {"Content-Type": image.media_type}
        ),
        lambda: client.request("DELETE", f"/v2/{place.repository}/blobs/{layer}"),
    )
    # Deleting a blob that a manifest refers to is allowed, and is not undone by it: the link goes, the bytes stay.
    if (put.status, deleted.status) not in {(201, 202), (404, 202)}:
        raise Lost(f"F23: PUT is answered by {put.status}, DELETE by {deleted.status}")
    manifest = Fact("manifest", place.repository, image.digest)
    _expect(client, manifest, image.body if put.status == 201 else None)
    put_blob(recorder, place.repository, image.blobs[1], place.algorithm)
    put_manifest(recorder, place.repository, image, ("v1",), by_digest=True)
    recorder.check()


def child_deleted_under_an_index(client: Client, place: Place) -> None:
    """The same for a manifest below an index."""
    recorder = Recorder(client)
    child = place.image("child")
    for content in child.blobs:
        put_blob(recorder, place.repository, content, place.algorithm)
    put_manifest(recorder, place.repository, child, (), by_digest=True)
    above = index([child], algorithm=place.algorithm)
    base = f"/v2/{place.repository}/manifests"
    put, deleted = at_once(
        lambda: client.request("PUT", f"{base}/{above.digest}", above.body, {"Content-Type": above.media_type}),
        lambda: client.request("DELETE", f"{base}/{child.digest}"),
    )
    if (put.status, deleted.status) not in {(201, 202), (404, 202)}:
        raise Lost(f"F23: PUT is answered by {put.status}, DELETE by {deleted.status}")
    recorder.learn({Fact("manifest", place.repository, child.digest): None})
    if put.status == 404:
        recorder.check()


def blob_deleted_and_pushed(client: Client, place: Place) -> None:
    """A push that is answered by 201 behind the delete is there; whatever is there has its bytes."""
    content = place.content(50_000)
    recorder = Recorder(client)
    put_blob(recorder, place.repository, content, place.algorithm)
    _, closing, blob = _upload(client, place, content, 50_000)
    replies = at_once(
        lambda: client.request("PUT", closing),
        lambda: client.request("DELETE", f"/v2/{place.repository}/blobs/{blob.key}"),
    )
    if [reply.status for reply in replies] != [201, 202]:
        raise Lost(f"F23: the answers are {[reply.status for reply in replies]}")
    if observe(client, [blob]).get(blob) not in (content, None):
        raise Lost("I2: a blob has other bytes")
    put_blob(recorder, place.repository, content, place.algorithm)
    _expect(client, blob, content)


def blob_deleted_under_a_pull(client: Client, place: Place) -> None:
    """A pull has all bytes, or is a 404."""
    content = place.content(2_500_000)
    recorder = Recorder(client)
    put_blob(recorder, place.repository, content, place.algorithm)
    target = f"/v2/{place.repository}/blobs/{Digest.of(content, place.algorithm)}"
    pulled, deleted = at_once(lambda: client.request("GET", target), lambda: client.request("DELETE", target))
    if deleted.status != 202 or not (pulled.status == 404 or pulled.body == content):
        raise Lost(f"F22: a pull is answered by {pulled.status} and {len(pulled.body)} bytes")


def one_tag_moved_twice(client: Client, place: Place) -> None:
    """The tag is one of the two, with its manifest."""
    recorder = Recorder(client)
    images = [place.image("one"), place.image("two")]
    for image in images:
        for content in image.blobs:
            put_blob(recorder, place.repository, content, place.algorithm)
    target = f"/v2/{place.repository}/manifests"

    def put(number: int) -> Reply:
        image = images[number]
        headers = {"Content-Type": image.media_type}
        return client.request("PUT", f"{target}/{image.digest}?tag=v1", image.body, headers)

    _allow(at_once(lambda: put(0), lambda: put(1)), (201, 201))
    tag = Fact("tag", place.repository, "v1")
    if observe(client, [tag]).get(tag) not in {str(image.digest) for image in images}:
        raise Lost("I3: a tag is neither of what it was set to")
    for image in images:
        _expect(client, Fact("manifest", place.repository, image.digest), image.body)


def tag_moved_and_deleted(client: Client, place: Place) -> None:
    """The tag is the new manifest, or is gone; both manifests stay."""
    recorder = Recorder(client)
    old, new = place.image("old"), place.image("new")
    for content in (*old.blobs, *new.blobs):
        put_blob(recorder, place.repository, content, place.algorithm)
    put_manifest(recorder, place.repository, old, ("v1",), by_digest=True)
    target = f"/v2/{place.repository}/manifests"
    headers = {"Content-Type": new.media_type}
    replies = at_once(
        lambda: client.request("PUT", f"{target}/{new.digest}?tag=v1", new.body, headers),
        lambda: client.request("DELETE", f"{target}/v1"),
    )
    if [reply.status for reply in replies] != [201, 202]:
        raise Lost(f"I3: the answers are {[reply.status for reply in replies]}")
    tag = Fact("tag", place.repository, "v1")
    if observe(client, [tag]).get(tag) not in (str(new.digest), None):
        raise Lost("I3: a tag is what it was before it was moved and deleted")
    recorder.learn({Fact("manifest", place.repository, new.digest): new.body})
    for image in (old, new):
        _expect(client, Fact("manifest", place.repository, image.digest), image.body)


RACES: Mapping[str, Race] = {
    **COLLECTION_RACES,
    "two closing PUTs": two_closing_puts,
    "two closing PUTs with bytes": two_closing_puts_with_bytes,
    "PATCH and closing PUT": patch_and_put,
    "two PATCHes at one offset": two_patches,
    "one digest, two repositories": same_digest_in_two_repositories,
    "DELETE blob, PUT manifest": blob_deleted_under_a_manifest,
    "DELETE manifest, PUT index": child_deleted_under_an_index,
    "DELETE blob, PUT blob": blob_deleted_and_pushed,
    "DELETE blob, GET blob": blob_deleted_under_a_pull,
    "one tag moved twice": one_tag_moved_twice,
    "tag moved and deleted": tag_moved_and_deleted,
}
"""By what meets."""
