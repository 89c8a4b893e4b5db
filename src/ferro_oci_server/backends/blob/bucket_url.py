"""Buckets by URL.

    s3://bucket/prefix?endpoint=https://s3.example.com&region=eu-west-1
    gs://bucket/prefix
    az://container/prefix?account_name=example

Credentials are not in the URL, which is logged. They come from where the makers' own tools look for them: variables of
the environment (``AWS_ACCESS_KEY_ID``, ``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_KEY`` and so on),
tokens of a cluster's workload identity, or the metadata service of the machine.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from ferro_oci_server.backends.blob.bucket import Bucket, RemoteStore

__all__ = ["open_bucket"]

_STORES: Mapping[str, Callable[..., RemoteStore]] = {
    "s3": S3Store,
    "gs": GCSStore,
    "az": AzureStore,
}

# What the library is told under the same name.
_OPTIONS: Mapping[str, frozenset[str]] = {
    "s3": frozenset(
        {
            "checksum_algorithm",
            "disable_bulk_delete",
            "endpoint",
            "region",
            "request_payer",
            "s3_express",
            "server_side_encryption",
            "skip_signature",
            "sse_bucket_key_enabled",
            "sse_kms_key_id",
            "unsigned_payload",
            "virtual_hosted_style_request",
        }
    ),
    "gs": frozenset({"endpoint", "skip_signature"}),
    "az": frozenset({"account_name", "endpoint", "skip_signature", "use_azure_cli", "use_emulator"}),
}

# The name that the library has for the endpoint, where it is another.
_ENDPOINT = {"gs": "base_url"}

# How long a store may be silent. A part must be sent and stored in this time, also on a slow line.
_SECONDS = "20"

_LONGEST_SILENCE = 600

# A download may take long, and goes on where it broke.
_LONGEST_REQUEST = timedelta(hours=1)


def open_bucket(url: str) -> Bucket:
    """The bucket, or the part of it, that a URL names. Nothing is asked of it yet.

    Two options are not of the library: ``timeout``, the seconds for which the store may be silent, and
    ``public_endpoint``, where clients reach it.

    Raises:
        ValueError: the URL is none of an object store, or says what is not known here.
    """
    parts = urlsplit(url)
    if parts.scheme not in _STORES or not parts.netloc:
        raise ValueError(
            "the URL of an object store is s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
        )
    if parts.fragment or "@" in parts.netloc:
        raise ValueError("the URL of an object store has a bucket, a prefix and options, and nothing else")
    options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    seconds = _seconds(options.pop("timeout", _SECONDS))
    public = options.pop("public_endpoint", None)
    unknown = options.keys() - _OPTIONS[parts.scheme]
    if unknown:
        known = ", ".join(sorted({*_OPTIONS[parts.scheme], "public_endpoint", "timeout"}))
        raise ValueError(f"{', '.join(sorted(unknown))} is no option of {parts.scheme}://; these are: {known}")
    bucket = (parts.scheme, parts.netloc, parts.path.strip("/"))
    store = _open(*bucket, options, seconds)
    return Bucket(store, seconds, _open(*bucket, {**options, "endpoint": public}, seconds) if public else None)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) <= _LONGEST_SILENCE:
            return float(text)
    raise ValueError(f"timeout is a number of seconds up to {_LONGEST_SILENCE}, not {text!r}")


def _open(scheme: str, bucket: str, prefix: str, options: Mapping[str, str], seconds: float) -> RemoteStore:
    config = {_ENDPOINT.get(scheme, key) if key == "endpoint" else key: it for key, it in options.items()}
    allow_http = options.get("endpoint", "").startswith("http://") or "use_emulator" in options
    try:
        return _STORES[scheme](
            bucket,
            prefix=prefix or None,
            config=config,
            client_options={
                "allow_http": allow_http,
                "connect_timeout": timedelta(seconds=min(seconds, 5)),
                "read_timeout": timedelta(seconds=seconds),
                "timeout": _LONGEST_REQUEST,
            },
            retry_config={
                "max_retries": 4,
                "retry_timeout": timedelta(seconds=1.5 * seconds),
                "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=3), "base": 2},
            },
        )
    except BaseError as exc:
        raise ValueError(f"the object store cannot be set up: {str(exc).partition(chr(10))[0]}") from exc
