"""Settings: one frozen ``Config``, read from a file, the environment and flags, in that order of rising precedence.

A setting has one name everywhere: ``storage_dir`` in the file, ``FERRO_OCI_STORAGE_DIR`` in the environment,
``--storage-dir`` as a flag. All wrong settings are reported at once.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from ferro_oci_server.core.policy import MissingReferences

__all__ = ["PREFIX", "Config", "ConfigError", "Listen", "Network", "duration", "settings"]

PREFIX = "FERRO_OCI_"
"""What the name of every environment variable begins with."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
# What SQLite and file systems count with.
_MANY = 2**63 - 1

Network = IPv4Network | IPv6Network

_LOG_LEVELS = ("debug", "info", "warning", "error")
_WORDS = {
    "true": True,
    "false": False,
    "yes": True,
    "no": False,
    "1": True,
    "0": False,
    "on": True,
    "off": False,
}


class ConfigError(Exception):
    """Raised when settings are wrong; ``problems`` has a line for each, beginning with its name."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Listen:
    """An address and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``127.0.0.1:8080``, ``[::1]:8080``, ``localhost:8080`` or ``:8080``, which is every address."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError("expected an address and a port, such as 127.0.0.1:8080")
        host = host.removeprefix("[").removesuffix("]") or "0.0.0.0"  # noqa: S104
        if ":" in host:
            ip_address(host)
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _path(text: str) -> Path:
    if not text:
        raise ValueError("expected the path of a folder")
    return Path(text).absolute()


def _file(text: str) -> Path:
    if not text:
        raise ValueError("expected the path of a file")
    return Path(text).absolute()


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("expected a scheme and a host, such as https://registry.example.com")
    return f"{parts.scheme}://{parts.netloc}"


def _networks(text: str) -> tuple[Network, ...]:
    """Read addresses and networks between commas; ``none`` for no one."""
    try:
        return () if text == "none" else tuple(ip_network(part.strip()) for part in text.split(","))
    except ValueError:
        raise ValueError("expected addresses and networks between commas, such as 10.0.0.0/8, or none") from None


def _patterns(text: str) -> tuple[str, ...]:
    """Read patterns between commas; ``none`` for nothing."""
    patterns = () if text == "none" else tuple(part.strip() for part in text.split(","))
    if not all(patterns):
        raise ValueError("expected patterns between commas, such as docker/20.*, or none")
    return patterns


def _database_url(text: str) -> str:
    try:
        is_known = urlsplit(text).scheme in ("postgresql", "postgres")
    except ValueError:
        is_known = False
    if not is_known:
        raise ValueError("expected a URL such as postgresql://user:password@host/database")
    return text


def _storage_url(text: str) -> str:
    try:
        url = urlsplit(text)
        is_known = url.scheme in ("s3", "gs", "az") and bool(url.netloc)
    except ValueError:
        is_known = False
    if not is_known:
        raise ValueError("expected a URL such as s3://bucket/prefix?region=eu-west-1")
    return text


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise ValueError(f"expected a number from {least} to {most}")
        return int(text)

    return read


def duration(text: str) -> float | None:
    """Read seconds out of ``90s``, ``15m``, ``24h`` or ``14d``; nothing out of ``never``."""
    if text == "never":
        return None
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit() or len(number) > 6:
        raise ValueError("expected a time such as 90s, 15m, 24h or 14d, or never")
    return float(int(number) * _UNITS[unit])


def _time(text: str) -> float:
    """Read a time that is not ``never``."""
    seconds = duration(text)
    if seconds is None:
        raise ValueError("expected a time such as 90s, 15m, 24h or 14d")
    return seconds


def _switch(text: str) -> bool:
    if text.lower() not in _WORDS:
        raise ValueError("expected true or false")
    return _WORDS[text.lower()]


def _text(text: str) -> str:
    if not text:
        raise ValueError("expected something")
    return text


def _level(text: str) -> str:
    if text.lower() not in _LOG_LEVELS:
        raise ValueError(f"expected one of {', '.join(_LOG_LEVELS)}")
    return text.lower()


