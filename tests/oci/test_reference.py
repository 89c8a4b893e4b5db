"""References: tags and digests, told apart by a colon."""

import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferro_oci_server.oci.digest import Algorithm, Digest
from ferro_oci_server.oci.errors import DigestInvalid, OciError, TagInvalid
from ferro_oci_server.oci.reference import Tag, parse_reference

CHARACTERS = string.ascii_letters + string.digits + "_.-"


@pytest.mark.parametrize("text", ["latest", "v1.0.0", "_", "0", "A", "1.2.3-rc.1", "a" * 128, "sha256-" + "0" * 64])
def test_tags_of_the_grammar_are_read(text: str) -> None:
    assert Tag.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".x",
        "-x",
        "a" * 129,
        "a b",
        "1.0+build",
        "v1\n",
        "v1\x00",
        "a/b",
        "a:b",
        "@x",
        "%",
        "v\u00e9",
        "v\u0663",
        "v" * 100_000,
    ],
)
def test_other_text_is_no_tag(text: str) -> None:
    with pytest.raises(TagInvalid):
        Tag.parse(text)


@given(st.text(CHARACTERS, min_size=1, max_size=128).filter(lambda text: text[0] not in ".-"))
def test_every_tag_of_the_grammar_is_a_reference(text: str) -> None:
    reference = parse_reference(text)
    assert isinstance(reference, Tag)
    assert reference == text


@given(st.binary(), st.sampled_from(Algorithm))
def test_every_digest_is_a_reference(content: bytes, algorithm: Algorithm) -> None:
    digest = Digest.of(content, algorithm)
    reference = parse_reference(str(digest))
    assert isinstance(reference, Digest)
    assert reference == digest


@pytest.mark.parametrize("text", ["a:b", ":", "latest:", "sha256:baddigeststring", "md5:" + "0" * 32])
def test_a_colon_promises_a_digest(text: str) -> None:
    with pytest.raises(DigestInvalid):
        parse_reference(text)


@given(st.text())
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    with suppress(OciError):
        assert parse_reference(text) == text


@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_fallback_tag_is_the_digest_cut_to_fit(algorithm: Algorithm) -> None:
    tag = Tag.for_referrers(Digest(f"{algorithm}:{'ab' * 64}"))
    assert Tag.parse(tag) == f"{algorithm}-{'ab' * 32}"
