"""Digests: the one form that they have, and hashing as bytes arrive."""

import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferro_oci_server.oci.digest import Algorithm, Digest, Hasher
from ferro_oci_server.oci.errors import DigestInvalid

HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha512:{HEX}{HEX}"])
def test_registered_algorithms_with_their_length_are_read(text: str) -> None:
    assert Digest.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        f":{HEX}",
        "sha256:",
        f"sha256:{HEX[1:]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha256-{HEX}",
        f" sha256:{HEX}",
        f"sha256:{HEX}\n",
        f"sha256:{HEX}\x00",
        f"sha256:{HEX[1:]}g",
        f"sha256:{HEX[1:]}\u0663",
        f"sha256:{HEX}{HEX}",
        f"sha512:{HEX}",
        f"sha384:{HEX}{HEX[:32]}",
        f"sha256+sha512:{HEX}",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:../../../etc/passwd",
        "sha256:baddigeststring",
    ],
)
def test_anything_else_is_no_digest(text: str) -> None:
    with pytest.raises(DigestInvalid):
        Digest.parse(text)


@given(st.text())
def test_any_text_is_a_digest_or_refused(text: str) -> None:
    with suppress(DigestInvalid):
        assert Digest.parse(text) == text


@given(st.binary(), st.sampled_from(Algorithm))
def test_what_is_computed_is_read_back(content: bytes, algorithm: Algorithm) -> None:
    digest = Digest.of(content, algorithm)
    assert Digest.parse(str(digest)) == digest


@given(st.binary(), st.sampled_from(Algorithm))
def test_a_digest_is_its_two_parts(content: bytes, algorithm: Algorithm) -> None:
    digest = Digest.of(content, algorithm)
    assert digest.algorithm is algorithm
    assert f"{digest.algorithm}:{digest.encoded}" == digest
    assert digest.encoded == hashlib.new(algorithm, content).hexdigest()


@given(st.lists(st.binary()), st.sampled_from(Algorithm))
def test_pieces_hash_to_the_digest_of_the_whole(pieces: list[bytes], algorithm: Algorithm) -> None:
    hasher = Hasher(algorithm)
    for piece in pieces:
        hasher.update(piece)
    assert hasher.digest() == Digest.of(b"".join(pieces), algorithm)
    assert hasher.size == sum(map(len, pieces))


def test_a_copy_goes_on_by_itself() -> None:
    hasher = Hasher(Algorithm.SHA256)
    hasher.update(b"one")
    twin = hasher.copy()
    twin.update(b"two")
    assert (hasher.digest(), hasher.size) == (Digest.of(b"one"), 3)
    assert (twin.digest(), twin.size) == (Digest.of(b"onetwo"), 6)


@pytest.mark.parametrize("text", ["sha256", "sha512"])
def test_served_algorithms_are_read(text: str) -> None:
    assert Algorithm.parse(text) == text


@pytest.mark.parametrize("text", ["", "md5", "SHA256", "sha384", "sha256 ", "sha256\n"])
def test_other_algorithms_are_refused(text: str) -> None:
    with pytest.raises(DigestInvalid):
        Algorithm.parse(text)
