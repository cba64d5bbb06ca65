"""a proven pair → which of the two is the copy (Jiang et al., ASL/NDEC).

A crop is a copy of the whole: there its surroundings go on beyond what is shared. A picture inside
another one comes from outside of it: it breaks off where it was pasted. What was drawn over a
picture has edges of its own. What is softer, clipped, grey or enlarged was made from what is not.
Each sign speaks for one side; where they contradict each other the direction stays unknown. One
needs no other beside it, unless the sizes contradict it: the traces of one picture's compression in
the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix, inverse, project
from copydetect.types import Direction
from copydetect.verification.agreement import Overlap, blurred
from copydetect.verification.clipping import clipped
from copydetect.verification.compressed_before import compressed_before
from copydetect.verification.counting import number_of
from copydetect.verification.detail import changed_detail
from copydetect.verification.evidence import Evidence, frame
from copydetect.verification.laid_blocks import laid_blocks
from copydetect.verification.pair_images import Floats, PairImage
from copydetect.verification.veils import veiled

_WHOLE = 0.93
_DECIDED = 0.5
_LEAST_AGREEING_PX = 400
_COLOURS_ACROSS = 48
_FEWEST_COLOURS = 30
_COLOURED, _MOSTLY = 4.0, 0.5
_OFFSETS_PX = (-4.5, -1.5, 1.5, 4.5)
_SHORTEST_SIDE_PX = 8
_BREAK = 3.0
_GOES_ON = 2.0
_MIRRORED = 0.3
_STRUCTURE = 60.0
_DRAWN = 1.5
_DRAWN_PLAINLY = 2.4
_ALIKE = 0.7
_UPRIGHT = 0.04
_SOFTER = 0.3
_FINER_OCTAVES = 0.3
_DETAIL, _NO_DETAIL = 0.27, 0.2
"""What a reduction loses, as a part of what the octave beyond holds. Of 138 enlarged copies 3 lose
more than .27, of 209 originals of reduced ones 9 less than .2."""


@dataclass(frozen=True)
class Signs:
    """The signs of which image is the copy, and of what was done to it; 0 where a sign says
    nothing.

    in_query, in_reference: 1 where what is shared was pasted into that image, −1 where it was cut
    out of it. drawn, softer, greyer, resized: 1 where the query has something drawn over it, is
    blurred, has lost its colour, or has lost px that show something or gained some that show
    nothing; −1 for the reference. veiled, clipped, detail, compressed: of the modules of these
    names, the last `compressed_before`.
    gain, offset: what brings the query's grey levels to the reference's; saturation: log2 of the
    reference's over the query's; hue: correlation of the colours of both, NaN without colours.
    """

    in_query: float
    in_reference: float
    drawn: float
    veiled: float
    softer: float
    greyer: float
    resized: float
    clipped: float
    detail: float
    compressed: float
    gain: float
    offset: float
    saturation: float
    hue: float


def signs_of(
    evidence: Evidence, query: PairImage, reference: PairImage, closer: Matrix | None = None
) -> Signs:
    """Look at borders, at what differs, and at what agrees.

    closer: query px → reference px of both at full size, as a closer look has refined it.
    """
    matrix = evidence.alignment.matrix
    pair = evidence.pair
    agree = _spread(evidence.cells.agree, pair)
    gain, offset = _tone(pair, agree)
    greyer, saturation, hue = _compare_colours(*_colours(evidence, query, reference))
    in_query = in_reference = 0.0
    if evidence["query_overlap"] < _WHOLE:
        region = project(inverse(matrix), frame(reference))
        in_query = pasted(region, query, _Agreement(evidence, pair.to_frame))
    if evidence["reference_overlap"] < _WHOLE:
        region = project(matrix, frame(query))
        in_reference = pasted(region, reference, _Agreement(evidence, pair.reference_to_frame))
    enough = number_of(agree) >= _LEAST_AGREEING_PX
    laid = None if closer is None else laid_blocks(closer, query, reference)
    drawn, veil = _drawn(pair, agree, gain, offset) if enough else (0.0, 0.0)
    return Signs(
        in_query=in_query,
        in_reference=in_reference,
        drawn=drawn,
        veiled=veil,
        softer=_softer(pair, agree, gain, evidence["blur_px"]) if enough else 0.0,
        greyer=greyer,
        resized=_resized(evidence, query, reference),
        clipped=clipped(pair.query, pair.reference, pair.inside > 0),
        detail=changed_detail(*laid) if laid else 0.0,
        compressed=compressed_before(*laid) if laid else 0.0,
        gain=gain if enough else 1.0,
        offset=offset if enough else 0.0,
        saturation=saturation,
        hue=hue,
    )


def direction_of(signs: Signs) -> Direction:
    """Which of the two was made from the other, or unknown."""
    if signs.compressed * signs.resized < 0:
        return "unknown"
    if signs.compressed:
        return "query_is_copy" if signs.compressed > 0 else "reference_is_copy"
    votes = (
        signs.in_query - signs.in_reference,
        0.7 * signs.drawn,
        0.6 * signs.veiled,
        0.6 * (signs.detail or signs.softer),
        0.5 * signs.greyer,
        0.5 * signs.resized,
        0.6 * signs.clipped,
    )
    score = sum(votes)
    against = -min(votes) if score > 0 else max(votes)
    if abs(score) < _DECIDED or against >= _DECIDED:
        return "unknown"
    return "query_is_copy" if score > 0 else "reference_is_copy"


@dataclass(frozen=True, eq=False)
class _Agreement:
    """Where an image agrees with the other one; to_frame: its working px → px of the overlap."""

    evidence: Evidence
    to_frame: Matrix

    def __call__(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """(n,) whether these (n, 2) points lie in cells that don't contradict."""
        cells = self.evidence.cells
        marked = cells.agree | cells.flat | ~cells.used
        at = np.floor(project(self.to_frame, points) / self.evidence.pair.cell_px).astype(np.int64)
        limits = np.array(marked.shape)[::-1] - 1
        inside = ((at >= 0) & (at <= limits)).all(axis=1)
        at = np.clip(at, 0, limits)
        return np.asarray(marked[at[:, 1], at[:, 0]] & inside)


