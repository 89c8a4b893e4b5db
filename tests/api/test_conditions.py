"""Changes and reads that are asked for on a condition. Spec: RFC 9110 section 13."""

import pytest

from ferro_oci_server.oci.digest import Digest
from ferro_oci_server.testing.images import image

from .pushing import NAME, Pushing, codes

pytestmark = pytest.mark.anyio

OLD, NEW = image(b"old"), image(b"new")
ANOTHER = Digest.of(b"another")


@pytest.fixture
async def tagged(push: Pushing) -> Pushing:
    """A repository in which ``v1`` points at ``OLD``, and ``NEW`` has no tag."""
    await push.content(OLD, "v1")
    await push.content(NEW)
    return push


@pytest.mark.parametrize(
    ("headers", "reference"),
    [
        ({"If_Match": f'"{OLD.digest}"'}, "v1"),
        ({"If_Match": f'"{ANOTHER}", "{OLD.digest}"'}, "v1"),
        ({"If_Match": "*"}, "v1"),
        ({"If_None_Match": "*"}, "v2"),
        ({"If_None_Match": f'"{ANOTHER}"'}, "v1"),
        ({"If_Match": f'"{OLD.digest}"', "If_None_Match": f'"{ANOTHER}"'}, "v1"),
    ],
    ids=str,
)
async def test_a_change_happens_where_its_condition_holds(
    tagged: Pushing, headers: dict[str, str], reference: str
) -> None:
    assert (await tagged.manifest(NEW, reference, **headers)).status == 201
    assert (await tagged.get(f"manifests/{reference}")).body == NEW.body


@pytest.mark.parametrize(
    ("headers", "reference"),
    [
        ({"If_Match": f'"{ANOTHER}"'}, "v1"),
        ({"If_Match": f'"{OLD.digest}"'}, "v2"),
        ({"If_Match": "*"}, "v2"),
        ({"If_None_Match": "*"}, "v1"),
        ({"If_None_Match": f'"{OLD.digest}"'}, "v1"),
        ({"If_Match": f'"{OLD.digest}"', "If_None_Match": "*"}, "v1"),
    ],
    ids=str,
)
async def test_a_change_is_refused_where_its_condition_does_not_hold(
    tagged: Pushing, headers: dict[str, str], reference: str
) -> None:
    before = await tagged.get(f"manifests/{reference}")
    reply = await tagged.manifest(NEW, reference, **headers)
    assert (reply.status, codes(reply)) == (412, ["DENIED"])
    after = await tagged.get(f"manifests/{reference}")
    assert (after.status, after.body) == (before.status, before.body)


@pytest.mark.parametrize("name", ["If_Match", "If_None_Match"])
@pytest.mark.parametrize("value", ["", "x", OLD.digest, "'x'"])
async def test_a_condition_that_cannot_be_read_is_refused(tagged: Pushing, name: str, value: str) -> None:
    reply = await tagged.manifest(NEW, "v1", **{name: value})
    assert (reply.status, codes(reply)) == (400, ["UNSUPPORTED"])


async def test_a_condition_in_two_lines_is_one_list(tagged: Pushing) -> None:
    headers = [
        ("Content-Type", NEW.media_type),
        ("If-Match", f'"{OLD.digest}"'),
        ("If-Match", f'"{ANOTHER}"'),
    ]
    path = f"/v2/{NAME}/manifests/v1"
    assert (await tagged.client.request("PUT", path, headers=headers, body=NEW.body)).status == 201


async def test_every_tag_of_the_query_must_meet_the_condition(tagged: Pushing) -> None:
    reply = await tagged.manifest(NEW, f"{NEW.digest}?tag=v1&tag=v2", If_None_Match="*")
    assert reply.status == 412
    assert (await tagged.get("manifests/v2")).status == 404
    assert (await tagged.get("manifests/v1")).body == OLD.body


async def test_without_a_tag_the_manifest_must_meet_the_condition(tagged: Pushing) -> None:
    assert (await tagged.manifest(NEW, If_None_Match="*")).status == 412
    await tagged.blob(b"third")
    assert (await tagged.manifest(image(b"third"), If_None_Match="*")).status == 201


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["v1", OLD.digest])
async def test_a_client_that_has_the_manifest_is_told_so(tagged: Pushing, method: str, reference: str) -> None:
    headers = {"If-None-Match": f'"{OLD.digest}"'}
    reply = await tagged.client.request(method, f"/v2/{NAME}/manifests/{reference}", headers=headers)
    assert (reply.status, reply.body) == (304, b"")
    assert reply.header("docker-content-digest") == OLD.digest


async def test_a_client_that_has_an_older_one_gets_the_manifest(tagged: Pushing) -> None:
    await tagged.manifest(NEW, "v1")
    reply = await tagged.get("manifests/v1", If_None_Match=f'"{OLD.digest}"')
    assert (reply.status, reply.body) == (200, NEW.body)
