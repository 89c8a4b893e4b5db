"""A running registry of distribution, with its files in a folder or in a bucket."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.object_store import CREDENTIALS, S3Server
from support.process import answers, daemon, free_port
from support.registry import Registry
from support.tools import clean_environment, require

_SETTINGS = """\
version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  delete:
    enabled: true
  cache:
    blobdescriptor: inmemory
{storage}
http:
  addr: {address}
  secret: test
"""


def in_folder(folder: Path) -> str:
    """The settings of a storage folder."""
    return f"  filesystem:\n    rootdirectory: {folder}"


def in_bucket(server: S3Server, prefix: str) -> str:
    """The settings of a prefix in a bucket."""
    options = {
        "region": "us-east-1",
        "regionendpoint": f"http://{server.address}",
        "forcepathstyle": "true",
        "secure": "false",
        "bucket": server.folder.name,
        "accesskey": CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "secretkey": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        "rootdirectory": f"/{prefix}",
    }
    return "  s3:\n" + "\n".join(f"    {name}: {value}" for name, value in options.items())


@contextmanager
def distribution(storage: str, home: Path) -> Iterator[Registry]:
    """Run it until the block ends."""
    home.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    settings = home / "settings.yml"
    settings.write_text(_SETTINGS.format(storage=storage, address=address), encoding="utf-8")

    # Else it looks for somebody who collects its traces.
    environment = {**clean_environment(home), "OTEL_TRACES_EXPORTER": "none"}
    command = [require("distribution"), "serve", str(settings)]
    with daemon(command, environment, home / "log", lambda: answers(address, "/v2/")) as process:
        yield Registry(address, process)
