"""The first start of all, killed at every step of making the tables."""

from ferro_oci_server.oci.digest import Algorithm
from ferro_oci_server.testing.faults.failpoints import Fault

from .history import Client, Lost, Recorder
from .kills import check_files
from .operations import OPERATIONS, Place
from .processes import Launcher, Server, ServerFailed, new_server

__all__ = ["kill_first_start", "trace_first_start"]


def trace_first_start(launcher: Launcher) -> list[str]:
    """The points that a first start reaches, one entry for each time."""
    with new_server(launcher) as server:
        server.point.choose("*")
        server.start()
        return server.point.hits()


def kill_first_start(launcher: Launcher, fault: Fault, workers: int, seed: int) -> bool:
    """Kill the first start; the second one must make the registry work. Tell whether the point was reached.

    Raises:
        Lost: it does not.
    """
    with new_server(launcher, workers) as server:
        server.point.choose(fault)
        try:
            server.start()
        except ServerFailed:
            server.wait_dead()
        else:
            return False
        server.point.clear()
        _check_second_start(server, seed)
    return True


def _check_second_start(server: Server, seed: int) -> None:
    try:
        server.start()
    except ServerFailed as exc:
        raise Lost(f"recovery needs a manual step: {exc}") from exc
    recorder = Recorder(Client(server.address))
    operation = OPERATIONS["put an index"](Place("first", Algorithm.SHA256, seed))
    operation.prepare(recorder)
    operation.run(recorder)
    recorder.check()
    check_files(server)
