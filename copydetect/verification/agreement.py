"""an alignment of two images → where their pixels agree.

The finer image is warped to the coarser one's resolution and both are compared in square cells.
Inside a cell, normalised correlation ignores gain and offset (a tone curve, lost colour); one step
of Lucas and Kanade (1981) tells by how much the cell is still displaced. A copy agrees nearly
everywhere in the shared region and nothing in it is displaced. A second photo of one scene is
displaced by depth; another page with the same layout agrees in its low frequencies and not in its
glyphs; a shared background agrees around something that does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix, inverse, project
from copydetect.images.decoding import pieces_of
from copydetect.verification.geometry import is_plausible, scale_of
from copydetect.verification.pair_images import Floats, PairImage

AGREES = 0.6
"""Normalised correlation from which a cell agrees."""
_CELLS_ACROSS = 11
_SMALLEST_CELL_PX = 8
_FLAT_STD = 4.0
"""Cells with less contrast than this, in grey levels, say nothing by their correlation."""
_SMALLEST_SIDE_PX = 12
_THIN, _SMALLEST_OF_THIN_PX = 4, 5
"""A strip of at least this many pieces may be thinner than anything else that is compared."""
_STIFFNESS = (0.5, 0.5, 0.02, 0.5, 0.5, 0.02, 30.0, 30.0)
"""How strongly each of the eight parameters of a plane's motion is held at 0 where few cells ask
for it."""
_BLURS_PX = (0.7, 1.1, 1.7, 2.6, 4.0, 6.0, 9.0)
_NOISY_STD = 5.0
"""Noise in grey levels from which it matters, where the other image has little."""
_NOISIER = 2.0
"""How many times the other image's noise it must be: what both have is structure, not noise."""
_NOISE_STRIDE = 5
_NOISE_BLUR_PX = 1.5


@dataclass(frozen=True, eq=False)
class Overlap:
    """Both images in one frame, where they overlap.

    query, reference: (h, w) float32 grey levels; inside: (h, w) float32, 1 where both have pixels;
    to_frame: (3, 3) query working px → frame px; reference_to_frame: (3, 3); cell_px: side of a
    cell.
    """

    query: Floats
    reference: Floats
    inside: Floats
    to_frame: Matrix
    reference_to_frame: Matrix
    cell_px: int


@dataclass(frozen=True, eq=False)
class Cells:
    """The measurements of each cell, all (rows, columns) float32.

    correlation: −1…1; query_std, reference_std: contrast in grey levels; area: 0…1, the part of the
    cell inside both images; shift_px: (rows, columns, 2), displacement left between them.
    """

    correlation: Floats
    query_std: Floats
    reference_std: Floats
    area: Floats
    shift_px: Floats

    @property
    def weight(self) -> Floats:
        """The lesser of both contrasts."""
        return np.minimum(self.query_std, self.reference_std)

    @property
    def used(self) -> npt.NDArray[np.bool_]:
        """Cells that mostly lie inside both images."""
        return np.asarray(self.area > 0.5)

    @property
    def agree(self) -> npt.NDArray[np.bool_]:
        """Cells with contrast whose pixels agree."""
        return np.asarray(self.used & (self.weight > _FLAT_STD) & (self.correlation > AGREES))

    @property
    def flat(self) -> npt.NDArray[np.bool_]:
        """Cells without contrast in either image."""
        return np.asarray(self.used & (self.weight <= _FLAT_STD))

    @property
    def mean_correlation(self) -> float:
        """Of cells with contrast, weighted by it; 1 where there are none, which proves nothing."""
        weight = np.where(self.used & ~self.flat, self.weight, 0)
        total = float(weight.sum())
        return float((self.correlation * weight).sum()) / total if total else 1.0


@dataclass(frozen=True, eq=False)
class Details:
    """The measurements of each cell on fine details, those that a blur of a few px removes, all
    (rows, columns) float32.

    correlation: −1…1; contrast_ratio: log2 of the query's fine contrast over the reference's, gain
    taken out.
    """

    correlation: Floats
    contrast_ratio: Floats


