"""Where a script writes what it has measured: between two marks in a document."""

import sys
from pathlib import Path

__all__ = ["write_figures"]

_DOCUMENTS = Path(__file__).parents[1] / "docs"
_END = "<!-- end of figures -->\n"


def write_figures(document: str, script: str, found: str) -> None:
    """Put the figures of a script into a document of ``docs``, in the place of those from before, and show them."""
    path, begin = _DOCUMENTS / document, f"<!-- figures: {script} -->\n"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    path.write_text(f"{before}{begin}{found}{_END}{rest.split(_END, 1)[1]}", encoding="utf-8")
    sys.stdout.write(found)
