"""alignments and their pixels → the numbers that a decision is made from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix, area, intersection, inverse, project
from copydetect.verification.agreement import (
    Cells,
    Details,
    Overlap,
    compare,
    compare_details,
    equalise_sharpness,
    overlap,
    refine,
    suppress_noise,
)
from copydetect.verification.geometry import Alignment, scale_of, singular_values
from copydetect.verification.pair_images import PairImage

NAMES = (
    "inliers",
    "inlier_share",
    "error_px",
    "rival_inliers",
    "regions",
    "query_spread",
    "reference_spread",
    "log2_scale",
    "log2_stretch",
    "perspective",
    "agree_cells",
    "agree_share",
    "agree_weighted",
    "mean_correlation",
    "fine_correlation",
    "fine_share",
    "lowest_quarter",
    "flat_share",
    "global_correlation",
    "shift_px",
    "shift_spread_px",
    "blur_px",
    "fine_ratio",
    "solidity",
    "largest_patch",
    "largest_hole",
    "patch_solidity",
    "patch_correlation",
    "patch_fine_correlation",
    "inlier_hull_agree",
    "query_covered",
    "reference_covered",
    "query_overlap",
    "reference_overlap",
    "chroma_correlation",
    "contrast",
    "overlap_px",
    "direct",
)
"""What the numbers of an evidence vector are, in order; see `measure`."""


_DIFFERS = 0.3
"""Correlation below which a cell shows something else."""
_NOTHING_AGREES, _NOTHING_AGREES_DIRECTLY = 0.1, 0.4
"""Mean correlation of the cells of small copies below which a closer look is useless. The second is
for alignments that were found from the same pixels, where chance agrees, too."""
_FEWEST_CELLS_DIRECTLY = 16


@dataclass(frozen=True, eq=False)
class Evidence:
    """One alignment of a pair with everything that speaks for and against it.

    values: (len(NAMES),) float32, NaN where unknown; alignment: what was measured, refined; pair:
    the overlap's pixels as they are; cells: what they measure without noise and as sharp as each
    other; confidence: 0…1, what a decision makes of it, else NaN.
    """

    values: npt.NDArray[np.float32]
    alignment: Alignment
    pair: Overlap
    cells: Cells
    confidence: float = math.nan

    def __getitem__(self, name: str) -> float:
        return float(self.values[NAMES.index(name)])


def measure(
    alignment: Alignment,
    query: PairImage,
    reference: PairImage,
    rival_inliers: int,
    regions: int,
) -> Evidence | None:
    """Warp, refine, compare. None where the images hardly overlap under the alignment, or where
    already their small copies have nothing in common, or chance explains what they have.

    rival_inliers: of the best alignment in the other orientation, which is chance; regions: how
    many alignments were found together, 0 for that of the search's correspondences.
    """
    matrix = alignment.matrix
    pair = overlap(matrix, query, reference, 192)
    if pair is None:
        return None
    cells = compare(pair)
    least = _NOTHING_AGREES_DIRECTLY if alignment.model == "direct" else _NOTHING_AGREES
    if cells.mean_correlation < least:
        return None
    matrix = refine(matrix, query, reference, cells, pair)
    found = overlap(matrix, query, reference)
    if found is None:
        return None
    pair, blur_px = equalise_sharpness(suppress_noise(found))
    cells = compare(pair)
    values = {
        **_geometry(alignment, matrix, query, reference),
        **_pixels(pair, cells, compare_details(pair, cells)),
        **_coverage(matrix, pair, cells, query, reference),
        "rival_inliers": float(rival_inliers),
        "regions": float(regions),
        "inlier_hull_agree": _inlier_hull_agree(alignment, pair, cells),
        "blur_px": blur_px,
        "chroma_correlation": _chroma_correlation(matrix, query, reference),
    }
    if _may_be_chance(values):
        return None
    refined = replace(alignment, matrix=matrix)
    return Evidence(np.array([values[name] for name in NAMES], np.float32), refined, found, cells)


def _may_be_chance(values: dict[str, float]) -> bool:
    """Whether a direct alignment rests on a few cells of a picture: of the thousands of places
    where thumbnails are tried, some line of text or edge always fits."""
    small = min(values["query_covered"], values["reference_covered"]) < 0.5
    return values["direct"] > 0 and small and values["agree_cells"] < _FEWEST_CELLS_DIRECTLY


def agreeing_box(matrix: Matrix, query: PairImage, reference: PairImage) -> npt.NDArray[np.float64]:
    """(n, 2) polygon in query px: the part of the query that lies inside the reference."""
    corners = frame(reference)
    try:
        mapped = project(inverse(matrix), corners)
    except np.linalg.LinAlgError:
        return frame(query)
    return intersection(mapped, frame(query))


def _geometry(
    alignment: Alignment, matrix: Matrix, query: PairImage, reference: PairImage
) -> dict[str, float]:
    direct = alignment.model == "direct"
    (large,), (small,), _ = singular_values(matrix[None, :2, :2])
    points = alignment.inlier_query_px
    size = max(query.width_px, query.height_px)
    across = size * float(np.hypot(*matrix[2, :2])) / abs(float(matrix[2, 2]))
    return {
        "inliers": float(alignment.inliers),
        "inlier_share": alignment.inliers / max(alignment.matches, 1),
        "error_px": math.nan if direct else alignment.error_px,
        "query_spread": _spread_share(points, query),
        "reference_spread": _spread_share(project(matrix, points), reference),
        "log2_scale": abs(math.log2(max(scale_of(matrix, query), 1e-6))),
        "log2_stretch": math.log2(large / max(small, 1e-9)),
        "perspective": across,
        "direct": float(direct),
    }


def _spread_share(points: npt.NDArray[np.floating], image: PairImage) -> float:
    """Area of the points' convex hull as a part of the image."""
    if len(points) < 3:
        return 0.0
    hull = cv2.convexHull(np.asarray(points, np.float32))
    return float(cv2.contourArea(hull)) / (image.width_px * image.height_px)