def pasted(
    region: npt.NDArray[np.float64], image: PairImage, agreement: _Agreement | None = None
) -> float:
    """1 where the image breaks off at the region's sides, so that it was pasted; −1 where it goes
    on, so that the region was cut out; 0 where the sides say nothing or contradict each other.

    region: (4, 2) corners in working px. Levels of grey are taken along lines beside each side.
    From one line to the next they change about as much across the border as they do within, if
    the picture goes on; much more, if it breaks off; and much less, if it was mirrored or smeared
    there to fill a canvas. agreement: only borders of what agrees count.
    """
    grey = blurred(image.levels[0], 0.7)
    middle = region.mean(axis=0)
    breaks, goes_on = 0.0, 0.0
    upright = _tilt(region) < _UPRIGHT
    for start, end in zip(region, np.roll(region, -1, axis=0), strict=True):
        lines = _lines_beside(start, end, middle)
        inside = (lines > 0) & (lines < [image.width_px - 1, image.height_px - 1])
        kept = inside.all(axis=(0, 2))
        if agreement is not None:
            kept &= agreement(lines[0])
        if kept.sum() < _SHORTEST_SIDE_PX:
            continue
        x, y = np.asarray(lines[:, kept].transpose(2, 0, 1), np.float32)
        sign = _side_sign(np.asarray(cv2.remap(grey, x, y, cv2.INTER_LINEAR), np.float32))
        if sign < 0 and not upright:
            continue  # crops are upright, and what fills the corners of a turned picture goes on
        breaks += max(sign, 0) * float(kept.sum())
        goes_on += max(-sign, 0) * float(kept.sum())
    if max(breaks, goes_on) < 2 * min(breaks, goes_on) or breaks == goes_on:
        return 0.0
    return 1.0 if breaks > goes_on else -1.0


def _tilt(corners: npt.NDArray[np.float64]) -> float:
    """The largest sine by which a side of a (4, 2) polygon is neither level nor plumb."""
    sides = np.abs(np.roll(corners, -1, axis=0) - corners)
    return float((sides.min(axis=1) / np.maximum(sides.max(axis=1), 1e-9)).max())


