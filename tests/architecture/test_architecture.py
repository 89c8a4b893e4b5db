"""The shape of the package: its face, its layers, its table of endpoints, its sizes."""

import ast
import importlib
import inspect
import logging
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from importlinter.cli import lint_imports

import ferro_oci_server
from ferro_oci_server.api.app import ROUTES
from ferro_oci_server.api.routes import Route

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "ferro_oci_server"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# distribution-spec, "Endpoints". A location in angle brackets is that of an upload session.
SPECIFIED = """
end-1    GET      /v2/
end-2    GET,HEAD /v2/<name>/blobs/<digest>
end-3    GET,HEAD /v2/<name>/manifests/<tag-or-digest>
end-4a   POST     /v2/<name>/blobs/uploads/
end-4b   POST     /v2/<name>/blobs/uploads/?digest=<digest>
end-4c   POST     /v2/<name>/blobs/uploads/?digest-algorithm=<algorithm>
end-5    PATCH    <blob-push-location>
end-6    PUT      <blob-push-location>?digest=<digest>
end-7a   PUT      /v2/<name>/manifests/<tag-or-digest>
end-7b   PUT      /v2/<name>/manifests/<digest>?tag=1&tag=2&tag=3
end-8a   GET      /v2/<name>/tags/list
end-8b   GET      /v2/<name>/tags/list?n=<integer>&last=<tagname>
end-9    DELETE   /v2/<name>/manifests/<tag-or-digest>
end-10   DELETE   /v2/<name>/blobs/<digest>
end-11   POST     /v2/<name>/blobs/uploads/?mount=<digest>&from=<other_name>
end-12a  GET      /v2/<name>/referrers/<digest>
end-12b  GET      /v2/<name>/referrers/<digest>?artifactType=<artifactType>
end-13   GET      <blob-push-location>
end-14   DELETE   <blob-push-location>
"""


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(ferro_oci_server.__path__, "ferro_oci_server."):
        # Running it is what this module is for; migrations are run by their library, and have no face.
        if not found.name.endswith(".__main__") and ".migrations" not in found.name:
            yield importlib.import_module(found.name)


MODULES = list(modules())
FILES = sorted(SOURCE.rglob("*.py"))


def test_the_face_is_sorted() -> None:
    names = ferro_oci_server.__all__
    constants = [name for name in names if name.isupper()]
    classes = [name for name in names if name[0].isupper() and not name.isupper()]
    functions = [name for name in names if name[0].islower()]
    assert names == [*sorted(constants), *sorted(classes), *sorted(functions)]


@pytest.mark.parametrize("name", ferro_oci_server.__all__)
def test_every_name_of_the_face_can_be_imported(name: str) -> None:
    assert getattr(ferro_oci_server, name) is not None


def test_the_face_is_complete() -> None:
    shown = {
        name
        for name, value in vars(ferro_oci_server).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name not in ("TYPE_CHECKING", "Any")
    }
    assert shown <= set(ferro_oci_server.__all__)
    assert set(ferro_oci_server._LAZY) <= set(ferro_oci_server.__all__)


