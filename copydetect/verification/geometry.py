"""correspondences of two images → the transforms that explain them.

Each correspondence of two scaled and oriented features proposes one similarity (Philbin et al.
2007, fast spatial matching), so every hypothesis there is can be tried, and a copy among hundreds
of wrong matches is still found. The best are refined by local optimisation (Chum et al. 2003) and,
where there are enough points, by MAGSAC++ (Barath et al. 2020); then the data choose between
similarity, affine and homography. Degenerate transforms are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix, inverse, project
from copydetect.verification.correspondences import Correspondences, match_features
from copydetect.verification.pair_images import Floats, LocalFeatures, PairImage

Model = Literal["similarity", "affine", "homography", "direct"]

INLIER_PX = 3.0
"""How far a correspondence may lie from its transform, in px of the coarser image."""
MAX_SCALE = 16.0
MAX_STRETCH = 4.0
"""The largest ratio of scales along two directions: a wilder one is no edit that people make."""
_MAX_FORESHORTENING = 8.0
"""The largest ratio of scales anywhere in the query to those anywhere else."""
_ON_A_LINE = 1e4
"""The largest ratio of the squared spreads of points along two directions that an affine transform
is fitted to."""
_GROWTHS = 6
_ROUGH_RATIO = 0.95
_RIVALS = 4
"""A hypothesis is not fitted where this many times as many correspondences agree with the best."""
_MAX_LOG2_SCALE = 0.7
_MAX_TURN_RAD = 0.45


@dataclass(frozen=True, eq=False)
class Alignment:
    """A transform and the correspondences that it explains.

    matrix: (3, 3) query working px → reference working px; inliers: their number, counting those at
    one place once; matches: all correspondences that were tried; error_px: root mean square of the
    inliers, in px of the coarser image; inlier_query_px: (m, 2).
    """

    matrix: Matrix
    model: Model
    mirrored: bool
    inliers: int
    matches: int
    error_px: float
    inlier_query_px: Floats


def some_agree(query: LocalFeatures, reference: LocalFeatures) -> bool:
    """Whether three pairs of features agree on one similarity. In nearly all copies some do; of all
    pairs that a search proposes, a third have some by chance."""
    return any(
        _best_hypotheses(match_features(query, reference, mirrored, _ROUGH_RATIO), count=1)
        for mirrored in (False, True)
    )


def align(
    correspondences: Correspondences, query: PairImage, reference: PairImage, min_inliers: int = 4
) -> Alignment | None:
    """The transform with the most inliers at distinct places, or None."""
    if len(correspondences) < min_inliers:
        return None
    best: tuple[int, Matrix] | None = None
    for start in _best_hypotheses(correspondences, count=6):
        matrix = _optimise(start, correspondences)
        if matrix is None or not is_plausible(matrix, query, reference, correspondences.mirrored):
            continue
        close = _residuals_px(matrix, correspondences) < INLIER_PX
        inliers = _distinct_places(correspondences, close)
        if best is None or inliers > best[0]:
            best = (inliers, matrix)
    if best is None or best[0] < min_inliers:
        return None
    return _choose_model(best[1], correspondences, query, reference)


def align_regions(
    correspondences: Correspondences, query: PairImage, reference: PairImage, max_regions: int
) -> list[Alignment]:
    """Up to `max_regions` transforms, each of the correspondences that those before leave over.

    The parts of a collage each follow their own. Sorted by inliers, most first.
    """
    found: list[Alignment] = []
    left = correspondences
    while len(found) < max_regions:
        alignment = align(left, query, reference, min_inliers=4 if not found else 7)
        if alignment is None:
            break
        found.append(alignment)
        left = left.where(_residuals_px(alignment.matrix, left) > 3 * INLIER_PX)
    return sorted(found, key=lambda alignment: -alignment.inliers)


def is_plausible(
    matrix: Matrix, query: PairImage, reference: PairImage, mirrored: bool | None = None
) -> bool:
    """Whether an edit could have done this: no collapse, wild scale, shear or horizon in the image.

    It need be moderate all over one of the images only: around a picture that was turned in space,
    there is a border where scales say nothing. `mirrored`, where given, is the orientation that it
    must have.
    """
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        return False
    bottom = _places(query) @ matrix[2, :2] + matrix[2, 2]
    if bottom.min() * np.sign(bottom.max()) <= 0:
        return False
    reflects = bool(np.linalg.det(matrix) * bottom.max() < 0)
    if mirrored not in (None, reflects):
        return False
    return _is_moderate(matrix, query) or _is_moderate(inverse(matrix), reference)


def _places(image: PairImage) -> Matrix:
    """(5, 2): the corners and the middle."""
    width, height = image.width_px, image.height_px
    return np.array([[0, 0], [width, 0], [0, height], [width, height], [width / 2, height / 2]])


def _is_moderate(matrix: Matrix, image: PairImage) -> bool:
    """Whether scales and shear are within bounds in the corners and the middle of the image."""
    places = _places(image)
    bottom = places @ matrix[2, :2] + matrix[2, 2]
    if bottom.min() * np.sign(bottom.max()) <= 0:
        return False
    mapped = project(matrix, places)
    jacobians = (matrix[None, :2, :2] - mapped[:, :, None] * matrix[None, None, 2, :2]) / bottom[
        :, None, None
    ]
    large, small, _ = singular_values(jacobians)
    if large.max() > MAX_SCALE or small.min() < 1 / MAX_SCALE:
        return False
    in_shape = (large / np.maximum(small, 1e-12)).max() <= MAX_STRETCH
    return bool(in_shape and large.max() <= _MAX_FORESHORTENING * small.min())


def scale_of(matrix: Matrix, query: PairImage) -> float:
    """By how much the transform enlarges, in the middle of the query."""
    middle = np.array([[query.width_px / 2, query.height_px / 2]])
    ends = project(matrix, middle + np.array([[0, 0], [1, 0], [0, 1]]))
    (a, b), (c, d) = ends[1] - ends[0], ends[2] - ends[0]
    return float(np.sqrt(abs(a * d - b * c)))


def singular_values(
    jacobians: Matrix,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Larger and smaller singular values of (n, 2, 2) matrices, and whether they reflect."""
    a, b, c, d = jacobians.reshape(-1, 4).T
    determinant = a * d - b * c
    total = a * a + b * b + c * c + d * d
    apart = np.sqrt(np.maximum(total * total - 4 * determinant * determinant, 0))
    large = np.sqrt((total + apart) / 2)
    return large, np.abs(determinant) / np.maximum(large, 1e-12), determinant < 0


