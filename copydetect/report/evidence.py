"""The drawing of a verified pair: polygons on both pictures, and one picture laid over the
other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from copydetect.types import Doubles, Match

_PANEL_PX = 260.0
_FURTHEST_PX = 1e5


@dataclass(frozen=True)
class Picture:
    """One picture of the pair: its image, its size and the matched regions, all in px of it.

    polygons: as SVG's points; corners: the first of each; covered: 0…1, by all of them together.
    """

    image_id: str
    role: str
    width: int
    height: int
    polygons: list[str]
    corners: list[tuple[float, float]]
    covered: float

    @property
    def long_side(self) -> int:
        """The longer of width and height; at least 1."""
        return max(self.width, self.height, 1)


@dataclass(frozen=True)
class OverlaidPictures:
    """`layer` laid over `base`, both scaled to panel px; matrix3d: CSS, column-major."""

    base: Picture
    layer: Picture
    base_width: float
    base_height: float
    layer_width: float
    layer_height: float
    matrix3d: str


@dataclass(frozen=True)
class PairEvidence:
    """A verified pair, ready to be drawn; overlay is None where no transform was found."""

    match: Match
    query: Picture
    reference: Picture
    overlay: OverlaidPictures | None
    alignment: str


def pair_evidence(
    match: Match, query_size: tuple[int, int], reference_size: tuple[int, int], roles: Sequence[str]
) -> PairEvidence:
    """Drawing of a match; sizes are (width, height) px upright, roles those of the two images."""
    query = _picture(match.query_id, roles[0], query_size, match.query_region)
    reference = _picture(match.reference_id, roles[1], reference_size, match.reference_region)
    transform = _usable_transform(match.transform)
    overlay, alignment = None, ""
    if transform is not None:
        overlay = _overlay(query, reference, transform)
        alignment = _describe(query, reference, transform)
    return PairEvidence(match, query, reference, overlay, alignment)


def _picture(
    image_id: str, role: str, size: tuple[int, int], region: Sequence[Sequence[float]]
) -> Picture:
    width, height = size
    limits = np.array([max(width, 1), max(height, 1)], np.float64)
    shown = [np.clip(polygon, 0, limits) for polygon in map(_polygon, region) if len(polygon)]
    areas = [
        abs(float(np.dot(p[:, 0], np.roll(p[:, 1], -1) - np.roll(p[:, 1], 1)))) / 2 for p in shown
    ]
    return Picture(
        image_id,
        role,
        width,
        height,
        [" ".join(f"{x:.1f},{y:.1f}" for x, y in polygon) for polygon in shown],
        [(round(float(polygon[0, 0]), 1), round(float(polygon[0, 1]), 1)) for polygon in shown],
        min(1.0, sum(areas) / float(limits.prod())),
    )


def _polygon(numbers: Sequence[float]) -> Doubles:
    """(n, 2) corners; none where these numbers are no polygon."""
    if len(numbers) % 2 or len(numbers) < 6 or not np.isfinite(numbers).all():
        return np.zeros((0, 2))
    return np.asarray(numbers, np.float64).reshape(-1, 2)


def _usable_transform(numbers: Sequence[float]) -> Doubles | None:
    matrix = np.asarray(numbers, np.float64)
    if matrix.shape != (9,) or not np.isfinite(matrix).all():
        return None
    matrix = matrix.reshape(3, 3)
    if abs(matrix[2, 2]) < 1e-9 or abs(np.linalg.det(matrix)) < 1e-12:
        return None
    return np.asarray(matrix / matrix[2, 2], np.float64)


def _overlay(query: Picture, reference: Picture, transform: Doubles) -> OverlaidPictures | None:
    """The picture that is mostly shared over the one that holds more than the shared region."""
    base, layer, matrix = reference, query, transform
    if query.covered and query.covered < reference.covered:
        base, layer = query, reference
        matrix = np.linalg.inv(transform).astype(np.float64)
    to_base, to_layer = _PANEL_PX / base.long_side, _PANEL_PX / layer.long_side
    scaled = np.diag([to_base, to_base, 1.0]) @ matrix @ np.diag([1 / to_layer, 1 / to_layer, 1.0])
    width, height = layer.width * to_layer, layer.height * to_layer
    corners = scaled @ np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1.0]])
    if (corners[2] <= 1e-6).any() or np.abs(corners[:2] / corners[2]).max() > _FURTHEST_PX:
        return None
    a, b, c = scaled
    columns = [a[0], b[0], 0, c[0], a[1], b[1], 0, c[1], 0, 0, 1, 0, a[2], b[2], 0, c[2]]
    css = ",".join(f"{value:.8g}" for value in columns)
    return OverlaidPictures(
        base,
        layer,
        base.width * to_base,
        base.height * to_base,
        width,
        height,
        f"matrix3d({css})",
    )


def _describe(query: Picture, reference: Picture, transform: Doubles) -> str:
    """The alignment in words: mirrored, turned, scaled, and how much of each picture is shared."""
    linear = transform[:2, :2]
    mirrored = np.linalg.det(linear) < 0
    first = linear @ np.array([-1.0 if mirrored else 1.0, 0.0])
    degrees = round(float(np.degrees(np.arctan2(first[1], first[0]))))
    scale = float(np.sqrt(abs(np.linalg.det(linear))))
    words = ["mirrored"] if mirrored else []
    if abs(degrees) >= 2:
        words.append(f"turned by {degrees}°")
    if scale > 0 and not 0.97 <= scale <= 1.03:
        words.append(f"scaled by {scale:.2g}")
    for name, picture in (("query", query), ("reference", reference)):
        if 0 < picture.covered < 0.97:
            words.append(f"{picture.covered:.0%} of the {name} is shared")
    return ", ".join(words) or "the same framing"