def _setting(read: Callable[[str], Any], default: str | None, text: str, *, secret: bool = False) -> Any:
    """A field whose default is written as a user would write it. What is secret is never shown."""
    value = None if default is None else read(default)
    metadata = {"read": read, "default": default, "help": text, "secret": secret}
    return field(default=value, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How the command serves."""

    listen: Listen = _setting(Listen.parse, "0.0.0.0:8080", "Address and port to listen on.")
    storage_dir: Path | None = _setting(
        _path,
        None,
        "Folder that keeps what the two URLs below do not. Without all three, everything is kept in memory.",
    )
    database_url: str | None = _setting(
        _database_url,
        None,
        "PostgreSQL database for all but the bytes of blobs: postgresql://user:password@host/database. "
        "Unset: SQLite in storage_dir.",
        secret=True,
    )
    storage_url: str | None = _setting(
        _storage_url,
        None,
        "Bucket of an object store for the bytes of blobs: s3://, gs:// or az://. Unset: files in storage_dir.",
    )
    database_connections: int = _setting(
        _number(1, 1000), "10", "Connections of each worker to the database of database_url."
    )
    redirect_downloads: bool = _setting(
        _switch,
        "false",
        "Whether downloads of blobs are answered by a link into the bucket of storage_url (307), which clients follow.",
    )
    redirect_except: tuple[str, ...] = _setting(
        _patterns,
        "none",
        "Patterns of the User-Agent of clients for which downloads pass through here all the same, such as "
        "containerd/1.*,*Helm*.",
    )
    redirect_seconds: int = _setting(_number(1, 3600), "60", "How long such a link may be followed.")
    missing_references: MissingReferences = _setting(
        MissingReferences.parse,
        "refuse",
        "Manifests that refer to content which is not there: refuse, allow, or patterns of the repositories that "
        "allow them, such as mirror/*,cache/*.",
    )
    workers: int = _setting(_number(1, 64), "1", "Processes that serve.")
    shutdown_seconds: int = _setting(
        _number(1, 3600), "30", "How long running requests may go on after SIGTERM or SIGINT."
    )
    blob_grace: float = _setting(
        _time, "24h", "How long a blob that no manifest refers to stays: longer than any push takes."
    )
    manifest_grace: float | None = _setting(
        duration, "14d", "How long a manifest stays that no tag, index or subject keeps; or never to remove any."
    )
    upload_grace: float = _setting(_time, "24h", "How long an upload that does not move may be gone on with.")
    trash_grace: float = _setting(
        _time, "24h", "How long the bytes of a removed blob are kept, from where they can be brought back."
    )
    collection_interval: float = _setting(_time, "60s", "How often garbage is looked for.")
    read_only: bool = _setting(_switch, "false", "Whether everything that changes something is refused, with 405.")
    header_seconds: int = _setting(
        _number(1, 3600), "30", "How long the head of a request may take, and a connection may lie idle before it."
    )
    body_idle_seconds: int = _setting(
        _number(1, 3600), "30", "How long a body may bring nothing before it is cut off, with 408; what came is kept."
    )
    body_grace_seconds: int = _setting(
        _number(1, 3600), "60", "How long a body may be slower than body_min_bytes_per_second before it is cut off."
    )
    body_min_bytes_per_second: int = _setting(
        _number(0, _MANY), "1024", "What a body must bring on average, while it is waited for. 0: anything."
    )
    response_idle_seconds: int = _setting(
        _number(1, 3600), "30", "How long a client may take nothing of a response before its connection is ended."
    )
    response_piece_seconds: int = _setting(
        _number(1, 3600), "300", "How long a client may take for a piece of a response, which has a megabyte."
    )
    max_connections: int = _setting(
        _number(1, 1_000_000), "1000", "Connections of each worker at a time; more wait until one of them ends."
    )
    max_concurrent_requests: int = _setting(
        _number(0, _MANY), "500", "Requests of each worker at a time; more are answered with 503. 0: any number."
    )
    max_open_uploads: int = _setting(
        _number(0, _MANY), "10000", "Open upload sessions; starting more is answered with 429. 0: any number."
    )
    max_blob_bytes: int = _setting(_number(0, _MANY), "0", "The largest blob; more is refused with 413. 0: any size.")
    max_repository_bytes: int = _setting(
        _number(0, _MANY), "0", "What the blobs of a repository may have together; more is refused with 403. 0: any."
    )
    max_repository_tags: int = _setting(
        _number(0, _MANY), "1000000", "Tags of a repository; new ones beyond are refused with 403. 0: any number."
    )
    max_repository_manifests: int = _setting(
        _number(0, _MANY), "1000000", "Manifests of a repository; new ones beyond are refused with 403. 0: any number."
    )
    min_free_bytes: int = _setting(
        _number(0, _MANY),
        "16777216",
        "What stays free on the disk of storage_dir; with less, new content is refused with 507. 0: nothing.",
    )
    scrub_rate: int = _setting(
        _number(0, 100_000), "10", "How many MiB a second are read in search of damaged blobs; 0 for no search."
    )
    scrub_interval: float = _setting(_time, "7d", "How long it rests after it has looked at every blob.")
    htpasswd: Path | None = _setting(
        _file, None, "File of users, as htpasswd -B makes it. With it, or with policy, clients must log in."
    )
    policy: Path | None = _setting(
        _file, None, "File that says who may do what. Without one, every user of htpasswd may do everything."
    )
    public_url: str | None = _setting(
        _url, None, "Where clients reach the registry, such as https://registry.example.com. Unset: as they say."
    )
    token_service: bool = _setting(
        _switch, "true", "Whether clients are given tokens, which anonymous pulls beside private ones need with docker."
    )
    token_seconds: int = _setting(
        _number(1, 3600), "300", "How long a token lasts. It is taken for a minute more, for clocks that differ."
    )
    tls_cert: Path | None = _setting(
        _file, None, "File with the certificate, and what leads to its authority, as PEM. With it, TLS is spoken."
    )
    tls_key: Path | None = _setting(_file, None, "File with the key of the certificate, as PEM.")
    tls_client_ca: Path | None = _setting(
        _file, None, "File with authorities, as PEM: only clients with a certificate of one of them are let in."
    )
    failed_logins_per_minute: int = _setting(
        _number(0, 1_000_000), "30", "Wrong credentials of each user and address; more wait, with 429. 0: any number."
    )
    requests_per_minute: int = _setting(
        _number(0, 1_000_000), "0", "Requests of each principal and worker; more wait, with 429. 0: any number."
    )
    max_open_uploads_per_principal: int = _setting(
        _number(0, _MANY), "100", "Open uploads of each principal; starting more is answered with 429. 0: any number."
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        _networks, "none", "Addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )
    proxy_certificates: bool = _setting(
        _switch,
        "false",
        "Whether trusted_proxies are believed in Client-Cert, too: whose certificate a client has. They must check it, "
        "and must not let a client send the header itself.",
    )
    audit_log: str | None = _setting(
        _text, None, "File for a line of JSON for each change and each denial; - for standard error."
    )
    audit_pulls: bool = _setting(_switch, "false", "Whether the audit log has pulls, too.")
    metrics: bool = _setting(_switch, "true", "Whether /metrics is served.")
    access_log: bool = _setting(_switch, "true", "Whether every request is logged.")
    log_level: str = _setting(_level, "info", "The least level that is logged: debug, info, warning or error.")

    @property
    def is_kept(self) -> bool:
        """Whether a registry is kept anywhere but in memory."""
        return self.storage_dir is not None or self.database_url is not None

    @property
    def is_guarded(self) -> bool:
        """Whether clients must log in."""
        return self.htpasswd is not None or self.policy is not None

    @classmethod
    def from_mapping(cls, values: Mapping[str, str], source: Callable[[str], str] = str) -> Self:
        """Read settings from their texts, by name; ``source`` says how a wrong one is called in the report.

        Raises:
            ConfigError: some are unknown or wrong; it names all of them.
        """
        known = {setting.name: setting for setting in settings()}
        problems = [f"{source(name)}: there is no such setting" for name in values if name not in known]
        read: dict[str, Any] = {}
        for name, text in values.items():
            if name not in known:
                continue
            try:
                read[name] = known[name].metadata["read"](text)
            except ValueError as exc:
                given = "" if known[name].metadata["secret"] else f", not {text!r}"
                problems.append(f"{source(name)}: {exc}{given}")
        if "storage_dir" not in read and ("database_url" in read) != ("storage_url" in read):
            one, other = ("database_url", "storage_url") if "database_url" in read else ("storage_url", "database_url")
            problems.append(f"{source(one)}: the rest needs a place, too: set storage_dir or {other}")
        if read.get("proxy_certificates") and not read.get("trusted_proxies"):
            problems.append(f"{source('proxy_certificates')}: nobody is believed: set trusted_proxies")
        if read.get("redirect_downloads") and "storage_url" not in read:
            problems.append(f"{source('redirect_downloads')}: only a bucket has links to its blobs: set storage_url")
        if problems:
            raise ConfigError(problems)
        return cls(**read)

    @classmethod
    def load(cls, flags: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Self:
        """Read the file that ``config`` names, then the environment, then the flags; the last word counts.

        Raises:
            ConfigError: some are unknown or wrong, or the file cannot be read; it names all of them.
        """
        environment = {
            setting.name: environ[PREFIX + setting.name.upper()]
            for setting in settings()
            if PREFIX + setting.name.upper() in environ
        }
        path = flags.get("config") or environ.get(f"{PREFIX}CONFIG")
        layers = (
            (_read_file(Path(path)) if path else {}, f"{path}: {{}}".format),
            (environment, lambda name: PREFIX + name.upper()),
            ({name: text for name, text in flags.items() if name != "config"}, _flag),
        )
        values: dict[str, str] = {}
        named: dict[str, str] = {}
        for layer, source in layers:
            values.update(layer)
            named.update({name: source(name) for name in layer})
        return cls.from_mapping(values, named.__getitem__)


def settings() -> tuple[Field[Any], ...]:
    """All settings; the metadata of each has how to ``read`` it, its ``default`` as text, and ``help``."""
    return fields(Config)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _read_file(path: Path) -> dict[str, str]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigError([f"{path}: {exc}"]) from exc
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in document.items()}
