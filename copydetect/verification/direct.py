"""two images → alignments found from their pixels alone, where features are too few.

Blurred, flat and tiny pictures have hardly any features. Here thumbnails are laid over each other,
whole under the eight flips and quarter turns and as crops upright or mirrored, by normalised
cross-correlation; the best are refined from coarse to fine by `agreement.refine`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from copydetect.homographies import Matrix, inverse
from copydetect.verification.agreement import compare, overlap, refine
from copydetect.verification.geometry import is_plausible
from copydetect.verification.pair_images import Floats, PairImage

_THUMBNAIL_PX = 32
_CROP_SIDES_PX = (27, 22, 18, 15)
_MIN_CORRELATION = 0.75


@dataclass(frozen=True, eq=False)
class DirectAlignment:
    """A transform between working px, query → reference, and its thumbnails' correlation."""

    matrix: Matrix
    mirrored: bool
    correlation: float


@dataclass(frozen=True, eq=False)
class _Placement:
    """`part` mirrored, turned as np.rot90 does and stretched over a box of the other image.

    box: left, top, width, height in the other's working px; correlation: −1…1, of thumbnails.
    """

    part: PairImage
    quarter_turns: int
    mirrored: bool
    box: tuple[float, float, float, float]
    correlation: float

    def matrix(self) -> Matrix:
        """Working px of `part` → of the other image."""
        left, top, width, height = self.box
        matrix = np.diag([1 / self.part.width_px, 1 / self.part.height_px, 1.0])
        if self.mirrored:
            matrix = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]]) @ matrix
        for _ in range(self.quarter_turns):  # counter-clockwise: x, y → y, 1 − x
            matrix = np.array([[0.0, 1, 0], [-1, 0, 1], [0, 0, 1]]) @ matrix
        half = np.array([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        box = np.array([[width, 0, left], [0, height, top], [0, 0, 1]])
        return np.asarray(np.linalg.inv(half) @ box @ matrix @ half, np.float64)


def align_directly(query: PairImage, reference: PairImage, count: int = 2) -> list[DirectAlignment]:
    """The `count` most promising alignments of thumbnails, refined; none for flat images."""
    places = _whole_on_whole(query, reference)
    places += _crop_in_whole(query, reference) + _crop_in_whole(reference, query)
    places = [place for place in places if place.correlation > _MIN_CORRELATION]
    places.sort(key=lambda place: -place.correlation)
    found = []
    for place in places[:count]:
        matrix = place.matrix() if place.part is query else inverse(place.matrix())
        if is_plausible(matrix, query, reference):
            refined = refine_coarse_to_fine(matrix, query, reference)
            found.append(DirectAlignment(refined, place.mirrored, place.correlation))
    return found


def refine_coarse_to_fine(matrix: Matrix, query: PairImage, reference: PairImage) -> Matrix:
    """Follow the displacements of cells at growing resolution."""
    for frame_px in (64, 64, 128):
        pair = overlap(matrix, query, reference, frame_px)
        if pair is None:
            return matrix
        matrix = refine(matrix, query, reference, compare(pair), pair)
    return matrix


def _whole_on_whole(query: PairImage, reference: PairImage) -> list[_Placement]:
    """The query stretched over the whole reference, in eight orientations."""
    side = _THUMBNAIL_PX * 3 // 4
    target = _unit(reference.thumbnail(side, side))
    if target is None:
        return []
    source = query.thumbnail(side, side)
    box = (0.0, 0.0, float(reference.width_px), float(reference.height_px))
    found = []
    for quarter_turns, mirrored in _orientations():
        turned = _unit(_oriented(source, quarter_turns, mirrored))
        if turned is None:
            return []
        correlation = float((turned * target).sum())
        found.append(_Placement(query, quarter_turns, mirrored, box, correlation))
    return found


def _crop_in_whole(part: PairImage, whole: PairImage) -> list[_Placement]:
    """`part`, upright or mirrored, as a crop of `whole`: the best place at each of a few sizes."""
    scale = _THUMBNAIL_PX / max(whole.width_px, whole.height_px)
    across, down = max(1, round(whole.width_px * scale)), max(1, round(whole.height_px * scale))
    target = whole.thumbnail(across, down)
    if float(target.std()) < 2:
        return []
    found = []
    longest = max(part.width_px, part.height_px)
    for side in _CROP_SIDES_PX:
        width = max(4, round(part.width_px * side / longest))
        height = max(4, round(part.height_px * side / longest))
        if height > down or width > across:
            continue
        source = part.thumbnail(width, height)
        if float(source.std()) < 2:
            return []
        places = []
        for mirrored in (False, True):
            shown = _oriented(source, 0, mirrored)
            response = cv2.matchTemplate(target, shown, cv2.TM_CCOEFF_NORMED)
            _, peak, _, (x, y) = cv2.minMaxLoc(response)
            box = (x / scale, y / scale, width / scale, height / scale)
            places.append(_Placement(part, 0, mirrored, box, float(peak)))
        found.append(max(places, key=lambda place: place.correlation))
    return found


def _orientations() -> list[tuple[int, bool]]:
    return [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]


def _oriented(thumbnail: Floats, quarter_turns: int, mirrored: bool) -> Floats:
    flipped = thumbnail[:, ::-1] if mirrored else thumbnail
    turned = flipped.T if quarter_turns % 2 else flipped
    if quarter_turns in (1, 2):
        turned = turned[::-1]
    return np.ascontiguousarray(turned[:, ::-1] if quarter_turns > 1 else turned)


def _unit(thumbnail: Floats) -> Floats | None:
    centred = thumbnail - thumbnail.mean()
    norm = float(np.linalg.norm(centred))
    return None if norm < 2 * np.sqrt(thumbnail.size) else centred / np.float32(norm)