def _pixels(pair: Overlap, cells: Cells, details: Details) -> dict[str, float]:
    used, agree, flat = cells.used, cells.agree, cells.flat
    telling = used & ~flat
    count = max(int(telling.sum()), 1)
    weight = np.where(telling, np.minimum(cells.weight, 40), 0)
    total = max(float(weight.sum()), 1e-6)
    shift = np.linalg.norm(cells.shift_px, axis=-1)
    agree_weight = np.where(agree, weight, 0)
    agree_total = max(float(agree_weight.sum()), 1e-6)
    mean_shift = (cells.shift_px * agree_weight[..., None]).sum(axis=(0, 1)) / agree_total
    spread = np.linalg.norm(cells.shift_px - mean_shift, axis=-1)
    correlation = np.sort(cells.correlation[telling])
    ratio = np.sort(np.abs(details.contrast_ratio[telling]))
    return {
        "agree_cells": float(agree.sum()),
        "agree_share": float(agree.sum()) / count,
        "agree_weighted": agree_total / total,
        "mean_correlation": float((cells.correlation * weight).sum()) / total,
        "fine_correlation": float((details.correlation * weight).sum()) / total,
        "fine_share": float((telling & (details.correlation > 0.4)).sum()) / count,
        "lowest_quarter": float(correlation[len(correlation) // 4]) if len(correlation) else 0.0,
        "flat_share": float(flat.sum()) / max(int(used.sum()), 1),
        "global_correlation": _masked_correlation(pair),
        "shift_px": float((shift * agree_weight).sum()) / agree_total,
        "shift_spread_px": float((spread * agree_weight).sum()) / agree_total,
        "fine_ratio": float(ratio[len(ratio) // 2]) if len(ratio) else 0.0,
        "contrast": total / count,
        "overlap_px": float(max(pair.query.shape)),
        "largest_hole": _largest(telling & (cells.correlation < _DIFFERS)) / count,
        **_shape(cells, agree, telling, weight, details),
    }


def _largest(marked: npt.NDArray[np.bool_]) -> float:
    """Cells of the largest connected patch."""
    _, _, sizes, _ = cv2.connectedComponentsWithStats(marked.astype(np.uint8))
    return float(sizes[1:, cv2.CC_STAT_AREA].max(initial=0))


def _shape(
    cells: Cells,
    agree: npt.NDArray[np.bool_],
    telling: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.float32],
    details: Details,
) -> dict[str, float]:
    """Is what agrees one piece, or a frame around something else?"""
    if not agree.any():
        names = ("solidity", "largest_patch", "patch_solidity")
        return dict.fromkeys((*names, "patch_correlation", "patch_fine_correlation"), 0.0)
    number, labels, sizes, _ = cv2.connectedComponentsWithStats(agree.astype(np.uint8))
    patch = labels == 1 + int(np.argmax(sizes[1:number, cv2.CC_STAT_AREA]))
    around = _hull_cells(patch) & telling
    near = np.where(around, weight, 0)
    total = max(float(near.sum()), 1e-6)
    everywhere = _hull_cells(agree) & telling
    return {
        "solidity": float(agree.sum()) / max(float(everywhere.sum()), 1.0),
        "largest_patch": float(patch.sum()),
        "patch_solidity": float((agree & around).sum()) / max(float(around.sum()), 1.0),
        "patch_correlation": float((cells.correlation * near).sum()) / total,
        "patch_fine_correlation": float((details.correlation * near).sum()) / total,
    }


def _masked_correlation(pair: Overlap) -> float:
    """Correlation of all pixels inside both images."""
    count = max(float(pair.inside.sum()), 1.0)
    query, reference = (
        (grey - float((grey * pair.inside).sum()) / count) * pair.inside
        for grey in (pair.query, pair.reference)
    )
    norm = math.sqrt(float(np.vdot(query, query)) * float(np.vdot(reference, reference)))
    return float(np.vdot(query, reference)) / norm if norm > 0 else 0.0


def _hull_cells(marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Cells inside the convex hull of the marked ones."""
    inside = np.zeros(marked.shape, np.uint8)
    rows, columns = np.nonzero(marked)
    if len(rows):
        hull = cv2.convexHull(np.column_stack([columns, rows]).astype(np.int32))
        cv2.fillConvexPoly(inside, hull, (1,))
    return inside.astype(np.bool_)


def _inlier_hull_agree(alignment: Alignment, pair: Overlap, cells: Cells) -> float:
    """Share of the cells between the inliers that agree; NaN where there are too few."""
    if len(alignment.inlier_query_px) < 3:
        return math.nan
    at = np.floor(project(pair.to_frame, alignment.inlier_query_px) / pair.cell_px).astype(np.int64)
    limits = np.array(cells.agree.shape)[::-1] - 1
    at = at[((at >= 0) & (at <= limits)).all(axis=1)]
    marked = np.zeros(cells.agree.shape, np.bool_)
    marked[at[:, 1], at[:, 0]] = True
    between = _hull_cells(marked) & cells.used & ~cells.flat
    return float((cells.agree & between).sum()) / max(float(between.sum()), 1.0)


def _coverage(
    matrix: Matrix, pair: Overlap, cells: Cells, query: PairImage, reference: PairImage
) -> dict[str, float]:
    """Which part of each image lies in the other, and which part of each agrees with it."""
    shared = agreeing_box(matrix, query, reference)
    in_query = area(shared) / (query.width_px * query.height_px)
    in_reference = area(project(matrix, shared)) / (reference.width_px * reference.height_px)
    used = max(float((cells.area * cells.used).sum()), 1e-6)
    agreed = float((cells.area * (cells.agree | cells.flat)).sum()) / used
    return {
        "query_overlap": in_query,
        "reference_overlap": in_reference,
        "query_covered": in_query * agreed,
        "reference_covered": in_reference * agreed,
    }


def _chroma_correlation(matrix: Matrix, query: PairImage, reference: PairImage) -> float:
    """Correlation of both opponent colours, on a small frame; NaN where either has no colour."""
    moved = chroma_on(query, inverse(matrix), reference)
    both = np.concatenate([query.chroma, moved], axis=-1).reshape(-1, 4)
    both = both[~np.isnan(both[:, 2])].astype(np.float64)
    if len(both) < 30:
        return math.nan
    mean = np.ones(len(both)) @ both / len(both)
    products = both.T @ both / len(both) - np.outer(mean, mean)
    a, b = products[:2, :2].diagonal(), products[2:, 2:].diagonal()
    if min(a.max(), b.max()) < 3**2:
        return math.nan
    return float(products[:2, 2:].trace() / math.sqrt(a.sum() * b.sum()))


def chroma_on(image: PairImage, matrix: Matrix, other: PairImage) -> npt.NDArray[np.float32]:
    """The opponent colours of another image as they lie on those of this one; NaN outside of it.

    matrix: working px of the other one → of this one.
    """
    there = inverse(image.from_chroma) @ matrix @ other.from_chroma
    nothing = (math.nan, math.nan)
    size = image.chroma.shape[1::-1]
    warped = cv2.warpPerspective(
        other.chroma, there, size, borderMode=cv2.BORDER_CONSTANT, borderValue=nothing
    )
    return np.asarray(warped, np.float32)


def frame(image: PairImage) -> npt.NDArray[np.float64]:
    """(4, 2) the image's outer corners."""
    width, height = image.width_px - 0.5, image.height_px - 0.5
    return np.array([[-0.5, -0.5], [width, -0.5], [width, height], [-0.5, height]])
