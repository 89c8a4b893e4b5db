"""A base image without any registry: Debian's smallest programs and one Python, out of the files of this machine.

The image that deploy/Containerfile names is on the network, where these tests do not go. This one has the same parts
in the same places, so that the same steps run on it: a shell, the programs of coreutils, a Python below /usr/local.
"""

import io
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

_PACKAGES = ("base-files", "base-passwd", "coreutils", "dash", "libc-bin", "libc6", "libgcc-s1")
_DOCUMENTATION = re.compile(r"/usr/share/(doc|info|lintian|locale|man)/")
# On Debian these are links, and packages still name what is behind them.
_MERGED = ("bin", "lib", "lib64", "sbin")
# A base image has those of the makers of browsers; this machine may trust others besides.
_CERTIFICATES = Path("/etc/ssl")
# Windows on a screen and what they are linked with, what only Python's own tests need, and what was installed besides.
_UNUSED = re.compile(
    r"/(test|tests|idlelib|tkinter|_tkinter\..*|turtledemo|site-packages|__pycache__|config-3[^/]*)(/|$)"
)

# What is asked of the Python that goes in.
_WHERE = """
import json, sys, sysconfig
print(json.dumps([sys._base_executable, sysconfig.get_path("stdlib")]))
"""


def write_base_image(path: Path, python: str = sys.executable) -> None:
    """Write the root file system as a tar archive."""
    files = {_place(file): file for file in _debian()}
    files.update(_python(*json.loads(_output(python, "-I", "-c", _WHERE))))
    with tarfile.open(path, "w") as archive:
        for name in _MERGED:
            _add_link(archive, name, f"usr/{name}")
        for name, mode in (("tmp", 0o1777), ("var/tmp", 0o1777)):
            _add_folder(archive, name, mode)
        for name, text in (("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"), ("etc/group", "root:x:0:\n")):
            _add_text(archive, name, text)
        for place, file in sorted(files.items()):
            # What a link leads to is copied in its place: one step fewer to think of, and some bytes more.
            info = archive.gettarinfo(file.resolve(), str(place))
            info.type, info.linkname, info.size = tarfile.REGTYPE, "", file.stat().st_size
            info.uid = info.gid = 0
            with file.open("rb") as content:
                archive.addfile(info, content)
        for name in ("python", "python3"):
            _add_link(
                archive, f"usr/local/bin/{name}", next(p.name for p in files if p.match("usr/local/bin/python3*"))
            )


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, check=True, text=True, timeout=60).stdout


def _debian() -> Iterator[Path]:
    for line in _output("dpkg", "-L", *_PACKAGES).splitlines():
        if line.startswith("/") and not _DOCUMENTATION.match(line) and Path(line).is_file():
            yield Path(line)
    yield from (file for file in _CERTIFICATES.rglob("*") if file.is_file() and "private" not in file.parts)
    yield from _libraries([Path("/bin/ls"), Path("/bin/cp"), Path("/bin/sort")])


def _python(executable: str, library: str) -> Mapping[PurePosixPath, Path]:
    local, version = PurePosixPath("usr/local"), Path(library).name
    modules = [file for file in Path(library).rglob("*") if file.is_file() and not _UNUSED.search(str(file))]
    linked = _libraries([Path(executable), *(file for file in modules if ".so" in file.suffixes)])
    return {
        **{_place(file): file for file in linked},
        **{local / "lib" / version / file.relative_to(library): file for file in modules},
        local / "bin" / version: Path(executable),
    }


def _libraries(objects: Iterable[Path]) -> set[Path]:
    """The shared libraries that some programs and modules are linked with."""
    lines = _output("ldd", *map(str, objects))
    return {Path(found) for found in re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", lines, re.MULTILINE)}


def _place(file: Path) -> PurePosixPath:
    """Where a file is in the image: without the link from /lib to /usr/lib, and in a folder that is searched."""
    folder = file.parent.resolve()
    if ".so" in file.name and not folder.is_relative_to("/usr"):
        folder = Path("/usr/lib", sysconfig.get_config_var("MULTIARCH"))
    return PurePosixPath(folder / file.name).relative_to("/")


def _add_link(archive: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    archive.addfile(info)


def _add_folder(archive: tarfile.TarFile, name: str, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    archive.addfile(info)


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(text)
    archive.addfile(info, io.BytesIO(text.encode()))
