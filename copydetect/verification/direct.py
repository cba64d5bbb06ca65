"""two images → alignments found from their pixels alone, where features are too few.

Blurred, flat and tiny pictures have hardly any features. Here thumbnails are laid over each other
whole and as crops, under the eight flips and quarter turns, by normalised cross-correlation; the
best are refined from coarse to fine by `agreement.refine`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from copydetect.verification.agreement import compare, overlap, refine
from copydetect.verification.geometry import Matrix, inverse, is_plausible
from copydetect.verification.pair_images import Floats, PairImage

_THUMBNAIL_PX = 48
_CROP_SIDES_PX = (40, 33, 27, 22)
_MIN_CORRELATION = 0.55


@dataclass(frozen=True, eq=False)
class DirectAlignment:
    """A transform between working px, query → reference, and its thumbnails' correlation."""

    matrix: Matrix
    mirrored: bool
    correlation: float


def align_directly(query: PairImage, reference: PairImage, count: int = 2) -> list[DirectAlignment]:
    """The `count` most promising alignments of thumbnails, refined; none for flat images."""
    proposals = _whole_on_whole(query, reference) + _crop_in_whole(query, reference)
    proposals += [
        DirectAlignment(inverse(found.matrix), found.mirrored, found.correlation)
        for found in _crop_in_whole(reference, query)
    ]
    proposals = [found for found in proposals if found.correlation > _MIN_CORRELATION]
    proposals.sort(key=lambda found: -found.correlation)
    return [
        DirectAlignment(
            refine_coarse_to_fine(found.matrix, query, reference), found.mirrored, found.correlation
        )
        for found in proposals[:count]
        if is_plausible(found.matrix, query)
    ]


def refine_coarse_to_fine(matrix: Matrix, query: PairImage, reference: PairImage) -> Matrix:
    """Follow the displacements of cells at growing resolution."""
    for frame_px in (64, 64, 128):
        pair = overlap(matrix, query, reference, frame_px)
        if pair is None:
            return matrix
        matrix = refine(matrix, query, reference, compare(pair), pair)
    return matrix


def _whole_on_whole(query: PairImage, reference: PairImage) -> list[DirectAlignment]:
    """The query stretched over the whole reference, in eight orientations."""
    side = _THUMBNAIL_PX // 2
    target = _unit(_thumbnail(reference, side, side))
    if target is None:
        return []
    source = _thumbnail(query, side, side)
    found = []
    for quarter_turns, mirrored in _orientations():
        turned = _unit(_oriented(source, quarter_turns, mirrored))
        if turned is None:
            return []
        matrix = _place(
            query, quarter_turns, mirrored, 0, 0, reference.width_px, reference.height_px
        )
        found.append(DirectAlignment(matrix, mirrored, float((turned * target).sum())))
    return found


def _crop_in_whole(part: PairImage, whole: PairImage) -> list[DirectAlignment]:
    """`part` as a crop of `whole`: the best place at each of a few sizes and eight orientations."""
    scale = _THUMBNAIL_PX / max(whole.width_px, whole.height_px)
    across, down = max(1, round(whole.width_px * scale)), max(1, round(whole.height_px * scale))
    target = _thumbnail(whole, across, down)
    if float(target.std()) < 2:
        return []
    found = []
    longest = max(part.width_px, part.height_px)
    for side in _CROP_SIDES_PX:
        width = max(4, round(part.width_px * side / longest))
        height = max(4, round(part.height_px * side / longest))
        source = _thumbnail(part, width, height)
        if float(source.std()) < 2:
            return []
        best, where = -1.0, None
        for quarter_turns, mirrored in _orientations():
            turned = _oriented(source, quarter_turns, mirrored)
            if turned.shape[0] > down or turned.shape[1] > across:
                continue
            response = cv2.matchTemplate(target, turned, cv2.TM_CCOEFF_NORMED)
            _, peak, _, (x, y) = cv2.minMaxLoc(response)
            if peak > best:
                best, where = peak, (quarter_turns, mirrored, x, y, *turned.shape[::-1])
        if where is not None:
            matrix = _place(part, *where[:2], *(at / scale for at in where[2:]))
            found.append(DirectAlignment(matrix, where[1], float(best)))
    return found


def _orientations() -> list[tuple[int, bool]]:
    return [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]


def _oriented(thumbnail: Floats, quarter_turns: int, mirrored: bool) -> Floats:
    flipped = thumbnail[:, ::-1] if mirrored else thumbnail
    turned = flipped.T if quarter_turns % 2 else flipped
    if quarter_turns in (1, 2):
        turned = turned[::-1]
    return np.ascontiguousarray(turned[:, ::-1] if quarter_turns > 1 else turned)


def _place(
    image: PairImage,
    quarter_turns: int,
    mirrored: bool,
    left: float,
    top: float,
    width: float,
    height: float,
) -> Matrix:
    """Mirrors and turns `image` (as np.rot90 does) and stretches it over a box."""
    across, down = float(image.width_px), float(image.height_px)
    matrix = np.diag([1 / across, 1 / down, 1.0])
    if mirrored:
        matrix = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]]) @ matrix
    for _ in range(quarter_turns):  # counter-clockwise: x, y → y, 1 − x
        matrix = np.array([[0.0, 1, 0], [-1, 0, 1], [0, 0, 1]]) @ matrix
    half = np.array([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    box = np.array([[width, 0, left], [0, height, top], [0, 0, 1]])
    return np.asarray(np.linalg.inv(half) @ box @ matrix @ half, np.float64)


def _thumbnail(image: PairImage, width: int, height: int) -> Floats:
    level = max(
        (
            i
            for i, grey in enumerate(image.levels)
            if grey.shape[0] >= height and grey.shape[1] >= width
        ),
        default=0,
    )
    resized = cv2.resize(image.levels[level], (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.float32)


def _unit(thumbnail: Floats) -> Floats | None:
    centred = thumbnail - thumbnail.mean()
    norm = float(np.linalg.norm(centred))
    return None if norm < 2 * np.sqrt(thumbnail.size) else centred / np.float32(norm)
