"""The log of a training run: one line of JSON per report, and a drawing of it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

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


def draw(reports: Sequence[Report]) -> bytes:
    """SVG: loss, validation figures and throughput over the steps."""
    steps = [report.step for report in reports]
    figure = Figure(figsize=(7.0, 7.0), layout="constrained")
    loss, quality, speed = figure.subplots(3, 1, sharex=True)
    trained = [r for r in reports if r.step > 0]
    loss.plot([r.step for r in trained], [r.loss for r in trained], color="#c2410c")
    loss.set(ylabel="loss")
    for name, colour in (
        ("recall_at_1", "#2563eb"),
        ("micro_ap", "#64748b"),
        ("normalized_micro_ap", "#15803d"),
    ):
        values = [getattr(report.validation, name) for report in reports]
        quality.plot(steps, values, color=colour, label=name, marker=".")
        values = [getattr(report.familiar, name) for report in reports]
        quality.plot(steps, values, color=colour, linestyle=":")
    quality.set(ylabel="validation; dotted: edits\nthat are trained on")
    quality.legend(loc="lower right")
    speed.plot([r.step for r in trained], [r.views_per_second for r in trained], color="#7e22ce")
    speed.set(ylabel="views a second", xlabel="step", ylim=(0, None))
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "copydetect", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
