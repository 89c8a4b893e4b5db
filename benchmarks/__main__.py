"""Measure this registry beside others: everything, or the questions and subjects that are named."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks import report
from benchmarks.bench import NAMED, QUICK, Bench, Scale, say
from benchmarks.load import Load
from benchmarks.machine import facts
from benchmarks.questions import blobs, clients, contention, images, lists, memory, reads, replicas, startup, writes
from benchmarks.results import Results
from benchmarks.stores import Stores

_ROOT = Path(__file__).parents[1]
_FOLDER = _ROOT / "build" / "bench"
_RESULTS = _ROOT / "docs" / "benchmarks"

QUESTIONS: Mapping[str, Callable[[Bench], None]] = {
    module.NAME: module.run
    for module in (reads, writes, images, lists, blobs, contention, startup, memory, clients, replicas)
}


def main() -> int:
    """Run what was asked for; 1 where something failed."""
    options = _options()
    if options.report:
        results = Results.from_json(options.report.read_text(encoding="utf-8"))
        print(report.write(results, Scale(**results.facts["scale"]), options.output or options.report.parent))
        return 0
    scale = QUICK if options.quick else Scale()
    if options.rounds:
        scale = _with(scale, rounds=options.rounds)
    _FOLDER.mkdir(parents=True, exist_ok=True)
    load = Load(_FOLDER)
    results = Results({**facts(), "scale": asdict(scale)})
    whole = not (options.quick or options.only or options.subjects)
    folder = options.output or (_RESULTS if whole else _FOLDER / "last")
    bench = Bench(scale, load, Stores(_FOLDER, load), results, options.subjects)
    begin = time.monotonic()
    for name in options.only or QUESTIONS:
        started = time.monotonic()
        say(f"{name}:")
        try:
            QUESTIONS[name](bench)
        finally:
            # What was measured is not lost with what could not be.
            (_FOLDER / "so-far.json").write_text(results.as_json(), encoding="utf-8")
        say(f"{name}: {time.monotonic() - started:.0f} s")
    results.facts["took"] = f"{(time.monotonic() - begin) / 60:.0f} minutes"
    table = report.write(results, scale, folder)
    print(table.read_text(encoding="utf-8"))
    say(f"written to {folder}")
    return 1 if results.failures else 0


def _with(scale: Scale, **changes: int) -> Scale:
    return Scale(**{**asdict(scale), **changes})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: a look, not a result")
    parser.add_argument("--only", type=_among(QUESTIONS), help=f"questions, with commas: {','.join(QUESTIONS)}")
    names = [named.name for named in NAMED]
    parser.add_argument("--subjects", type=_among(names), help=f"subjects, with commas: {','.join(names)}")
    parser.add_argument("--rounds", type=int, help="how many rounds of each (default: 3)")
    parser.add_argument("--output", type=Path, help="where to write (default: docs/benchmarks for a whole run)")
    parser.add_argument(
        "--report", type=Path, metavar="JSON", help="measure nothing: write the report of these results"
    )
    return parser.parse_args()


def _among(names: object) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in names:  # type: ignore[operator]
                raise argparse.ArgumentTypeError(f"there is no {name}")
        return chosen

    return read


if __name__ == "__main__":
    sys.exit(main())
