"""The log of a training run: one line of JSON per report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from copydetect.training.validation import ValidationFigures


@dataclass(frozen=True)
class Report:
    """The state of training at a step: mean loss, and views per second, since the report before.

    validation: of copies by kinds of edits that are not trained on; familiar: of others.
    """

    step: int
    loss: float
    learning_rate: float
    views_per_second: float
    skipped_steps: int
    validation: ValidationFigures
    familiar: ValidationFigures

    def __str__(self) -> str:
        return (
            f"step {self.step}: loss {self.loss:.3f}, {self.views_per_second:.0f} views/s, "
            f"validation by edits held out: {self.validation}, by others: {self.familiar}"
        )


def append(path: Path, report: Report) -> None:
    """Add one line to the log."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(report)) + "\n")


def read(path: Path, up_to_step: int) -> list[Report]:
    """The reports up to a step, from which an interrupted run continues."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    both = ("validation", "familiar")
    reports = [
        Report(**line | {name: ValidationFigures(**line[name]) for name in both}) for line in lines
    ]
    return [report for report in reports if report.step <= up_to_step]


def rewrite(path: Path, reports: Sequence[Report]) -> None:
    """Replace the log by these reports."""
    path.write_text("".join(json.dumps(asdict(r)) + "\n" for r in reports), encoding="utf-8")