def fit_similarity(source: Floats, target: Floats, mirrored: bool) -> Matrix | None:
    """Least squares, four parameters (Umeyama 1991); None where the points coincide."""
    sign = -1 if mirrored else 1
    start = sign * source[:, 0].astype(np.float64) + 1j * source[:, 1]
    end = target[:, 0].astype(np.float64) + 1j * target[:, 1]
    start_mean, end_mean = start.mean(), end.mean()
    spread = float((np.abs(start - start_mean) ** 2).sum())
    if spread < 1e-6:
        return None
    factor = complex((np.conj(start - start_mean) * (end - end_mean)).sum() / spread)
    offset = end_mean - factor * start_mean
    return np.array(
        [
            [factor.real * sign, -factor.imag, offset.real],
            [factor.imag * sign, factor.real, offset.imag],
            [0.0, 0.0, 1.0],
        ]
    )


def _best_hypotheses(correspondences: Correspondences, count: int) -> list[Matrix]:
    """The similarities of single correspondences that most others agree with."""
    if not len(correspondences):
        return []
    sign = -1 if correspondences.mirrored else 1
    start = correspondences.query_px * np.array([sign, 1], np.float32)
    end = correspondences.reference_px
    scale = np.exp2(correspondences.log2_scale)
    cosine = scale * np.cos(correspondences.turn_rad)
    sine = scale * np.sin(correspondences.turn_rad)
    step_x = start[None, :, 0] - start[:, 0, None]
    step_y = start[None, :, 1] - start[:, 1, None]
    miss_x = cosine[:, None] * step_x - sine[:, None] * step_y - (end[None, :, 0] - end[:, 0, None])
    miss_y = sine[:, None] * step_x + cosine[:, None] * step_y - (end[None, :, 1] - end[:, 1, None])
    reach = np.sqrt(step_x**2 + step_y**2)
    # One feature's size and angle are known to about a tenth: the error grows with the distance.
    unit = np.maximum(scale, 1)[:, None]
    allowed = 1.5 * INLIER_PX * unit + 0.1 * scale[:, None] * reach
    turn = correspondences.turn_rad[None] - correspondences.turn_rad[:, None]
    turn = np.abs((turn + np.pi) % (2 * np.pi) - np.pi)
    zoom = np.abs(correspondences.log2_scale[None] - correspondences.log2_scale[:, None])
    agree = (miss_x**2 + miss_y**2 < allowed**2) & (turn < _MAX_TURN_RAD) & (zoom < _MAX_LOG2_SCALE)
    support = agree.sum(axis=1)
    hypotheses: list[Matrix] = []
    least = max(3, support.max() / _RIVALS)
    for _ in range(count):
        i = int(support.argmax())
        if support[i] < least:
            break
        support[agree[i]] = 0  # what agrees with this one would propose much the same
        linear = np.array([[cosine[i] * sign, -sine[i]], [sine[i] * sign, cosine[i]]])
        offset = end[i] - linear @ correspondences.query_px[i]
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = linear, offset
        hypotheses.append(matrix)
    return hypotheses