def overlap(
    matrix: Matrix, query: PairImage, reference: PairImage, frame_px: int = 1024
) -> Overlap | None:
    """Warp the finer image to the coarser one, over the box where they overlap.

    frame_px: the longest side of that box, or of each of its pieces where one of the pictures is a
    strip; a smaller one compares at a lower resolution. None where they hardly overlap.
    """
    scale = scale_of(matrix, query)
    to_frame = matrix if scale < 1 else np.eye(3)
    reference_to_frame = np.eye(3) if scale < 1 else inverse(matrix)
    low, high = _shared_box(to_frame, reference_to_frame, query, reference)
    pieces = _pieces(high - low, query, reference)
    shrink = min(1.0, pieces * frame_px / max(float((high - low).max()), 1.0))
    size = np.floor((high - low) * shrink + 1).astype(int)
    if size.min() < (_SMALLEST_SIDE_PX if pieces < _THIN else _SMALLEST_OF_THIN_PX):
        return None
    moved = np.array([[shrink, 0, -low[0] * shrink], [0, shrink, -low[1] * shrink], [0, 0, 1]])
    to_frame = np.asarray(moved @ to_frame, np.float64)
    reference_to_frame = np.asarray(moved @ reference_to_frame, np.float64)
    box = (int(size[0]), int(size[1]))
    warped_query = _warp(query, to_frame, box, min(scale, 1.0) * shrink)
    warped_reference = _warp(reference, reference_to_frame, box, min(1 / scale, 1.0) * shrink)
    inside = _inside(to_frame, query, box) * _inside(reference_to_frame, reference, box)
    # Cells of a strip are no wider than a part of it, or none would lie inside.
    cell = int(max(_SMALLEST_CELL_PX, round(min(max(box) / _CELLS_ACROSS, min(box) / 3))))
    return Overlap(warped_query, warped_reference, inside, to_frame, reference_to_frame, cell)


def suppress_noise(pair: Overlap) -> Overlap:
    """Blur both images a little where one of them is far noisier: noise hides what agrees."""
    quieter, noisier = sorted(_noise(grey, pair) for grey in (pair.query, pair.reference))
    if noisier < max(_NOISY_STD, _NOISIER * quieter):
        return pair
    query, reference = (blurred(grey, _NOISE_BLUR_PX) for grey in (pair.query, pair.reference))
    return replace(pair, query=query, reference=reference)


def equalise_sharpness(pair: Overlap) -> tuple[Overlap, float]:
    """Blur the sharper image as far as the other one is blurred.

    Returns the pair and the standard deviation of the blur in frame px, positive where the
    reference was blurred (so the query is the softer one), negative where the query was.
    """
    query, reference = _sharpness(pair.query, pair), _sharpness(pair.reference, pair)
    softer, sharper = sorted((query, reference))
    if sharper <= 1.6 * softer:
        return pair, 0.0
    sharp = pair.reference if query < reference else pair.query
    best, best_sigma, best_miss = sharp, 0.0, np.log(sharper / max(softer, 1e-6))
    for sigma in _BLURS_PX:
        softened = blurred(sharp, sigma)
        miss = abs(np.log(max(_sharpness(softened, pair), 1e-6) / max(softer, 1e-6)))
        if miss >= best_miss:
            break
        best, best_sigma, best_miss = softened, sigma, miss
    if query < reference:
        return replace(pair, reference=best), best_sigma
    return replace(pair, query=best), -best_sigma


def compare(pair: Overlap) -> Cells:
    """Correlation and displacement of each cell."""
    cell, inside = pair.cell_px, pair.inside
    area = _cell_sums(inside, cell)
    count = np.maximum(area, 1)
    query, query_std = _standardised(pair.query, inside, count, cell)
    reference, reference_std = _standardised(pair.reference, inside, count, cell)
    return Cells(
        correlation=np.asarray(_cell_sums(query * reference, cell) / count, np.float32),
        query_std=query_std,
        reference_std=reference_std,
        area=area / np.float32(cell * cell),
        shift_px=_shifts(query, reference, inside, cell),
    )


def compare_details(pair: Overlap, cells: Cells) -> Details:
    """The same for fine details: what a blur of a few px removes."""
    cell, inside = pair.cell_px, pair.inside
    count = np.maximum(cells.area * (cell * cell), 1)
    query = (pair.query - blurred(pair.query, 1.5)) * inside
    reference = (pair.reference - blurred(pair.reference, 1.5)) * inside
    a, b, both = (
        _cell_sums(product, cell) / count
        for product in (query * query, reference * reference, query * reference)
    )
    gain = (a + 1) / (cells.query_std**2 + 16) / ((b + 1) / (cells.reference_std**2 + 16))
    return Details(
        correlation=np.asarray(both / np.sqrt(a * b + 1e-3), np.float32),
        contrast_ratio=np.asarray(0.5 * np.log2(gain), np.float32),
    )


