"""Copies that a run plants among its own queries → the threshold that reaches the wanted precision.

    sample → edited copies → searched and verified as queries → evidence → threshold, recall

A planted copy must be found with the image that it was made of. Every other image that it is
reported with is a false alarm, unless that image was a copy of the same original all along: then
the two are nearly certain copies without any edit, and the pair counts for nothing.

Some hundred copies say little about a few per cent. So they are weighed with what the bundled
calibration measured: at each threshold its precision counts like `_WEIGHT` pairs more (the mean of
the posterior of a binomial share whose prior is a beta distribution; Gelman et al., Bayesian Data
Analysis, section 2.4). A precision that was asked for is taken at its word: the threshold is where
that mean reaches it, above the bundled calibration's or below. Where nobody asked for one, the
threshold of the bundled calibration stays as long as what is wanted by default is within the 95 %
interval there: so few copies cannot tell .96 from .97. Where many look-alikes are met, it moves.

The rarer copies are among the queries of a search, the more of what it reports are strangers. How
many queries have a copy is told by the search's scores (`share_of_copies`).
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.special import betaincinv

from copydetect.errors import OptionError
from copydetect.intervals import wilson
from copydetect.json_values import parse_as
from copydetect.self_check import SelfCheck
from copydetect.types import Bools, Doubles
from copydetect.verification.calibration import Calibration, OperatingPoint

LEAST_IMAGES = 300
"""Among fewer images, a sample says less than the bundled calibration."""
SAME_COLLECTION = 0.9
"""Share of the images of two collections together that both must have, so that the result of one
check holds for the other."""
NEARLY_CERTAIN = 0.9
"""From this confidence up, two images of a collection are taken for copies that it has anyway."""
_FEWEST, _IMAGES_PER_COPY, _MOST = 50, 100, 150
LIKELY_SCORE = 0.0
"""The search takes a pair for copies from this score up, in log-odds."""
_SKETCHED = 512
_WEIGHT = 60
_STUDIED_SHARE = 0.5
"""Share of the queries that have a copy in the bundled calibrations; see `LabelledPairs.of`."""
_STEPS = 201
_REPORTED_LEAST = 0.1
"""Whatever the threshold, it leaves at least this share of the planted copies that can be
reported."""
_INTERVAL = (0.025, 0.975)
_FEWEST_OF_A_KIND = 8
_SHOWN = 3


@dataclass(frozen=True)
class PlantedCopy:
    """A copy that was planted: its original, what was done to it, and the confidence of the pair of
    both; 0 where it was not found."""

    original_id: str
    kinds: tuple[str, ...]
    confidence: float


@dataclass(frozen=True)
class LookAlikePair:
    """A planted copy, by the image that it was made of, and another image that it resembles."""

    original_id: str
    reference_id: str
    confidence: float


@dataclass(frozen=True)
class PlantedEvidence:
    """The results for the planted copies.

    settings: digest of what decides it; sketch: the smallest hashes of the images, of queries and
    references together;
    strangers: pairs with images that are no copies of the original; known: confidences of pairs
    with images that certainly are; left_out: how many pairs with other images are not strangers;
    likely_copies: share of the planted copies that the search alone takes for copies of their
    originals; likely_strangers: share of those that it takes for copies of a stranger.
    """

    settings: str
    sketch: tuple[str, ...]
    copies: tuple[PlantedCopy, ...]
    strangers: tuple[LookAlikePair, ...]
    known: tuple[float, ...]
    left_out: int
    likely_copies: float
    likely_strangers: float

    def to_json(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def parse(data: bytes) -> PlantedEvidence:
        """What `to_json` gave; ValueError where it is damaged."""
        return parse_as(PlantedEvidence, data)

    def holds_for(self, settings: str, sketch: Sequence[str]) -> bool:
        """Whether it tells of images with this sketch, searched with these settings."""
        return settings == self.settings and shared_share(self.sketch, sketch) >= SAME_COLLECTION


def copies_to_plant(images: int) -> int:
    """How many copies to plant: enough to measure, at a small part of a run's time: 50 to 150."""
    return min(_FEWEST + images // _IMAGES_PER_COPY, _MOST)


def sampling_points(count: int, seed: int = 0) -> Iterator[str]:
    """Hashes, in hex, that are drawn at random: each stands for the image with the next one.

    Three times as many as are wanted, for some may lead to one image, or to one that is unreadable.
    """
    for number in range(3 * count):
        yield hashlib.sha256(f"{seed}\0planted\0{number}".encode()).hexdigest()


def sketch_of(hashes: Iterable[str]) -> tuple[str, ...]:
    """The smallest of the images' hashes, shortened. hashes: ascending, repeats together."""
    smallest: dict[str, None] = {}
    for value in hashes:
        smallest[value[:16]] = None
        if len(smallest) == _SKETCHED:
            break
    return tuple(smallest)


def shared_share(one: Sequence[str], other: Sequence[str]) -> float:
    """How much two collections share, 0…1: of all their images those that are in both.

    Estimated from the smallest hashes of each (Broder 1997; exact where all are there).
    """
    union = sorted({*one, *other})[:_SKETCHED]
    both = set(one) & set(other)
    return sum(value in both for value in union) / max(len(union), 1)


def share_of_copies(evidence: PlantedEvidence, likely: int, queries: int) -> float:
    """The share of a search's queries that have a copy, above 0 and at most 1.

    likely: how many of them the search takes for copies, of whatever image. It misses some copies
    and takes some strangers for copies; planted ones tell how many of each (adjusted count: Forman,
    Data Mining and Knowledge Discovery 17, 2008). Few queries say little: `_WEIGHT` more, half of
    them copies, are added.
    """
    share, apart = _STUDIED_SHARE, evidence.likely_copies - evidence.likely_strangers
    if queries and apart > 0:
        share = (likely / queries - evidence.likely_strangers) / apart
    counted = queries * min(max(share, 0.0), 1.0) + _WEIGHT * _STUDIED_SHARE
    return counted / (queries + _WEIGHT)


def judged(
    evidence: PlantedEvidence,
    wanted: float,
    least: float,
    planted_by: Calibration,
    used: Calibration,
    share: float | None = _STUDIED_SHARE,
    asked: bool = False,
) -> SelfCheck:
    """The threshold from which a wanted share of the reported pairs are copies.

    wanted, asked: the wanted precision, and whether somebody asked for it; least: no threshold is
    below it. planted_by: the calibration of the planted copies' confidences, which are queries in a
    collection; used: that of the run's own pairs; share: of the queries, that have a copy; None
    where the pairs are those of a pile. There each planted copy has its original and the copies
    that the pile holds of it, and the threshold is the one for which `used` promises what
    `planted_by` must promise here, so that what was wanted is kept: but no more than was wanted,
    where these pictures are easier than those of the bundled calibration.
    """
    copies = np.array([copy.confidence for copy in evidence.copies])
    strangers = np.array([met.confidence for met in evidence.strangers])
    thresholds, promised = _promises(planted_by, np.concatenate([copies, strangers]), least)
    held = np.concatenate([copies, evidence.known if share is None else ()])
    copies_each = share or len(held) / len(copies)
    promised = _of_another_share(promised, copies_each)
    right = copies_each * len(copies) / len(held) * _at_least(held, thresholds)
    means, lows, highs = _posterior(right, _likely_at_least(strangers, thresholds), promised)
    enough = np.flatnonzero(means >= wanted)
    kept = _row_of(planted_by, wanted, least, thresholds)
    if not asked and kept is not None and lows[kept] <= wanted <= highs[kept]:
        at, own = kept, _bundled(used, wanted, least)
    else:
        at, own = int(enough[0]) if len(enough) else int(means.argmax()), None
    threshold = float(thresholds[at])
    if own is None:
        most = wanted if kept is not None and lows[kept] > wanted else 1.0
        own = _of_own_pairs(threshold, min(float(promised[at]), most), planted_by, used, least)
    return _described(
        evidence,
        threshold,
        SelfCheck(
            wanted=wanted,
            threshold=own,
            expected=float(means[at]),
            expected_low=float(lows[at]),
            expected_high=float(highs[at]),
            reached=bool(len(enough)) or at == kept,
            share=share or 0.0,
        ),
    )


def _described(evidence: PlantedEvidence, threshold: float, check: SelfCheck) -> SelfCheck:
    """The check with what became of the planted copies at a threshold of their confidences."""
    found = np.array([copy.confidence >= threshold for copy in evidence.copies])
    low, high = wilson(int(found.sum()), len(found))
    kind, share = _weakest(evidence.copies, found)
    alarms = sorted(
        (met for met in evidence.strangers if met.confidence >= threshold),
        key=lambda met: (-met.confidence, met.original_id, met.reference_id),
    )
    shown = dict.fromkeys((met.original_id, met.reference_id) for met in alarms)
    return replace(
        check,
        planted=len(found),
        recall=float(found.mean()),
        recall_low=low,
        recall_high=high,
        weakest_kind=kind,
        weakest_recall=share,
        strangers=len(alarms),
        look_alikes=tuple(shown)[:_SHOWN],
        met=len(evidence.strangers),
        left_out=evidence.left_out,
    )


def _promises(calibration: Calibration, seen: Doubles, least: float) -> tuple[Doubles, Doubles]:
    """(n,) thresholds, ascending, and the precision that the calibration promises at each."""
    points = calibration.points
    known = np.array([point.threshold for point in points])
    steps = np.linspace(least, 1, _STEPS)
    thresholds = np.unique(np.concatenate([known, seen, steps]))
    thresholds = thresholds[(thresholds >= least) & (thresholds > 0)]
    return thresholds, np.interp(thresholds, known, [_sure_share(point) for point in points])


def _of_another_share(promised: Doubles, share: float) -> Doubles:
    """Precisions (n,) where the queries have another number of copies each, and meet as many
    strangers as before."""
    right = promised * share / _STUDIED_SHARE
    return np.asarray(right / (right + 1 - promised), np.float64)


def _sure_share(point: OperatingPoint) -> float:
    """Its precision; where no pair was wrong, the next one could still be."""
    return min(point.precision, 1 - 1 / (point.pairs + 1))


def _bundled(calibration: Calibration, wanted: float, least: float) -> float | None:
    """The threshold of a calibration; None where it cannot have this precision."""
    try:
        return max(calibration.threshold_for(wanted), least)
    except OptionError:
        return None


def _row_of(
    calibration: Calibration, wanted: float, least: float, thresholds: Doubles
) -> int | None:
    """The row of the calibration's own threshold; None where it has none."""
    threshold = _bundled(calibration, wanted, least)
    if threshold is None:
        return None
    return min(int(np.searchsorted(thresholds, threshold)), len(thresholds) - 1)


def _at_least(values: Doubles, thresholds: Doubles) -> Doubles:
    return len(values) - np.searchsorted(np.sort(values), thresholds).astype(np.float64)


def _likely_at_least(values: Doubles, thresholds: Doubles) -> Doubles:
    """How many of as many values drawn anew are likely to reach each threshold (n,).

    Few values make a curve of high steps. Here it runs straight from the middle of one value's step
    to the middle of the next (the plotting positions of Hazen, Trans. ASCE 77, 1914).
    """
    if not len(values):
        return np.zeros(len(thresholds))
    different, times = np.unique(values, return_counts=True)
    reached = _at_least(values, different)
    counts = np.column_stack([reached - 0.5, reached - times + 0.5]).ravel()
    # Values turned negative: at several equal ones np.interp then counts them all.
    places = -np.repeat(different, 2)[::-1]
    return np.interp(-thresholds, places, counts[::-1], left=0.0, right=len(values))


def _posterior(
    right: Doubles, wrong: Doubles, promised: Doubles
) -> tuple[Doubles, Doubles, Doubles]:
    a, b = right + _WEIGHT * promised, wrong + _WEIGHT * (1 - promised)
    low, high = (np.asarray(betaincinv(a, b, share), np.float64) for share in _INTERVAL)
    # Where hardly any copy is left, only the bundled calibration speaks, not this collection.
    means = np.where(right >= _REPORTED_LEAST * right[0], a / (a + b), 0.0)
    return means, low, high


def _of_own_pairs(
    threshold: float, promised: float, planted_by: Calibration, used: Calibration, least: float
) -> float:
    if used.identity == planted_by.identity:
        return threshold
    own = _bundled(used, promised, least)
    return max(used.points[-1].threshold, least) if own is None else own


def _weakest(copies: Sequence[PlantedCopy], found: Bools) -> tuple[str, float]:
    """The kind of edit whose copies were found least, and the share that was."""
    outcomes: dict[str, list[bool]] = defaultdict(list)
    for copy, was_found in zip(copies, found.tolist(), strict=True):
        for kind in copy.kinds:
            outcomes[kind].append(was_found)
    shares = {
        kind: float(np.mean(values))
        for kind, values in sorted(outcomes.items())
        if len(values) >= _FEWEST_OF_A_KIND
    }
    if not shares:
        return "", 0.0
    kind = min(shares, key=lambda one: shares[one])
    return kind, shares[kind]