def _optimise(matrix: Matrix, correspondences: Correspondences) -> Matrix | None:
    """Least squares on what lies close, closer each time; affine where there are points for it."""
    for tolerance in (4.0, 2.5, 1.6, 1.2, 1.0):
        reach = tolerance * INLIER_PX
        close = _residuals_px(matrix, correspondences) < reach
        if tolerance == 4.0:
            close |= _near_first_guess(matrix, correspondences)
        number = int(close.sum())
        if number < 3:
            return None
        source, target = correspondences.query_px[close], correspondences.reference_px[close]
        fitted = (
            _fit_affine(source, target)
            if number >= 6
            else fit_similarity(source, target, correspondences.mirrored)
        )
        if fitted is None:
            return None
        matrix = fitted
    return matrix


def _near_first_guess(matrix: Matrix, correspondences: Correspondences) -> npt.NDArray[np.bool_]:
    """What the similarity of one correspondence may still explain far from it."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    residual = _residuals_px(matrix, correspondences)
    turn = np.arctan2(matrix[1, 0], matrix[0, 0])
    if correspondences.mirrored:
        turn = np.arctan2(-matrix[1, 0], -matrix[0, 0])
    off = np.abs((correspondences.turn_rad - turn + np.pi) % (2 * np.pi) - np.pi)
    zoom = np.abs(correspondences.log2_scale - np.log2(max(scale, 1e-6)))
    near = (residual < 8 * INLIER_PX) & (off < _MAX_TURN_RAD) & (zoom < _MAX_LOG2_SCALE)
    return np.asarray(near)


def _choose_model(
    matrix: Matrix, correspondences: Correspondences, query: PairImage, reference: PairImage
) -> Alignment:
    """Similarity, affine or homography: the smallest truncated error, more freedom at a price.

    A form of GRIC (Torr 1998): each inlier costs its squared error in units of 1 px, at most
    INLIER_PX²; a model costs twice its parameters.
    """
    close = _residuals_px(matrix, correspondences) < 1.5 * INLIER_PX
    source, target = correspondences.query_px[close], correspondences.reference_px[close]
    options: list[tuple[Model, Matrix | None, int]] = [
        ("affine", matrix, 6),
        ("similarity", fit_similarity(source, target, correspondences.mirrored), 4),
    ]
    options.append(("homography", _grown_homography(matrix, correspondences, query, reference), 8))
    best: tuple[float, Model, Matrix] = (np.inf, "affine", matrix)
    for name, candidate, parameters in options:
        if candidate is None or not is_plausible(
            candidate, query, reference, correspondences.mirrored
        ):
            continue
        error = np.minimum(_residuals_px(candidate, correspondences), INLIER_PX) ** 2
        cost = float(error.sum()) + 4.0 * parameters
        if cost < best[0]:
            best = (cost, name, candidate)
    _, name, chosen = best
    residual = _residuals_px(chosen, correspondences)
    inside = residual < INLIER_PX
    return Alignment(
        matrix=chosen,
        model=name,
        mirrored=correspondences.mirrored,
        inliers=_distinct_places(correspondences, inside),
        matches=len(correspondences),
        error_px=float(np.sqrt(np.mean(residual[inside] ** 2))) if inside.any() else INLIER_PX,
        inlier_query_px=correspondences.query_px[inside],
    )


def _grown_homography(
    matrix: Matrix, correspondences: Correspondences, query: PairImage, reference: PairImage
) -> Matrix | None:
    """A homography of what the transform explains, then of what that explains, and so on.

    Under strong perspective an affine transform holds for a part of the picture only.
    """
    best, explained = None, 9
    for _ in range(_GROWTHS):
        close = _residuals_px(matrix, correspondences) < 1.5 * INLIER_PX
        if close.sum() <= explained:
            break
        explained = int(close.sum())
        source, target = correspondences.query_px[close], correspondences.reference_px[close]
        fitted = _fit_homography(source, target, correspondences.mirrored)
        if fitted is None or not is_plausible(fitted, query, reference, correspondences.mirrored):
            break
        best = matrix = fitted
    return best


def _fit_homography(source: Floats, target: Floats, mirrored: bool) -> Matrix | None:
    """MAGSAC++ as OpenCV has it; its random numbers start from a fixed state.

    OpenCV refuses what reflects: mirrored places are turned over before, and the transform after.
    """
    sign = -1 if mirrored else 1
    turned = source * np.array([sign, 1], np.float32)
    found, _ = cv2.findHomography(turned, target, cv2.USAC_MAGSAC, INLIER_PX / 2, None, 300, 0.99)
    return None if found is None else np.asarray(found @ np.diag([sign, 1, 1]), np.float64)


def _fit_affine(source: Floats, target: Floats) -> Matrix | None:
    """Least squares, six parameters; None where the points lie on a line."""
    centre = source.mean(axis=0, dtype=np.float64)
    centred = source - centre
    normal = centred.T @ centred
    (xx, xy), (_, yy) = normal
    if (xx + yy) ** 2 >= _ON_A_LINE * (xx * yy - xy * xy):
        return None
    matrix = np.eye(3)
    matrix[:2, :2] = np.linalg.solve(normal, centred.T @ target).T
    matrix[:2, 2] = target.mean(axis=0, dtype=np.float64) - matrix[:2, :2] @ centre
    return matrix


def _residuals_px(matrix: Matrix, correspondences: Correspondences) -> npt.NDArray[np.float64]:
    """(n,) distances in px of the coarser of the two images."""
    mapped = project(matrix, correspondences.query_px)
    distance = np.hypot(*(mapped - correspondences.reference_px).T)
    # Where the query is enlarged, its own px are the coarser ones.
    depth = np.abs(correspondences.query_px @ matrix[2, :2] + matrix[2, 2])
    scale = np.sqrt(abs(np.linalg.det(matrix)) / np.maximum(depth, 1e-9) ** 3)
    return np.asarray(distance / np.maximum(scale, 1.0), np.float64)


def _distinct_places(correspondences: Correspondences, close: npt.NDArray[np.bool_]) -> int:
    """How many inliers there are, counting those within a few px of each other once."""
    if not close.any():
        return 0
    counts = [
        len(np.unique(np.floor(points[close] / 4).astype(np.int64) @ np.array([100_003, 1])))
        for points in (correspondences.query_px, correspondences.reference_px)
    ]
    return min(counts)
