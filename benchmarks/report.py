"""What is said about a run: bars first, then ratios, then medians and spreads."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bars import OURS, SHARED, Bar, bars, shared_bars, verdicts
from benchmarks.bench import NAMED, Scale
from benchmarks.charts import chart
from benchmarks.figures import Summary, quotients, summarize
from benchmarks.results import Case, Results

__all__ = ["markdown", "write"]

_TITLES = {
    "reads": "Reading manifests and small blobs",
    "writes": "Pushing manifests",
    "images": "Pushing whole images",
    "lists": "Pages of long lists",
    "blobs": "Large blobs",
    "clients": "An image of {image} MB in {layers} layers, by real clients",
    "memory": "Memory",
    "startup": "Starting",
    "contention": "Reading while others push",
    "replicas": "Many machines' stores: PostgreSQL and S3",
}
_RATIOS = tuple((ours, other) for ours in OURS for other in ("distribution", "seed", "nginx"))
_NOTES = """\
- What distribution and the seed hold at the beginning was written to their folders in the form in which they keep it,
  what ours hold by the writer that pushes go through: to push it all would take hours with them, and minutes with ours.
- 1,000,000 entries, and long lists of repositories and referrers, are asked of ours only. distribution has no list of
  referrers, and the seed writes its whole metadata at each push.
- The seed refuses bodies of more than 512 MiB, and keeps uploads and downloads in memory as a whole: it is not asked
  for a blob of 1 GiB, nor for many large ones at once.
- The smallest answers come from the page cache, and the disk's own cache takes part in each sync, with all of them.
"""
# A generator that has used this much of the one processor that it may use was what could not go faster.
_BUSY = 0.9


def write(results: Results, scale: Scale, folder: Path) -> Path:
    """Write the table, what it was made from and the charts into a folder; return the path of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(results.as_json(), encoding="utf-8")
    charts = {}
    for question in _TITLES:
        drawing = chart(results, question)
        if drawing is not None:
            charts[question] = f"{question}.svg"
            (folder / charts[question]).write_text(drawing, encoding="utf-8")
    table = folder / "README.md"
    table.write_text("\n".join(markdown(results, scale, charts)) + "\n", encoding="utf-8")
    return table


def markdown(results: Results, scale: Scale, charts: dict[str, str]) -> Iterator[str]:
    """The report, line by line."""
    yield "# Benchmarks"
    yield ""
    yield "`make bench` wrote this page, `results.json` and the drawings: one run on one machine, whose"
    yield "processors the generator of load shares with the servers. Rounds of all subjects take turns. Figures are"
    yield "medians, with the least and the most in brackets; what is compared is compared round by round."
    yield ""
    yield from _facts(results)
    yield from _NOTES.splitlines()
    yield ""
    yield "## Bars"
    yield ""
    yield "A ratio is ours to theirs. `files` has one worker, `files x2` two; both sync all that they acknowledge."
    yield ""
    yield from _bars(results, OURS, bars(scale, int(results.facts.get("size of uploads held", scale.held))))
    yield from _bars(results, SHARED, shared_bars(scale))
    for question, title in _TITLES.items():
        cases = results.of(question)
        if cases:
            size = scale.layer * scale.layers / 1e6
            yield from _question(results, cases, title.format(image=f"{size:.0f}", layers=scale.layers))
            if question in charts:
                yield f"![how it grows]({charts[question]})"
                yield ""


def _facts(results: Results) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    for name, value in results.facts.items():
        if name != "scale":
            yield f"| {name} | {value} |"
    for named in NAMED:
        yield f"| `{named.name}` | {named.title} |"
    yield ""


def _bars(results: Results, ours: Sequence[str], these: Iterator[Bar]) -> Iterator[str]:
    yield f"| | demanded | {' | '.join(ours)} | |"
    yield f"|---|---|{'---|' * len(ours)}---|"
    for bar in these:
        found = verdicts(bar, results, ours)
        cells = [_cell(verdict.measured, bar.unit) for verdict in found.values()]
        measured = [verdict for verdict in found.values() if verdict.measured is not None]
        if not measured:
            outcome = "not measured"
        elif all(verdict.met for verdict in measured):
            outcome = "met"
        elif any(verdict.met for verdict in measured):
            outcome = f"met by `{next(name for name, verdict in found.items() if verdict.met)}`"
        else:
            outcome = "**not met**"
        yield f"| {bar.what} | {bar.demand} | {' | '.join(cells)} | {outcome} |"
    yield ""


def _question(results: Results, cases: Sequence[Case], title: str) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    order = [named.name for named in NAMED]
    subjects = sorted(results.subjects(cases), key=lambda name: order.index(name) if name in order else len(order))
    yield from _ratios(results, cases, subjects)
    yield f"| | | {' | '.join(f'`{subject}`' for subject in subjects)} |"
    yield f"|---|---|{'---|' * len(subjects)}"
    limited = False
    for case in cases:
        cells = []
        for subject in subjects:
            mark = "†" if _load_was_the_limit(results, case, subject) else ""
            limited = limited or bool(mark)
            failed = "failed" if (case.name, subject) in results.failures else ""
            cells.append((_cell(summarize(results.values(case, subject))) or failed) + mark)
        yield f"| {case.name} | {case.unit} | {' | '.join(cells)} |"
    yield ""
    if limited:
        yield "† the generator of load could not go faster: the server could."
        yield ""
    for (name, subject), failure in results.failures.items():
        if any(case.name == name for case in cases):
            yield f"- `{subject}`, {name}: failed: {failure.splitlines()[0][:200]}"
            yield ""


def _ratios(results: Results, cases: Sequence[Case], subjects: Sequence[str]) -> Iterator[str]:
    pairs = [pair for pair in _RATIOS if set(pair) <= set(subjects)]
    rows = []
    for case in cases:
        cells = [_cell(summarize(_better(results, case, *pair)), "x") for pair in pairs]
        if any(cells):
            rows.append(f"| {case.name} | {' | '.join(cells)} |")
    if rows:
        yield "How many times better ours is:"
        yield ""
        yield f"| | {' | '.join(f'`{ours}` to {other}' for ours, other in pairs)} |"
        yield f"|---|{'---|' * len(pairs)}"
        yield from rows
        yield ""


def _better(results: Results, case: Case, ours: str, other: str) -> Sequence[float]:
    pair = results.values(case, ours), results.values(case, other)
    return quotients(*(reversed(pair) if case.lower_is_better else pair))


def _load_was_the_limit(results: Results, case: Case, subject: str) -> bool:
    load = summarize(results.more(case, subject, "load_cores"))
    return case.unit == "requests/s" and load is not None and load.median >= _BUSY


def _cell(summary: Summary | None, unit: str = "") -> str:
    if summary is None:
        return ""
    suffix = f" {unit}" if unit not in {"", "x"} else ""
    if summary.low == summary.high:
        return f"{_number(summary.median)}{suffix}"
    return f"{_number(summary.median)}{suffix} ({_number(summary.low)} to {_number(summary.high)})"


def _number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"
