"""Build and check every state: ``cd tests && python -m faults.powerloss [options] [WORKLOAD...]``."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing import get_context

from faults.powerloss.checking import check_tree, contents_of
from faults.powerloss.disk import Model
from faults.powerloss.recording import record
from faults.powerloss.states import State, plan
from faults.powerloss.steps import Step
from faults.powerloss.workloads import WORKLOADS

_SHOWN = 3
_CHUNK = 8


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; all, if none")
    parser.add_argument("--limit", type=int, help="check no more than so many states of each, chosen by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ordered", action="store_true", help="entries keep their order, as on ext4, xfs and btrfs")
    parser.add_argument("--torn", action="store_true", help="a move may lose a file, as on ext2")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def _distinct(states: Sequence[State]) -> list[State]:
    """One of those that have the same content and the same promises."""
    return list({(contents_of(state.tree), id(state.promises)): state for state in states}.values())


def _run(name: str, steps: Sequence[Step], options: argparse.Namespace) -> bool:
    """Check one workload and print its row; tell whether all was well."""
    begun = time.monotonic()
    planned = plan(
        steps, limit=options.limit, seed=options.seed, model=Model(ordered=options.ordered, torn=options.torn)
    )
    states = _distinct(list(planned.states))
    with get_context("spawn").Pool(options.jobs) as pool:
        found = pool.starmap(check_tree, [(state.tree, state.promises) for state in states], _CHUNK)
    wrong = [(state, texts) for state, texts in zip(states, found, strict=True) if texts]
    seconds = time.monotonic() - begun
    print(f"{name:16}{len(steps):>7}{planned.possible:>9}{len(states):>9}{len(wrong):>11}{seconds:>8.0f} s", flush=True)
    for text, count in Counter(texts[0] for _, texts in wrong).most_common(_SHOWN):
        state = next(state for state, texts in wrong if texts[0] == text)
        print(f"    {count} x {text}\n      {str(state)[:300]}")
    return not wrong


def _main() -> int:
    options = _arguments()
    names = options.workloads or list(WORKLOADS)
    recorded = record(names)
    print(f"{'workload':16}{'steps':>7}{'choices':>9}{'checked':>9}{'violations':>11}{'time':>10}", flush=True)
    well = [_run(name, recorded[name], options) for name in names]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(_main())
