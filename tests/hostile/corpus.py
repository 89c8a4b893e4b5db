"""The corpus: each request as it goes over the wire, and the statuses that answer it.

A text in ``corpus.json`` may be a list of parts, of which ``[unit, count]`` is the unit so many times, with ``{i}`` for
the number of the repetition. ``raw`` replaces the whole request. ``{upload}`` is the path of an upload session made
before, ``{upload?}`` the same ready for a parameter, ``{upload@other/repo}`` the same in another repository.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).with_name("corpus.json")

Text = str | Sequence[str | tuple[str, int]]


@dataclass(frozen=True)
class Case:
    """One request, and what must come of it. ``statuses`` begins with the answer that we mean to give."""

    id: str
    why: str
    method: str
    statuses: tuple[int, ...]
    code: str | None
    setup: str | None
    may_close: bool
    request: Mapping[str, Any]

    @property
    def is_raw(self) -> bool:
        return "raw" in self.request

    def wire(self, host: str, upload: str, shown: Mapping[str, str] | None = None) -> bytes:
        """The bytes to send to ``host``; with headers that show who sends them, where they do not say it themselves."""
        if self.is_raw:
            return _expand(self.request["raw"]).encode("latin-1")
        path = _with_upload(_expand(self.request["path"]), upload)
        headers = {name: _with_upload(_expand(text), upload) for name, text in self.request.get("headers", {}).items()}
        body = self._body()
        headers = {**(shown or {}), **headers}
        names = {name.lower() for name in headers}
        if "host" not in names:
            headers = {"Host": host, **headers}
        if not names & {"content-length", "transfer-encoding"} and (body or self.method in ("PUT", "POST", "PATCH")):
            headers["Content-Length"] = str(len(body))
        headers["Connection"] = "close"
        lines = [f"{self.method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + body

    def _body(self) -> bytes:
        if "body_latin1" in self.request:
            return _expand(self.request["body_latin1"]).encode("latin-1")
        return _expand(self.request.get("body", "")).encode("utf-8", "surrogatepass")


def load() -> list[Case]:
    """All cases."""
    return [
        Case(
            id=row["id"],
            why=row["why"],
            method=_expand(row["method"]),
            statuses=tuple(row["expect"]),
            code=row.get("code"),
            setup=row.get("setup"),
            may_close=row.get("allow_no_response", False),
            request=row,
        )
        for row in json.loads(CORPUS.read_text(encoding="ascii"))
    ]


def _expand(text: Text) -> str:
    if isinstance(text, str):
        return text
    return "".join(part if isinstance(part, str) else _repeat(*part) for part in text)


def _repeat(unit: str, count: int) -> str:
    if "{i}" not in unit:
        return unit * count
    return "".join(unit.replace("{i}", str(i)) for i in range(count))


def _with_upload(text: str, upload: str) -> str:
    text = re.sub(r"\{upload@([^}]*)\}", lambda other: re.sub(r"(?<=/v2/).*(?=/blobs/)", other[1], upload), text)
    return text.replace("{upload?}", f"{upload}?").replace("{upload}", upload)
