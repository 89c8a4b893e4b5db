"""Repository names: the grammar of the specification, byte for byte, in linear time."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferro_oci_server.oci.errors import NameInvalid
from ferro_oci_server.oci.name import RepositoryName

# As the specification writes it.
SPECIFIED = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "0",
        "library/ubuntu",
        "a/b/c/d/e",
        "a.b",
        "a_b",
        "a__b",
        "a-b",
        "a--------b",
        "a.b_c__d-e",
        "blobs/uploads",
        "manifests",
        "v2/tags/list",
        "a" * 200,
        "/".join(["a" * 127] * 2),
    ],
)
def test_names_of_the_grammar_are_read(text: str) -> None:
    assert RepositoryName.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        ".git",
        "a.",
        "a..b",
        "a___b",
        "a._b",
        "a-_b",
        "-a",
        "a-",
        "_a",
        "A",
        "Library/Ubuntu",
        "a b",
        "a\n",
        "a\x00",
        "a\x1b[31m",
        "a%2fb",
        "a:b",
        "a@b",
        "a\\b",
        "caf\u00e9",
        "a\u0663",
        "\uff42\uff41\uff44",
        "\ufeffa",
        "\U0001f433",
        "a" * 201,
        "/".join(["a" * 127, "a" * 128]),
        "/".join("a" * 2000),
    ],
)
def test_other_text_is_no_name(text: str) -> None:
    with pytest.raises(NameInvalid):
        RepositoryName.parse(text)


@given(st.from_regex(SPECIFIED.replace("+", "{1,3}").replace(")*", "){0,2}"), fullmatch=True))
def test_what_the_specification_generates_is_read(text: str) -> None:
    assert RepositoryName.parse(text) == text


@given(st.text(alphabet="ab0._-/A\n", max_size=12))
def test_short_texts_are_judged_as_the_specification_does(text: str) -> None:
    assert RepositoryName.is_valid(text) == (re.fullmatch(SPECIFIED, text) is not None)


@pytest.mark.parametrize(
    "text",
    [
        "a-" * 4000 + "!",
        "a_a__" * 2000 + "_",
        "-" * 100_000,
        "a" * 100_000 + "!",
        "a-" * 99 + "!",
        "a_a__" * 39 + "_",
        ("a-" * 25 + "/") * 5 + "!",
    ],
)
def test_hostile_names_are_refused_at_once(text: str) -> None:
    started = time.perf_counter()
    assert not RepositoryName.is_valid(text)
    assert time.perf_counter() - started < 1
