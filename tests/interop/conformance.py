"""Run the official conformance program over each way that the server is set up, and print its own totals.

Everything that the program can ask is switched on. It demands all of it from a server that accepts manifests with
missing references; from the default, which refuses them, all but its sparse manifests. A run is good when the
program counts nothing but passes.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import bcrypt

from support.registry import Registry, Setup, serve
from support.replicas import replicas
from support.tools import clean_environment, find

VERSIONS = ("1.1", "dev")
RUN_SECONDS = 600
USER, PASSWORD = "conformance", "a-password-of-no-worth"
# One fault fails many tests; the first ones say what it is.
SHOWN = 25
RESULTS = Path(__file__).parents[2] / "build" / "conformance"
APIS = (
    "PING PULL PUSH BLOBS_ATOMIC BLOBS_DELETE BLOBS_DIGEST_HEADER BLOBS_MOUNT_ANONYMOUS BLOBS_UPLOAD_CANCEL "
    "MANIFESTS_ATOMIC MANIFESTS_DELETE MANIFESTS_DIGEST_HEADER MANIFESTS_TAG_PARAM TAGS_ATOMIC TAGS_DELETE "
    "TAGS_LIST REFERRER"
)
DATA = (
    "IMAGE INDEX INDEX_LIST ARTIFACT SUBJECT SUBJECT_MISSING ARTIFACT_LIST SUBJECT_LIST DATA_FIELD "
    "NONDISTRIBUTABLE CUSTOM_FIELDS NO_LAYERS EMPTY_BLOB SHA512"
)
COLUMNS = ("pass", "fail", "skip", "disabled", "error")
SPARSE = "Sparse Manifests"


@dataclass(frozen=True)
class Run:
    """One set-up of the server and one version of the specification."""

    title: str
    version: str
    sparse: bool
    workers: int = 1
    on_disk: bool = False
    replicas: int = 0
    """How many share PostgreSQL and a bucket, behind a proxy; with 0 there is one server on its own."""
    login: str = ""
    """How the program must log in: with a ``password`` each time, or for a ``token``; or not at all."""

    @property
    def folder(self) -> Path:
        return RESULTS / f"{self.title}, {self.version}".replace(", ", "-").replace(" ", "-")

    def settings(self, home: Path) -> dict[str, str]:
        settings = {"FERRO_OCI_MISSING_REFERENCES": "allow"} if self.sparse else {}
        if self.login:
            digest = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
            (home / "htpasswd").write_text(f"{USER}:{digest}\n", encoding="utf-8")
            settings["FERRO_OCI_HTPASSWD"] = str(home / "htpasswd")
            settings["FERRO_OCI_TOKEN_SERVICE"] = str(self.login == "token").lower()
        return settings


@dataclass(frozen=True)
class Outcome:
    """What the program counted, the tests that did not pass, and the sets of test data that it left out."""

    totals: dict[str, int]
    failing: list[str]
    left_out: set[str]

    def good(self, run: Run) -> bool:
        counted = {name for name, count in self.totals.items() if count}
        return counted == {"pass"} and self.left_out == (set() if run.sparse else {SPARSE})


def runs() -> Iterator[Run]:
    for version in VERSIONS:
        for on_disk in (False, True):
            for workers in (1, 2):
                title = f"{'sqlite' if on_disk else 'memory'}, workers {workers}"
                yield Run(title, version, sparse=True, workers=workers, on_disk=on_disk)
        for login in ("password", "token"):
            yield Run(f"sqlite, {login}", version, sparse=True, workers=2, on_disk=True, login=login)
        yield Run("replicas 3", version, sparse=True, replicas=3)
        yield Run("default", version, sparse=False, on_disk=True)


def environment(run: Run, registry: Registry, home: Path) -> dict[str, str]:
    switches = [f"OCI_API_{name}" for name in APIS.split()] + [f"OCI_DATA_{name}" for name in DATA.split()]
    return {
        **clean_environment(home),
        **dict.fromkeys(switches, "true"),
        "OCI_DATA_SPARSE": str(run.sparse).lower(),
        "OCI_REGISTRY": registry.address,
        "OCI_TLS": "disabled",
        "OCI_VERSION": run.version,
        "OCI_RESULTS_DIR": str(run.folder),
        "OCI_LOG": "error",
        **({"OCI_USERNAME": USER, "OCI_PASSWORD": PASSWORD} if run.login else {}),
    }


@contextmanager
def serving(run: Run, home: Path) -> Iterator[Registry]:
    if run.replicas:
        # PostgreSQL runs as another user, who must be able to come here.
        home.chmod(0o711)
        with replicas(home / "replicas", run.replicas, **run.settings(home)) as world:
            yield world.front
        return
    setup = Setup(home / "storage" if run.on_disk else None, run.workers, run.settings(home))
    with serve(setup, run.folder / "server.log") as registry:
        yield registry


def execute(run: Run) -> Outcome:
    run.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ferro-conformance-") as temporary:
        home = Path(temporary)
        with serving(run, home) as registry, (run.folder / "output.txt").open("wb") as output:
            # The exit status says less than the report, which a program that could not start does not write.
            (run.folder / "junit.xml").unlink(missing_ok=True)
            subprocess.run(
                [find("conformance")],
                env=environment(run, registry, home),
                cwd=home,
                stdout=output,
                stderr=output,
                timeout=RUN_SECONDS,
                check=False,
            )
    return read(run.folder)


def read(folder: Path) -> Outcome:
    suite = ElementTree.parse(folder / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    names = {"fail": "failures", "skip": "skipped", "disabled": "disabled", "error": "errors"}
    # A count of zero may not be written.
    totals = {name: int(suite.get(attribute, "0")) for name, attribute in names.items()}
    totals = {"pass": int(suite.get("tests", "0")) - sum(totals.values()), **totals}
    failing = [
        f"{case.attrib['name']}: {(case.findtext('system-out') or '').strip()}"
        for case in suite.iter("testcase")
        if case.attrib["status"] != "passed"
    ]
    _, _, data = (folder / "results.yaml").read_text(encoding="utf-8").partition("\ndata:\n")
    left_out = {line.rpartition(":")[0].strip() for line in data.splitlines() if line.endswith(": Disabled")}
    return Outcome(totals, failing, left_out)


def main() -> int:
    bad = 0
    print(f"{'server':<22}{'version':<9}" + "".join(f"{name:>9}" for name in COLUMNS) + f"{'seconds':>9}")
    for run in runs():
        started = time.monotonic()
        outcome = execute(run)
        seconds = time.monotonic() - started
        counts = "".join(f"{outcome.totals[name]:>9}" for name in COLUMNS)
        print(f"{run.title:<22}{run.version:<9}{counts}{seconds:>9.1f}", flush=True)
        if not outcome.good(run):
            bad += 1
            print(f"    left out: {', '.join(sorted(outcome.left_out)) or 'nothing'}; see {run.folder}")
            for failure in outcome.failing[:SHOWN]:
                print("    " + failure.replace("\n", "\n      "))
            if len(outcome.failing) > SHOWN:
                print(f"    and {len(outcome.failing) - SHOWN} more")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