def refine(
    matrix: Matrix, query: PairImage, reference: PairImage, cells: Cells, pair: Overlap
) -> Matrix:
    """One step of direct alignment: the motion of a plane that the cells' displacements ask for.

    Cells count by contrast and agreement (a robust, cell-wise form of Lucas and Kanade's method);
    the motion has the eight parameters of Bergen et al. (1992). The matrix comes back unchanged
    where too few cells say anything.
    """
    weight = np.where(cells.used, cells.weight * np.maximum(cells.correlation - 0.2, 0), 0).ravel()
    if (weight > 0).sum() < 4:
        return matrix
    rows, columns = cells.correlation.shape
    places = _motions(rows, columns)
    # In cells, as places are; what moves a cell far by little, the horizon, is held back most.
    asked = (cells.shift_px / pair.cell_px).reshape(-1)
    weighted = places * np.repeat(weight, 2)[:, None]
    ridge = np.diag(_STIFFNESS) * weight.sum() / 10
    a, b, across, c, d, down, e, f = np.linalg.solve(
        places.T @ weighted + ridge, weighted.T @ asked
    )
    motion = np.array([[1 + a, b, across], [c, 1 + d, down], [-e, -f, 1]])
    centred = np.array(
        [
            [1 / pair.cell_px, 0, -columns / 2],
            [0, 1 / pair.cell_px, -rows / 2],
            [0, 0, 1],
        ]
    )
    motion = np.linalg.inv(centred) @ motion @ centred
    refined = inverse(pair.reference_to_frame) @ motion @ pair.to_frame
    refined = np.asarray(refined / refined[2, 2], np.float64)
    return refined if is_plausible(refined, query, reference) else matrix


def blurred(grey: Floats, sigma: float) -> Floats:
    """Without what is finer than about `sigma` px."""
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.float32)


def _sharpness(grey: Floats, pair: Overlap) -> float:
    """Gradient energy over contrast, both inside the overlap; gain cancels out.

    Every second row is enough.
    """
    inside, shown = pair.inside[:-1:2, :-1], pair.inside[::2]
    count = max(float(shown.sum()), 1.0)
    energy = 0.0
    for beside in (grey[:-1:2, 1:], grey[1::2, :-1]):
        step = beside - grey[:-1:2, :-1]
        step *= inside
        energy += float(np.vdot(step, step))
    seen = grey[::2]
    centred = seen - float(np.vdot(seen, shown)) / count
    centred *= shown
    return math.sqrt(energy / (float(np.vdot(centred, centred)) + count))


def _noise(grey: Floats, pair: Overlap) -> float:
    """Standard deviation of white noise in grey levels (Immerkær 1996), inside the overlap.

    By the median, so that edges and glyphs count for little; some of the places are enough.
    """
    above, here, below = (grey[row : row - 2 or None][::_NOISE_STRIDE] for row in range(3))
    bent = above - 2 * here + below
    differences = np.abs(bent[:, :-2] - 2 * bent[:, 1:-1] + bent[:, 2:])[:, ::_NOISE_STRIDE]
    inside = pair.inside[1:-1:_NOISE_STRIDE, 1:-1:_NOISE_STRIDE] > 0
    return float(np.median(differences[inside])) / (0.6745 * 6) if inside.any() else 0.0


def _corners(image: PairImage) -> npt.NDArray[np.float64]:
    width, height = image.width_px - 1.0, image.height_px - 1.0
    return np.array([[0, 0], [width, 0], [width, height], [0, height]])