def _lines_beside(
    start: npt.NDArray[np.float64],
    end: npt.NDArray[np.float64],
    middle: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """(4, n, 2) points on lines along one side, from inside to outside."""
    along = end - start
    length = max(float(np.hypot(*along)), 1e-6)
    across = np.array([along[1], -along[0]]) / length
    if across @ (start - middle) < 0:
        across = -across
    places = start + np.linspace(0.06, 0.94, max(int(length), 2))[:, None] * along
    return np.asarray(places[None] + np.array(_OFFSETS_PX)[:, None, None] * across, np.float64)


def _side_sign(levels: Floats) -> int:
    """1: the picture breaks off between the second and third line, −1: it goes on, 0: unclear.

    levels: (4, n) grey levels on the lines.
    """
    within, across, beyond = (np.diff(levels, axis=0) ** 2).mean(axis=1)
    if across > _BREAK * max(within, beyond) + _STRUCTURE:
        return 1
    usual = (within + beyond) / 2
    structure = min(float(levels[:2].var(axis=1).mean()), float(levels[2:].var(axis=1).mean()))
    if structure < max(1.5 * usual, _STRUCTURE):
        return 0  # so plain, or so busy, that a break would not show
    if across < _MIRRORED * min(within, beyond):
        return 1
    return -1 if across < _GOES_ON * usual else 0


def _drawn(
    pair: Overlap, agree: npt.NDArray[np.bool_], gain: float, offset: float
) -> tuple[float, float]:
    """What was drawn, and what see-through was laid, over the query, or −1 the reference."""
    foretold = np.clip(gain * pair.query + offset, 0, 255)
    clipped = ((pair.query > 250) & (pair.reference > foretold)) | (
        (pair.query < 5) & (pair.reference < foretold)
    )
    difference = np.abs(pair.reference - foretold) * pair.inside * ~clipped
    some = np.s_[::2, ::2]
    limit = max(25.0, 4 * float(np.median(difference[some][agree[some]])))
    drawn = cv2.medianBlur((difference > limit).astype(np.uint8), 3).astype(bool)
    return _edged(pair, drawn, gain), veiled(foretold, pair.reference, drawn, agree)


def _edged(pair: Overlap, where: npt.NDArray[np.bool_], gain: float) -> float:
    """1 where something was drawn over the query, −1 over the reference: it has edges there."""
    share = number_of(where) / max(float(pair.inside.sum()), 1.0)
    if not 0.002 < share < 0.5:
        return 0.0
    drawn = where.astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    outline = (cv2.dilate(drawn, kernel) - cv2.erode(drawn, kernel)).astype(bool)
    query, reference = abs(gain) * _steepness(pair.query), _steepness(pair.reference)
    ratio = (float(query[outline].mean()) + 4) / (float(reference[outline].mean()) + 4)
    if max(ratio, 1 / ratio) < _DRAWN:
        return 0.0
    drawing, under = (pair.query, pair.reference) if ratio > 1 else (pair.reference, pair.query)
    plain = float(drawing[where].std()) < 0.6 * float(under[where].std())
    if max(ratio, 1 / ratio) < _DRAWN_PLAINLY and not plain and _alike_from_afar(pair, where):
        return 0.0  # the other one may be pixelated or blurred there
    return math.copysign(1, ratio - 1)


def _alike_from_afar(pair: Overlap, where: npt.NDArray[np.bool_]) -> bool:
    """Whether what differs is much the same once it is blurred."""
    query, reference = (
        blurred(grey, pair.cell_px / 3)[where] for grey in (pair.query, pair.reference)
    )
    query, reference = query - query.mean(), reference - reference.mean()
    norm = float(np.sqrt((query**2).sum() * (reference**2).sum()))
    return float((query * reference).sum()) > _ALIKE * max(norm, 1.0)


def _softer(pair: Overlap, agree: npt.NDArray[np.bool_], gain: float, blur_px: float) -> float:
    """1 where the query is the softer one, also in what agrees; −1 the other way."""
    if abs(blur_px) <= 0.9:
        return 0.0
    query, reference = abs(gain) * _steepness(pair.query), _steepness(pair.reference)
    octaves = math.log2((float(reference[agree].mean()) + 1) / (float(query[agree].mean()) + 1))
    return math.copysign(1, octaves) if octaves * math.copysign(1, blur_px) > _SOFTER else 0.0


def _colours(evidence: Evidence, query: PairImage, reference: PairImage) -> tuple[Floats, Floats]:
    """(n, 2) opponent colours of both images, at places that agree."""
    pair = evidence.pair
    height, width = pair.inside.shape
    step = max(max(height, width) / _COLOURS_ACROSS, 1.0)
    columns, rows = ((np.arange(max(int(n / step), 1)) + 0.5) * step for n in (width, height))
    x, y = np.meshgrid(np.minimum(columns, width - 1), np.minimum(rows, height - 1))
    agree = _spread(evidence.cells.agree, pair)[y.astype(int), x.astype(int)]
    places = np.stack([x[agree], y[agree]], axis=1)
    if not len(places):
        return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)
    found = []
    frames = (pair.to_frame, pair.reference_to_frame)
    for image, to_frame in zip((query, reference), frames, strict=True):
        at = project(inverse(to_frame @ image.from_chroma), places).astype(np.float32)
        sampled = cv2.remap(image.chroma, at[:, :1], at[:, 1:], cv2.INTER_LINEAR)
        found.append(np.asarray(sampled, np.float32).reshape(-1, 2))
    return found[0], found[1]


