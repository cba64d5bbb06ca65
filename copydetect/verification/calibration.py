"""The confidence of a pair → the probability that it is a copy, the threshold for a wanted
precision, and whether the pair counts as a copy.

    confidence, score → logistic regression (→ isotonic steps) → P(copy) → threshold for a precision

A decision's confidence holds for the pictures that it was trained on. On labelled pairs of another
collection it is mapped again, together with the search's score, which the decision has not seen
(Platt 1999; isotonic regression as in Zadrozny and Elkan, KDD 2002). Everything is kept as plain
numbers in JSON. `training.calibration_fit` makes one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from copydetect.errors import InputError, OptionError
from copydetect.json_values import parse_as
from copydetect.models import MODELS
from copydetect.storage.files import Storage
from copydetect.verification.decisions import BUNDLED_DECISION
from copydetect.verification.relations import BUNDLED_RELATIONS

Task = Literal["dedup", "match"]
"""Copies inside one collection, or queries that are copies of references.

A pile holds look-alikes of its own, and many edited copies that share a screen, a frame or a logo;
queries meet references only. So a confidence does not mean the same for both.
"""

FILE_NAMES: Mapping[Task, str] = {"dedup": "calibration.json", "match": "calibration-match.json"}
_MODELS = MODELS
_CLIP = 1e-4
_SCORE_LIMIT = 25.0
_ROUNDING = 1e-6
_SURELY_OTHER = 0.8
"""Probability of other content above which a pair is no copy, however low the threshold. Of the
pairs of two studies, three piles and a benchmark with a confidence of at least .05, 45 of 414 above
it are copies, and 44 of 106 from .5 to .8."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ProbabilityMap:
    """P(copy) = σ(steps(x)), x = intercept + confidence · logit(confidence) + score · score.

    confidence, score: weights, at least 0; steps: (x, log-odds) with both ascending, between which
    is interpolated and beyond which the slope is 1; none: log-odds are x itself.
    """

    confidence: float = 1.0
    score: float = 0.0
    intercept: float = 0.0
    steps: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.confidence, self.score, self.intercept, *chain(*self.steps))
        if not all(map(math.isfinite, numbers)) or min(self.confidence, self.score) < 0:
            raise ValueError("the map's numbers must be finite, its weights at least 0")
        if any(sorted(values) != list(values) for values in zip(*self.steps, strict=True)):
            raise ValueError("the map's steps must ascend")

    def evidence(self, confidences: npt.ArrayLike, scores: npt.ArrayLike) -> Floats:
        """x of pairs, (n,)."""
        scores = np.clip(np.asarray(scores, np.float64), -_SCORE_LIMIT, _SCORE_LIMIT)
        weighted = self.confidence * log_odds(confidences) + self.score * scores
        return np.asarray(self.intercept + weighted, np.float64)

    def apply(self, confidences: npt.ArrayLike, scores: npt.ArrayLike) -> Floats:
        """P(copy) of pairs, (n,) in [0, 1]: never falls where confidence or score rises.

        confidences: (n,) in [0, 1]; 1 is proof, such as equal pixels, and stays 1.
        """
        x = self.evidence(confidences, scores)
        if self.steps:
            known, odds = np.array(self.steps).T
            beyond = np.minimum(x - known[0], 0) + np.maximum(x - known[-1], 0)
            x = np.interp(x, known, odds) + beyond
        probabilities = 1 / (1 + np.exp(-np.clip(x, -60, 60)))
        return np.where(np.asarray(confidences) >= 1, 1.0, probabilities)


@dataclass(frozen=True)
class OperatingPoint:
    """Precision and recall from `threshold` up, measured on pairs that the map had not seen.

    pairs: how many are reported; low, high: Wilson's 95 % interval of the precision; recall: of all
    copies that were made, found by the search or not.
    """

    threshold: float
    precision: float
    low: float
    high: float
    recall: float
    pairs: int

    def __post_init__(self) -> None:
        shares = (self.threshold, self.precision, self.low, self.high, self.recall)
        if not all(-_ROUNDING <= share <= 1 + _ROUNDING for share in shares) or self.pairs < 0:
            raise ValueError(f"a point's shares must be 0 to 1: {shares}, {self.pairs} pairs")


