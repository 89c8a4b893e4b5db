"""Ranges: of a blob that is read, and of an upload that is sent."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferro_oci_server.oci.errors import RangeNotSatisfiable, UploadInvalid
from ferro_oci_server.oci.ranges import ByteRange, ContentRange

SIZE = 2048


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 2048),
        ("bytes=-500", 1548, 2048),
        ("bytes=-5000", 0, 2048),
        ("bytes=2000-5000", 2000, 2048),
        ("bytes=2047-2047", 2047, 2048),
        ("bytes=0-18446744073709551616", 0, 2048),
        ("bytes= 0-9 ", 0, 10),
        ("BYTES=0-9", 0, 10),
        ("bytes=007-009", 7, 10),
    ],
)
def test_one_range_is_served(header: str, start: int, stop: int) -> None:
    assert ByteRange.parse(header, SIZE) == (start, stop)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=0",
        "bytes=a-b",
        "bytes=0-1,4-5",
        "bytes=0-\u0663",
        "bytes=0-inf",
        "bytes=+0-5",
        "bytes=0-5\n",
        "bytes 0-5",
        "items=0-5",
        "bytes=0 - 5",
        "bytes=" + "0-1," * 100 + "2-3",
        "bytes=" + "0" * 300 + "-5",
    ],
)
def test_what_cannot_be_served_as_one_range_is_ignored(header: str) -> None:
    assert ByteRange.parse(header, SIZE) is None


@pytest.mark.parametrize("header", ["bytes=2048-", "bytes=5000-10000", "bytes=500-0", "bytes=-0"])
def test_a_range_without_bytes_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        ByteRange.parse(header, SIZE)
    assert caught.value.size == SIZE


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_nothing_of_an_empty_blob_can_be_satisfied(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        ByteRange.parse(header, 0)


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 3000))
def test_what_is_served_is_within_the_blob(first: int, last: int, size: int) -> None:
    try:
        part = ByteRange.parse(f"bytes={first}-{last}", size)
    except RangeNotSatisfiable:
        assert first >= size or last < first
        return
    assert part is not None
    assert part == (first, min(last + 1, size))


@given(st.text(max_size=40), st.integers(0, 100))
def test_any_range_header_is_served_ignored_or_refused(header: str, size: int) -> None:
    try:
        part = ByteRange.parse(header, size)
    except RangeNotSatisfiable:
        return
    assert part is None or 0 <= part.start < part.stop <= size


def test_the_answer_names_its_bytes_inclusively() -> None:
    assert ByteRange(500, 1500).header(SIZE) == "bytes 500-1499/2048"


@pytest.mark.parametrize(
    "header",
    ["0-99", "bytes 0-99", "bytes=0-99", "bytes 0-99/100", "bytes 0-99/*", "0-99/100", "0-99/*", "00-099"],
)
def test_every_spelling_that_clients_use_is_read(header: str) -> None:
    assert ContentRange.parse(header) == (0, 100)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "-",
        "0",
        "0-",
        "-99",
        "0-99x",
        "0-99/",
        "0-99/x",
        "0-99 ",
        " 0-99",
        "0 - 99",
        "0--1",
        "-1-5",
        "+0-99",
        "0x0-0x4",
        "0-9_9",
        "0-\u0663",
        "0-99\n",
        "0-99,100-199",
        "items 0-99",
        "5-4",
        "0-18446744073709551616",
        "1" * 5000 + "-" + "1" * 5001,
    ],
)
def test_a_broken_content_range_is_refused(header: str) -> None:
    with pytest.raises(UploadInvalid):
        ContentRange.parse(header)


@given(st.integers(0, 10**18), st.integers(1, 10**6))
def test_a_printed_content_range_is_read_back(start: int, length: int) -> None:
    parsed = ContentRange.parse(f"{start}-{start + length - 1}")
    assert (parsed.start, parsed.length) == (start, length)


@given(st.text(max_size=40))
def test_any_content_range_is_read_or_refused(header: str) -> None:
    with suppress(UploadInvalid):
        assert ContentRange.parse(header).length > 0