def _compare_colours(query: Floats, reference: Floats) -> tuple[float, float, float]:
    """Which one has lost its colour (few pictures are coloured afterwards), saturation and hue."""
    if len(query) < _FEWEST_COLOURS:
        return 0.0, 0.0, math.nan
    spread = [float(np.sqrt((one**2).mean())) for one in (query, reference)]
    if max(spread) > 8 and min(spread) < 2:
        coloured = query if spread[0] > spread[1] else reference
        if float((np.abs(coloured).max(axis=1) > _COLOURED).mean()) < _MOSTLY:
            return 0.0, 0.0, math.nan  # something coloured was drawn on a grey picture
        return math.copysign(1, spread[1] - spread[0]), 0.0, math.nan
    if min(spread) < 5:
        return 0.0, 0.0, math.nan
    both = float((query * reference).sum()) / float(
        np.sqrt((query**2).sum() * (reference**2).sum())
    )
    return 0.0, math.log2(spread[1] / spread[0]), both


def _resized(evidence: Evidence, query: PairImage, reference: PairImage) -> float:
    """1 where the reference has more px for what is shared, and detail in them, or the query has
    more and none in them; −1 the other way round."""
    if evidence["perspective"] > 0.05 or evidence["log2_stretch"] > 0.2:
        return 0.0
    octaves = math.log2(max(full_scale(evidence, query, reference), 1e-6))
    if abs(octaves) < _FINER_OCTAVES:
        return 0.0
    finer = (reference if octaves > 0 else query).at_full_size()
    shown = finer.full_width_px / finer.width_px
    return math.copysign(1, octaves) * _detail(finer, 2 ** abs(octaves) / shown)


def _detail(image: PairImage, factor: float) -> float:
    """1 where an image loses something when it is reduced by a factor and enlarged again, −1 where
    it loses nothing, 0 between."""
    if factor < 1.1:
        return 1.0  # it is finer beyond the size at which it can be looked at
    grey = image.levels[0]
    height, width = grey.shape
    size = max(1, round(width / factor)), max(1, round(height / factor))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    again = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    beyond = float(np.abs(grey - blurred(grey, 2 * factor)).mean())
    lost = float(np.abs(grey - again).mean()) / max(beyond, 0.05)
    return float(lost > _DETAIL) - float(lost < _NO_DETAIL)


def _tone(pair: Overlap, agree: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Gain and offset that bring the query's levels to the reference's, where both agree."""
    query, reference = pair.query[agree], pair.reference[agree]
    if not len(query):
        return 1.0, 0.0
    query_mean, reference_mean = float(query.mean()), float(reference.mean())
    covariance = float(((query - query_mean) * (reference - reference_mean)).mean())
    gain = covariance / max(float(query.var()), 1.0)
    return gain, reference_mean - gain * query_mean


def _spread(marked: npt.NDArray[np.bool_], pair: Overlap) -> npt.NDArray[np.bool_]:
    """Marked cells as px of the overlap."""
    height, width = pair.inside.shape
    large = marked.repeat(pair.cell_px, axis=0).repeat(pair.cell_px, axis=1)[:height, :width]
    return np.asarray(large & (pair.inside > 0))


def _steepness(grey: Floats) -> Floats:
    """(h, w) length of the gradient, in levels per px."""
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3) / 8
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3) / 8
    return np.asarray(cv2.magnitude(across, down), np.float32)


def full_scale(evidence: Evidence, query: PairImage, reference: PairImage) -> float:
    """Full-size px of the reference for one of the query, in the middle of the shared region."""
    full = reference.to_full @ evidence.alignment.matrix @ np.linalg.inv(query.to_full)
    middle = np.array([[query.full_width_px / 2, query.full_height_px / 2]])
    ends = project(full, middle + np.array([[0, 0], [1, 0], [0, 1]]))
    (a, b), (c, d) = ends[1] - ends[0], ends[2] - ends[0]
    return float(np.sqrt(abs(a * d - b * c)))
