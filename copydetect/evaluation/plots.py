"""Figures of an evaluation as SVG: the precision–recall curve and the reliability diagram."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from copydetect.evaluation.metrics import (
    PrecisionRecallCurve,
    Reliability,
    micro_average_precision,
    precision_recall_curve,
    reliability,
)
from copydetect.intervals import wilson
from copydetect.types import Bools

_COLOURS = ("#2563eb", "#c2410c", "#15803d", "#7e22ce")
_GREY = "#64748b"


def precision_recall_svg(curves: Mapping[str, PrecisionRecallCurve]) -> bytes:
    """Precision over recall, one line per named ranking, with its micro-AP."""
    figure = Figure(figsize=(6.0, 4.4), layout="constrained")
    axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    for colour, (name, curve) in zip(_COLOURS, curves.items(), strict=False):
        label = f"{name}: micro-AP {micro_average_precision(curve):.3f}"
        recalls = np.concatenate([np.zeros_like(curve.recalls[:1]), curve.recalls])
        precisions = np.concatenate([curve.precisions[:1], curve.precisions])
        axes.step(recalls, precisions, color=colour, label=label, where="pre")
    axes.axhline(0.9, color=_GREY, linewidth=0.8, linestyle=":")
    axes.grid(color=_GREY, alpha=0.2)
    axes.legend(loc="lower left")
    return _svg(figure)


def reliability_svg(result: Reliability) -> bytes:
    """The share of copies among pairs of like confidence, with Wilson's 95 % intervals, over how
    many pairs there are of each."""
    figure = Figure(figsize=(5.0, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    widths = np.diff(result.edges)
    heights = np.nan_to_num(result.copy_fractions)
    above.bar(
        result.edges[:-1],
        heights,
        widths,
        align="edge",
        color=_COLOURS[0],
        edgecolor="white",
        alpha=0.75,
    )
    above.plot([0, 1], [0, 1], color=_GREY, linestyle="--", label="perfectly honest")
    _points_with_intervals(above, result)
    error = result.expected_calibration_error
    above.set(ylim=(0, 1), xlim=(0, 1), ylabel="share that are copies")
    above.set_title(f"expected calibration error {error:.3f}", fontsize=10)
    above.legend(loc="upper left")
    below.bar(result.edges[:-1], result.counts, widths, align="edge", color=_GREY, log=True)
    below.set(xlabel="confidence", ylabel="pairs")
    return _svg(figure)


def calibration_svg(probabilities: npt.NDArray[np.floating], labels: Bools, copies: int) -> bytes:
    """Reliability of labelled pairs, and precision and recall over the threshold.

    probabilities: (n,) in [0, 1], labels: (n,); copies: how many there were to be found.
    """
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    result = reliability(probabilities, labels)
    left.plot([0, 1], [0, 1], color=_GREY, linestyle="--", label="perfectly honest")
    _points_with_intervals(left, result)
    error = result.expected_calibration_error
    left.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="share that are copies")
    left.set_title(f"expected calibration error {error:.3f}", fontsize=10)
    left.legend(loc="upper left")
    curve = precision_recall_curve(probabilities, labels, copies)
    right.plot(curve.thresholds, curve.precisions, color=_COLOURS[0], label="precision")
    right.plot(curve.thresholds, curve.recalls, color=_COLOURS[1], label="recall")
    right.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold")
    right.grid(color=_GREY, alpha=0.2)
    right.legend(loc="lower center")
    return _svg(figure)


def _points_with_intervals(axes: Axes, result: Reliability) -> None:
    filled = np.flatnonzero(result.counts)
    shares, counts = result.copy_fractions[filled], result.counts[filled]
    ends = [
        wilson(round(share * count), int(count))
        for share, count in zip(shares, counts, strict=True)
    ]
    reach = np.abs(np.array(ends).reshape(-1, 2).T - shares)
    means = result.mean_confidences[filled]
    axes.errorbar(
        means, shares, reach, fmt="o", color=_COLOURS[1], ms=4, elinewidth=1, capsize=2, zorder=3
    )


def _svg(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "copydetect", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
