"""Buckets by URL: what is understood, and what is refused."""

import pytest

from ferro_oci_server.backends.blob.bucket_url import open_bucket


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket",
        "s3://bucket/",
        "s3://bucket/a/prefix/",
        "s3://bucket/prefix?region=eu-west-1&endpoint=https://s3.example.com",
        "s3://bucket?endpoint=http://127.0.0.1:9000&virtual_hosted_style_request=false&unsigned_payload=true",
        "s3://bucket?checksum_algorithm=CRC64NVME&server_side_encryption=AES256&timeout=5&public_endpoint=https://x.example",
        "gs://bucket/prefix?skip_signature=true",
        "az://container/prefix?account_name=example&endpoint=https://example.blob.core.windows.net&skip_signature=true",
    ],
)
def test_a_bucket_is_opened_without_being_asked_anything(url: str) -> None:
    open_bucket(url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "s3://bucket/prefix"),
        ("bucket", "s3://bucket/prefix"),
        ("s3:bucket", "s3://bucket/prefix"),
        ("s3:///prefix", "s3://bucket/prefix"),
        ("file:///etc", "s3://bucket/prefix"),
        ("https://bucket.s3.amazonaws.com/", "s3://bucket/prefix"),
        ("s3://key:secret@bucket/", "nothing else"),
        ("s3://bucket/#fragment", "nothing else"),
        ("s3://bucket?secret_access_key=x", "secret_access_key is no option of s3://"),
        ("s3://bucket?account_name=x", "account_name is no option of s3://"),
        ("gs://bucket?service_account_key=x", "service_account_key is no option of gs://"),
        ("s3://bucket?region", "region"),
        ("s3://bucket?timeout=soon", "timeout"),
        ("s3://bucket?timeout=0", "timeout"),
        ("s3://bucket?unsigned_payload=perhaps", "cannot be set up"),
        ("s3://bucket?checksum_algorithm=md5", "cannot be set up"),
        ("az://container", "cannot be set up"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_reason(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        open_bucket(url)