def test_the_face_has_no_other_names() -> None:
    with pytest.raises(AttributeError):
        _ = ferro_oci_server.no_such_name


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_module_says_what_it_is_for_and_shows(module: ModuleType) -> None:
    assert (module.__doc__ or "").strip()
    if module.__file__ and module.__file__.endswith("__init__.py"):
        return
    assert module.__all__
    assert len(set(module.__all__)) == len(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_what_a_module_shows_is_documented(module: ModuleType) -> None:
    shown = [getattr(module, name) for name in getattr(module, "__all__", [])]
    own = [value for value in shown if getattr(value, "__module__", None) == module.__name__]
    assert [value for value in own if inspect.isclass(value) or inspect.isfunction(value) if not value.__doc__] == []


def test_all_endpoints_of_the_specification_are_served_once_each() -> None:
    specified = {line.split()[0]: line.split()[1].split(",") for line in SPECIFIED.strip().splitlines()}
    served: dict[str, list[str]] = {}
    for route in ROUTES:
        for name in route.spec.split():
            served.setdefault(name, []).append(route.method)
    assert served == specified


def test_every_endpoint_is_served_where_the_specification_puts_it() -> None:
    patterns = {name: route.pattern for route in ROUTES for name in route.spec.split()}
    for line in SPECIFIED.strip().splitlines():
        name, _, path = line.split()
        path = path.replace("<blob-push-location>", "/v2/<name>/blobs/uploads/<session>")
        path = re.sub("/manifests/<.*>", "/manifests/<reference>", path.partition("?")[0])
        assert patterns[name] == path


def test_no_row_of_the_table_is_there_twice() -> None:
    rows = [(route.pattern, route.method) for route in ROUTES]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.spec], ids=lambda route: route.spec)
def test_every_handler_names_its_endpoint(route: Route) -> None:
    text = inspect.getdoc(route.handler) or ""
    # One handler may serve GET and HEAD alike.
    assert re.match(rf"(?:{route.method}|GET) /", text)
    named = set(re.findall(r"end-\d+[a-c]?", text)) | set(re.findall(r"end-\d+", text))
    assert all(name in named or name.rstrip("abc") in named for name in route.spec.split())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
def test_handlers_are_thin(route: Route) -> None:
    tree = ast.parse(inspect.getsource(route.handler))
    function = tree.body[0]
    assert isinstance(function, ast.AsyncFunctionDef)
    statements = function.body[1:]
    assert statements[-1].end_lineno is not None
    assert statements[-1].end_lineno - statements[0].lineno < 20
    assert not [node for node in ast.walk(function) if isinstance(node, ast.Try)]
    assert not [node for node in ast.walk(function) if isinstance(node, ast.Constant) and isinstance(node.value, bytes)]


def test_imports_go_one_way(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    failed = lint_imports(config_filename="pyproject.toml", cache_dir=None)
    # It sets up logging for itself, and silences everybody else's.
    for name in list(logging.Logger.manager.loggerDict):
        logging.getLogger(name).disabled = False
    assert not failed, capsys.readouterr().out


@pytest.mark.parametrize("layer", ["oci", "core"])
@pytest.mark.parametrize("word", ["fastapi", "starlette", "granian", "uvicorn", "sqlite3", "sqlalchemy", "prometheus"])
def test_the_inner_layers_name_no_toolkit(layer: str, word: str) -> None:
    assert [path.name for path in (SOURCE / layer).rglob("*.py") if word in path.read_text()] == []


def test_the_values_do_nothing() -> None:
    for path in (SOURCE / "oci").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        assert not [node for node in nodes if isinstance(node, ast.Await | ast.AsyncFunctionDef)]
        assert not [node for node in nodes if isinstance(node, ast.Name) and node.id == "open"]


def test_the_path_is_read_in_one_place() -> None:
    # A second reading is how routers and policies come to differ (CVE-2026-48710).
    for word in ("raw_path", 'scope["path"]', 'scope.get("path"', "request.url", 'scope["server"]'):
        found = {path.relative_to(SOURCE).as_posix() for path in FILES if word in path.read_text()}
        # The server and the client put it there.
        assert found <= {"api/requests.py", "http1/connection.py", "testing/client.py", "testing/asgi.py"}, word


@pytest.mark.parametrize("word", ["pickle", "marshal", "eval(", "exec(", "yaml"])
def test_nothing_is_loaded_that_could_run(word: str) -> None:
    assert [path.name for path in FILES if re.search(rf"\b{re.escape(word)}", path.read_text())] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_file_is_longer_than_500_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


def test_the_package_has_the_name_of_the_distribution() -> None:
    assert PROJECT["project"]["name"] == ferro_oci_server.PACKAGE_NAME
