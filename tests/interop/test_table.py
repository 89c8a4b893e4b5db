"""Nothing is left out silently: every client has a test for every operation, or says why not."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import OPERATIONS, client_of

HERE = Path(__file__).parent
CLIENTS = sorted(client_of(path) for path in HERE.glob("test_*.py") if path != Path(__file__))


def operations_of(module: ModuleType) -> set[str]:
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    marks = [mark for test in tests for mark in getattr(test, "pytestmark", [])]
    return {mark.args[0] for mark in marks if mark.name == "operation"}


@pytest.mark.parametrize("client", CLIENTS)
def test_each_operation_is_tested_or_declined_with_a_reason(client: str) -> None:
    module = import_module(f".test_{client}", __package__)
    declined: dict[str, str] = module.NOT_OFFERED
    assert all(declined.values())
    assert not operations_of(module) & declined.keys()
    assert operations_of(module) | declined.keys() == OPERATIONS.keys()
