"""What was measured: a case is something that is asked of several subjects, a sample is what one round of it gave."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

__all__ = ["Case", "Results", "Sample"]


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a table."""

    question: str
    """The name of the question that it belongs to."""
    title: str
    """What is done."""
    unit: str
    detail: str = ""
    """How it is done."""
    size: int | None = None
    """How many of something there are: cases that differ in nothing else are one curve."""
    of: str = ""
    """What there are so many of."""
    lower_is_better: bool = False

    @property
    def name(self) -> str:
        """All of it that tells it from others."""
        word = self.of.removesuffix("s") if self.size == 1 else self.of
        size = "" if self.size is None else f"{self.size:,} {word}"
        return ", ".join(part for part in (self.title, size, self.detail) if part)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round gave, and what else was seen meanwhile."""

    value: float
    more: Mapping[str, float] = field(default_factory=dict)


class Results:
    """Samples by case and subject, in the order in which they came."""

    def __init__(self, facts: Mapping[str, Any] | None = None) -> None:
        self.facts: dict[str, Any] = dict(facts or {})
        self.cases: dict[str, Case] = {}
        self._samples: dict[tuple[str, str], list[Sample]] = {}
        self.failures: dict[tuple[str, str], str] = {}

    def declare(self, *cases: Case) -> None:
        """Say in which order cases are told of, where it is not the one in which they end."""
        for case in cases:
            self.cases.setdefault(case.name, case)

    def add(self, case: Case, subject: str, sample: Sample) -> None:
        """Record one round."""
        self.cases.setdefault(case.name, case)
        self._samples.setdefault((case.name, subject), []).append(sample)

    def fail(self, case: Case, subject: str, reason: str) -> None:
        """Record that a subject could not do it."""
        self.cases.setdefault(case.name, case)
        self.failures.setdefault((case.name, subject), reason)

    def values(self, case: Case, subject: str) -> list[float]:
        """The values of all rounds."""
        return [sample.value for sample in self._samples.get((case.name, subject), [])]

    def more(self, case: Case, subject: str, key: str) -> list[float]:
        """Something else that was seen in each round."""
        samples = self._samples.get((case.name, subject), [])
        return [sample.more[key] for sample in samples if key in sample.more]

    def subjects(self, cases: Sequence[Case]) -> list[str]:
        """Who took part in any of these cases, in the order in which they came."""
        names = {case.name for case in cases}
        found = (subject for name, subject in [*self._samples, *self.failures] if name in names)
        return list(dict.fromkeys(found))

    def of(self, question: str) -> list[Case]:
        """The cases of a question."""
        return [case for case in self.cases.values() if case.question == question]

    def as_json(self) -> str:
        """All of it, one line for each case and subject."""
        facts = json.dumps(self.facts, indent=1)
        lines = ",\n".join(f"  {json.dumps(record)}" for record in self._records())
        return f'{{"facts": {facts},\n "results": [\n{lines}\n ]}}\n'

    def _records(self) -> Iterator[dict[str, Any]]:
        for name, case in self.cases.items():
            for subject in self.subjects([case]):
                samples = self._samples.get((name, subject), [])
                record = {**asdict(case), "subject": subject, "values": [_short(sample.value) for sample in samples]}
                keys = dict.fromkeys(key for sample in samples for key in sample.more)
                record["more"] = {key: [_short(value) for value in self.more(case, subject, key)] for key in keys}
                if (name, subject) in self.failures:
                    record["failure"] = self.failures[name, subject]
                yield record

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``as_json`` wrote."""
        document = json.loads(text)
        results = cls(document["facts"])
        for record in document["results"]:
            subject, values, more = record.pop("subject"), record.pop("values"), record.pop("more")
            failure = record.pop("failure", None)
            case = Case(**record)
            for index, value in enumerate(values):
                seen = {key: column[index] for key, column in more.items() if index < len(column)}
                results.add(case, subject, Sample(value, seen))
            if failure is not None:
                results.fail(case, subject, failure)
        return results


def _short(value: float) -> float:
    """A number without digits that mean nothing."""
    return float(f"{value:.5g}")