def _shared_box(
    to_frame: Matrix, reference_to_frame: Matrix, query: PairImage, reference: PairImage
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Lowest and highest whole x, y of the box that both images' boxes share."""
    first = project(to_frame, _corners(query))
    second = project(reference_to_frame, _corners(reference))
    low = np.ceil(np.maximum(first.min(axis=0), second.min(axis=0)))
    high = np.floor(np.minimum(first.max(axis=0), second.max(axis=0)))
    return np.asarray(low, np.float64), np.asarray(high, np.float64)


def _pieces(box: npt.NDArray[np.float64], query: PairImage, reference: PairImage) -> float:
    """How many pieces of ordinary shape lie in the box that both show: 1 for two ordinary
    pictures."""
    of_images = [pieces_of(image.width_px, image.height_px) for image in (query, reference)]
    return min(pieces_of(float(box[0]), float(box[1])), max(of_images))


def _warp(image: PairImage, matrix: Matrix, size: tuple[int, int], scale: float) -> Floats:
    """Grey levels under `matrix`, from the halved size nearest `scale`; repeated outside."""
    wanted = int(np.floor(np.log2(1 / scale) + 0.3)) if scale < 1 else 0
    level = min(wanted, len(image.levels) - 1)
    transform = matrix @ image.from_level(level)
    warped = cv2.warpPerspective(
        image.levels[level],
        transform,
        size,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(warped, np.float32)


def _inside(matrix: Matrix, image: PairImage, size: tuple[int, int]) -> Floats:
    """1 where the frame shows pixels of the image that count, else 0."""
    mask = np.zeros(size[::-1], np.float32)
    # In 1/16 px; what lies far outside is clipped, for corners have to fit 16 bits.
    corners = np.clip(project(matrix, _corners(image)), -30_000, 30_000)
    cv2.fillConvexPoly(mask, np.rint(corners * 16).astype(np.int32), (1.0,), shift=4)
    if image.seen is not None:
        mask *= np.asarray(cv2.warpPerspective(image.seen, matrix, size) > 0.5, np.float32)
    return mask


@lru_cache(maxsize=128)
def _motions(rows: int, columns: int) -> npt.NDArray[np.float64]:
    """(rows · columns · 2, 8): how each parameter of a plane's motion moves each cell in x and y.

    Places are counted from the middle of all, in cells.
    """
    y, x = np.mgrid[0:rows, 0:columns] - np.array([rows - 1, columns - 1])[:, None, None] / 2
    x, y = x.ravel(), y.ravel()
    one, none = np.ones_like(x), np.zeros_like(x)
    in_x = np.stack([x, y, one, none, none, none, x * x, x * y], axis=1)
    in_y = np.stack([none, none, none, x, y, one, x * y, y * y], axis=1)
    return np.stack([in_x, in_y], axis=1).reshape(-1, 8)


@lru_cache(maxsize=512)
def _members(length: int, cell: int) -> Floats:
    """(cells, length): 1 where a pixel belongs to a cell of one axis, else 0."""
    places = np.arange(length) // cell
    return np.asarray(places == np.arange(-(-length // cell))[:, None], np.float32)


def _cell_sums(values: Floats, cell: int) -> Floats:
    """(h, w) → (⌈h / cell⌉, ⌈w / cell⌉) sums."""
    height, width = values.shape
    return np.asarray(_members(height, cell) @ values @ _members(width, cell).T, np.float32)


def _spread(cells: Floats, cell: int, shape: tuple[int, ...]) -> Floats:
    """Cells back to pixels, each constant."""
    return np.repeat(np.repeat(cells, cell, axis=1)[:, : shape[1]], cell, axis=0)[: shape[0]]


def _standardised(grey: Floats, inside: Floats, count: Floats, cell: int) -> tuple[Floats, Floats]:
    """Pixels with mean 0 and standard deviation 1 in each cell, 0 outside; and the deviations."""
    centred = (grey - _spread(_cell_sums(grey * inside, cell) / count, cell, grey.shape)) * inside
    std = np.sqrt(_cell_sums(centred * centred, cell) / count)
    # A faint cell must not be blown up to full contrast: its noise would look like structure.
    return centred * _spread(1 / np.maximum(std, 1), cell, grey.shape), std


def _shifts(query: Floats, reference: Floats, inside: Floats, cell: int) -> Floats:
    """(rows, columns, 2) px by which each cell of the query is still displaced."""
    query, reference = blurred(query, 1.2), blurred(reference, 1.2)
    both, difference = query + reference, query - reference
    across = cv2.Sobel(both, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 16) * inside
    down = cv2.Sobel(both, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 16) * inside
    xx, yy = _cell_sums(across * across, cell), _cell_sums(down * down, cell)
    xy = _cell_sums(across * down, cell)
    bx, by = _cell_sums(across * difference, cell), _cell_sums(down * difference, cell)
    ridge = 0.05 * (xx + yy) + 1e-3
    xx, yy = xx + ridge, yy + ridge
    determinant = xx * yy - xy * xy
    shift = np.stack([(yy * bx - xy * by), (xx * by - xy * bx)], axis=-1) / determinant[..., None]
    return np.clip(shift, -4, 4).astype(np.float32)