@dataclass(frozen=True)
class Calibration:
    """A map from confidence to probability, and its measured operating points.

    points: ascending in threshold, precision and descending in recall; decision: digest of the
    decision's file that it belongs to; channels: of the search that made the scores, none where
    the score has no weight; reliability, thresholds, sample: what was measured, by kind of edit
    too, and on what, for people to read.
    """

    map: ProbabilityMap
    points: tuple[OperatingPoint, ...]
    decision: str
    channels: tuple[str, ...] = ()
    reliability: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    sample: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def load(storage: Storage, uri: str, task: Task = "dedup") -> Calibration:
        """Read a file, or the one for this task in a folder; InputError where it is none.

        The one for dedup, the more careful, stands in for one that could not be made.
        """
        if not uri.endswith(".json"):
            folder = uri.rstrip("/")
            uri = f"{folder}/{FILE_NAMES[task]}"
            if not storage.exists(uri):
                uri = f"{folder}/{FILE_NAMES['dedup']}"
        return _parsed(storage.read(uri), uri)

    def save(self, storage: Storage, uri: str) -> None:
        """Write as JSON."""
        text = json.dumps(asdict(self), indent=1)
        storage.write(uri, text.encode())

    @property
    def identity(self) -> str:
        """Digest of everything that decides results."""
        decisive = [asdict(self.map), [asdict(point) for point in self.points], self.channels]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]

    @property
    def is_current(self) -> bool:
        """Whether it was made with the decision that is installed."""
        return self.decision == decision_digest()

    def apply(self, confidences: npt.ArrayLike, scores: npt.ArrayLike) -> Floats:
        """P(copy) of pairs, (n,); see `ProbabilityMap.apply`."""
        return self.map.apply(confidences, scores)

    def point_for(self, precision: float) -> OperatingPoint:
        """The lowest threshold from which pairs are at least this precise.

        OptionError where no threshold is: it says which precision can be reached. A precision
        counts as reached only if so many pairs are reported that one more wrong pair would show.
        """
        if not 0 < precision < 1:
            raise OptionError(f"--precision is {precision}; it must be above 0 and below 1")
        for point in self.points:
            if point.precision >= precision and point.pairs >= pairs_to_show(precision):
                return point
        raise OptionError(self._unreachable(precision))

    def threshold_for(self, precision: float) -> float:
        """The confidence from which pairs are at least this precise; OptionError as above."""
        return self.point_for(precision).threshold

    def _unreachable(self, precision: float) -> str:
        shown = [point for point in self.points if point.pairs >= pairs_to_show(point.precision)]
        if not shown:
            return f"--precision {precision} cannot be reached: this calibration found no copies"
        # With no wrong pair at all, the next one could still be wrong.
        best = max(shown, key=lambda point: (point.precision, point.recall))
        said = min(best.precision, 1 - 1 / (best.pairs + 1))
        return (
            f"--precision {precision} cannot be reached: the most that this calibration can show "
            f"is {said:.3f} ({best.low:.3f} … {best.high:.3f}, {best.pairs} pairs) from a "
            f"confidence of {best.threshold:.3f} up, with a recall of {best.recall:.2f}; more can "
            f"only be shown with a larger --sample, or on images that are easier to tell apart"
        )


IDENTITY = Calibration(ProbabilityMap(), (), "")
"""Leaves confidences as the decision gives them."""


def bundled_name(channels: tuple[str, ...], task: Task, effort: str = "") -> str:
    """The file of the calibration for these channels; by confidence alone where there are none.

    effort: of a search whose scores mean something else than usual.
    """
    parts = ["calibration", task, *(channels or ("confidence",)), *([effort] if effort else [])]
    return f"{'-'.join(parts)}.json"


@lru_cache(maxsize=8)
def bundled_calibration(
    channels: tuple[str, ...], task: Task = "dedup", effort: str = ""
) -> Calibration:
    """The one that comes with the package: for these channels at this effort, else at any, else by
    confidence alone."""
    names = (bundled_name(channels, task, effort), bundled_name(channels, task))
    paths = [_MODELS / name for name in (*names, bundled_name((), task))]
    path = next(path for path in paths if path.exists())
    return _parsed(path.read_bytes(), str(path))


def decision_digest() -> str:
    """16 hex digits that identify the installed decisions, on copies and on relations."""
    content = BUNDLED_DECISION.read_bytes() + BUNDLED_RELATIONS.read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


def pairs_to_show(precision: float) -> int:
    """How many pairs must be reported before a precision can be shown: among fewer, one wrong pair
    is more than it allows."""
    return int(np.ceil(1 / max(1 - precision, 1e-3) - 1e-9))


def are_copies(
    confidences: npt.ArrayLike, other_content: npt.ArrayLike, least: float
) -> npt.NDArray[np.bool_]:
    """(n,) bool: which pairs count as copies: those of at least this confidence, but none that the
    pixels surely say to be one page, picture or layout with other content."""
    sure, other = np.asarray(confidences), np.asarray(other_content)
    return np.asarray((sure >= least) & ~(other > _SURELY_OTHER), np.bool_)


def log_odds(confidences: npt.ArrayLike) -> Floats:
    """log(p / (1 − p)), (n,), of probabilities kept off 0 and 1."""
    clipped = np.clip(np.asarray(confidences, np.float64), _CLIP, 1 - _CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)), np.float64)


def _parsed(data: bytes, uri: str) -> Calibration:
    try:
        return parse_as(Calibration, data)
    except ValueError as error:
        raise InputError(f"{uri} is not a calibration of copydetect: {error}") from error
