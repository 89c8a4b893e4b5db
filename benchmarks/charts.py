"""Curves of how cost grows, as SVG: a panel for each kind of work, a line for each subject."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from benchmarks.figures import summarize
from benchmarks.results import Case, Results

__all__ = ["chart"]

_WIDTH, _HEIGHT = 430, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 34, 44
_COLUMNS = 2
_LEGEND = 30
_COLOURS = {
    "files": "#0b62a4",
    "files x2": "#5aa9e6",
    "memory": "#7b52ab",
    "memory x2": "#b79ad6",
    "distribution": "#c44536",
    "seed": "#8a6d3b",
    "nginx": "#5b8c5a",
}
_STEPS = 4

Curve = Sequence[tuple[int, float, float, float]]


def chart(results: Results, question: str) -> str | None:
    """All curves of a question; ``None`` where it has none."""
    panels = list(_panels(results, question))
    if not panels:
        return None
    rows = (len(panels) + _COLUMNS - 1) // _COLUMNS
    width, height = _COLUMNS * _WIDTH, rows * _HEIGHT + _LEGEND
    names = [name for name in _COLOURS if any(name in curves for _, curves in panels)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_legend(names),
    ]
    for index, (case, curves) in enumerate(panels):
        x, y = index % _COLUMNS * _WIDTH, index // _COLUMNS * _HEIGHT + _LEGEND
        parts += [f'<g transform="translate({x} {y})">', *_panel(case, curves), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panels(results: Results, question: str) -> Iterator[tuple[Case, Mapping[str, Curve]]]:
    """Cases that differ in their size only, with the curve of each subject that was measured at more than one."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in results.of(question):
        if case.size is not None:
            groups.setdefault((case.title, case.detail), []).append(case)
    for cases in groups.values():
        cases.sort(key=lambda case: case.size or 0)
        curves = {subject: _curve(results, cases, subject) for subject in results.subjects(cases)}
        curves = {subject: curve for subject, curve in curves.items() if len(curve) > 1 and subject in _COLOURS}
        if curves:
            yield cases[0], curves


def _curve(results: Results, cases: Sequence[Case], subject: str) -> Curve:
    points = []
    for case in cases:
        summary = summarize(results.values(case, subject))
        if summary is not None and case.size is not None:
            points.append((case.size, summary.median, summary.low, summary.high))
    return points


def _legend(names: Sequence[str]) -> Iterator[str]:
    for index, name in enumerate(names):
        x = 16 + index * 100
        yield f'<line x1="{x}" y1="16" x2="{x + 18}" y2="16" stroke="{_COLOURS[name]}" stroke-width="2.5"/>'
        yield f'<text x="{x + 24}" y="20" fill="#222222">{escape(name)}</text>'


def _panel(case: Case, curves: Mapping[str, Curve]) -> Iterator[str]:
    sizes = sorted({size for curve in curves.values() for size, *_ in curve})
    top = _round_up(max(high for curve in curves.values() for *_, high in curve))
    title = ", ".join(part for part in (case.title, case.detail, case.unit) if part)
    yield f'<text x="12" y="16" font-weight="bold" fill="#222222">{escape(title)}</text>'
    for step in range(_STEPS + 1):
        value = top * step / _STEPS
        y = _y(value, top)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#e3e3e3"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#555555">{value:,.4g}</text>'
    for size in sizes:
        x = _x(size, sizes)
        yield f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle" fill="#555555">{size:,}</text>'
    yield f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 10}" text-anchor="end" fill="#555555">{escape(case.of)}</text>'
    for name, curve in curves.items():
        yield from _line(_COLOURS[name], [(_x(size, sizes), *(_y(v, top) for v in values)) for size, *values in curve])


def _line(colour: str, points: Sequence[tuple[float, ...]]) -> Iterator[str]:
    path = " ".join(f"{x:.1f},{middle:.1f}" for x, middle, _, _ in points)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, middle, low, high in points:
        yield f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" stroke="{colour}"/>'
        yield f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="3" fill="{colour}"/>'


def _x(size: int, sizes: Sequence[int]) -> float:
    """Sizes stand at equal distances: each is some times the one before."""
    return _LEFT + 20 + (_WIDTH - _LEFT - _RIGHT - 40) * sizes.index(size) / max(len(sizes) - 1, 1)


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * value / top


def _round_up(value: float) -> float:
    """A little more, with few digits, so that the axis can be read."""
    unit: float = 10 ** (len(str(int(value))) - 1) if value >= 1 else 10.0**-4
    while True:
        for factor in (1, 2, 4, 8):
            if value <= unit * factor:
                return unit * factor
        unit *= 10
