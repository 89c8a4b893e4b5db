"""nginx before one or more registries, with the configuration that we recommend."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from support.process import daemon, free_port, listens
from support.registry import Registry

_TEMPLATE = Path(__file__).parents[2] / "deploy" / "nginx.conf"


@contextmanager
def proxied(folder: Path, *registries: Registry, changes: Mapping[str, str] | None = None) -> Iterator[Registry]:
    """The same registry, at the address of a proxy; several take turns. ``changes`` are made in what we recommend."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert program is not None, "nginx is missing: scripts/install-clients brings it"
    address = f"127.0.0.1:{free_port()}"
    servers = "; server ".join(registry.address for registry in registries)
    text = _TEMPLATE.read_text(encoding="utf-8")
    for old, new in (changes or {}).items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    for name, value in (("LISTEN", address), ("REGISTRY", servers), ("FOLDER", str(folder))):
        text = text.replace(name, value)
    configuration = folder / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")

    with daemon([program, "-c", str(configuration)], None, folder / "nginx.log", lambda: listens(address)) as process:
        yield Registry(address, process)
