"""a pair aligned at full size → numbers that say what is left between the two pictures.

Re-encoding, scaling, blur, noise, tone and colour leave little, all over and without structure. A
drawing leaves new content with sharp borders on otherwise equal pixels. Another photo of a scene
leaves edges that are displaced all over, a changed page glyphs that differ on one ground, another
filling of a form a background that agrees around content that does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix
from copydetect.verification.agreement import Overlap, equalise_sharpness, suppress_noise
from copydetect.verification.fine_alignment import (
    align_finely,
    flow_between,
    steepness,
    with_one_tone,
)
from copydetect.verification.pair_images import LARGEST_PX, Floats, PairImage

_STRIDE = 3
_BANDS = (("coarse", 17, 2, 6.0), ("middle", 17, _STRIDE, 5.0), ("fine", 11, _STRIDE, 2.0))
"""Name, window and step from one to the next in px of the band, and the standard deviation from
which there is texture in the window. The coarse band has half the px."""
_COARSE_SIGMA_PX = 4.0
_DIFFERS = 0.4
_AGREES, _AGREES_FULLY = 0.85, 0.95
_OTHER_LEVELS = 28.0
"""A difference in grey levels that is no noise."""
_ALIKE_LEVELS = 12.0
_FLOW_PX = 640
"""The longest side at which the flow that is left is measured."""
_PATCHES = 6
_MOST_PLACES = 60_000
"""How many places percentiles are taken of, at most."""

_OF_BAND = ("p0", "p2", "p5", "p10", "p25", "p50", "differs", "agrees", "agrees_fully", "both",
            "query", "reference", "correlation")  # fmt: skip
_OF_REST = ("raw_p50", "raw_p99", "raw_peak", "raw_ratio", "rest_ratio", "rest_p50", "rest_p90",
            "rest_p99", "rest_p999", "rest_peak", "rest_share", "blobs", "blob_largest_px",
            "blob_area", "blob_both", "blob_one", "blob_query", "blob_tall", "blob_ground",
            "blob_level")  # fmt: skip
_OF_STROKES = _OF_REST[_OF_REST.index("blobs") :]
_OF_PATCHES = ("patches", "patch_area", "patch_ratio", "patch_ground", "patch_fill", "both_area",
               "one_area", "query_area", "reference_area", "both_count", "one_count", "two_ratio",
               "all_ground")  # fmt: skip
_OF_FLOW = ("flow_1", "flow_2", "flow_p50", "flow_p75", "flow_p90", "flow_p97", "block_p50",
            "block_p75", "block_p90", "block_p97", "moved")  # fmt: skip
_OF_ALL = ("explained", "blur", "frame", "plain", "plain_reference", "textured", "grain",
           "grain_query", "grain_reference", "colour_mean", "colour_p98", "colour_correlation",
           "steep")  # fmt: skip

NAMES = (
    *(f"{band}_{name}" for band, *_ in _BANDS for name in _OF_BAND),
    *_OF_REST,
    *_OF_PATCHES,
    *_OF_FLOW,
    *_OF_ALL,
)
"""What the numbers are, in order; see `measure_residual`."""


@dataclass(frozen=True, eq=False)
class Residual:
    """What is left of a pair under its refined transform.

    values: (len(NAMES),) float32, NaN where unknown; matrix: (3, 3) query → reference, in px of the
    images that were compared; pair: both in one frame; differs: (h, w) bool of that frame, where
    they show other content.
    """

    values: npt.NDArray[np.float32]
    matrix: Matrix
    pair: Overlap
    differs: npt.NDArray[np.bool_]

    def __getitem__(self, name: str) -> float:
        return float(self.values[NAMES.index(name)])


def measure_residual(
    matrix: Matrix, query: PairImage, reference: PairImage, frame_px: int = LARGEST_PX
) -> Residual | None:
    """Align finely and measure; None where the pictures hardly overlap.

    matrix: query px → reference px of these images, which are at full size or reduced to what is
    compared at most.
    """
    found = align_finely(matrix, query, reference, frame_px)
    if found is None:
        return None
    matrix, sharp = found
    pair, blur = equalise_sharpness(suppress_noise(sharp))
    pair, explained = with_one_tone(pair)
    valid = cv2.erode(pair.inside, np.ones((5, 5), np.uint8)) > 0
    if _count(valid) < 64:
        return None
    local = {
        name: _Local(*both, window, step, least)
        for (name, window, step, least), both in zip(_BANDS, _bands(pair), strict=True)
    }
    values = _of_band("coarse", local["coarse"], valid[:: 2 * 2, :: 2 * 2])
    for name in ("middle", "fine"):
        values |= _of_band(name, local[name], valid[::_STRIDE, ::_STRIDE])
    middle = local["middle"]
    steep = steepness(pair.query), steepness(pair.reference)
    patched, patches = _patches(pair, middle, valid)
    blobbed, blobs = _blobs(pair, np.maximum(*steep), valid)
    values |= patches | blobs | _of_flow(pair, np.minimum(*steep), valid)
    values |= {"explained": explained, "blur": blur, **_of_all(sharp, steep, middle, valid)}
    values |= _of_colour(matrix, query, reference)
    vector = np.array([values[name] for name in NAMES], np.float32)
    return Residual(vector, matrix, pair, patched | blobbed)


def _bands(pair: Overlap) -> Iterator[tuple[Floats, Floats]]:
    """Both pictures without what is coarser and finer than each band."""
    both = (pair.query, pair.reference)
    coarse = [_much_blurred(grey) for grey in both]
    yield coarse[0], coarse[1]
    rest = [grey - _enlarged(blurred, grey) for grey, blurred in zip(both, coarse, strict=True)]
    yield rest[0], rest[1]
    fine = [_blurred(grey, 0.7) - _blurred(grey, 2.0) for grey in both]
    yield fine[0], fine[1]


class _Local:
    """Normalised correlation in windows, at every `step`-th place.

    correlation: −1…1; query_std, reference_std: contrast in grey levels; both, one_query,
    one_reference: where both have texture, and where only one has.
    """

    def __init__(
        self, query: Floats, reference: Floats, window: int, step: int, least: float
    ) -> None:
        products = query, reference, query * query, reference * reference, query * reference
        mean_q, mean_r, square_q, square_r, both = (
            np.ascontiguousarray(cv2.blur(values, (window, window))[::step, ::step])
            for values in products
        )
        var_q = np.maximum(square_q - mean_q**2, 0)
        var_r = np.maximum(square_r - mean_r**2, 0)
        cross = both - mean_q * mean_r
        self.correlation = np.clip(cross / np.sqrt(var_q * var_r + 1e-3), -1, 1)
        self.query_std, self.reference_std = np.sqrt(var_q), np.sqrt(var_r)
        in_query, in_reference = self.query_std > least, self.reference_std > least
        self.both = in_query & in_reference
        self.one_query = in_query & (self.reference_std < least / 2)
        self.one_reference = in_reference & (self.query_std < least / 2)
        self.cross = cross
        self.energy = np.sqrt(var_q * var_r)


def _of_band(name: str, local: _Local, at: npt.NDArray[np.bool_]) -> dict[str, float]:
    """at: which places of `local` lie inside both pictures."""
    count = max(_count(at), 1)
    seen = local.correlation[local.both & at]
    found = {
        "both": len(seen) / count,
        "query": _count(local.one_query & at) / count,
        "reference": _count(local.one_reference & at) / count,
    }
    if len(seen) < 20:
        found |= dict.fromkeys(_OF_BAND[:9], np.nan)
    else:
        found |= dict(zip(_OF_BAND[:6], _percentiles(seen, 0.1, 2, 5, 10, 25, 50), strict=True))
        found["differs"] = _share(seen < _DIFFERS)
        found["agrees"] = _share(seen > _AGREES)
        found["agrees_fully"] = _share(seen > _AGREES_FULLY)
    energy = float(local.energy[at].sum())
    found["correlation"] = float(local.cross[at].sum()) / energy if energy > 1 else np.nan
    return {f"{name}_{key}": float(value) for key, value in found.items()}


def _patches(
    pair: Overlap, local: _Local, valid: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], dict[str, float]]:
    """Connected places that differ: how large, on which side something stands, on what ground."""
    at = valid[::_STRIDE, ::_STRIDE]
    apart = (local.both & (local.correlation < _DIFFERS)) | local.one_query | local.one_reference
    number, labels, sizes, _ = cv2.connectedComponentsWithStats((apart & at).astype(np.uint8))
    total = max(_count(at), 1)
    found = dict.fromkeys(_OF_PATCHES, 0.0)
    areas = sizes[1:number, cv2.CC_STAT_AREA]
    order = np.argsort(-areas, kind="stable")[:_PATCHES]
    some = np.s_[::_STRIDE, ::_STRIDE]
    alike = np.abs(pair.query[some] - pair.reference[some]) < _ALIKE_LEVELS
    ratios = []
    for label in order + 1:
        here = labels == label
        area = _count(here) / total
        in_query = float((local.query_std[here] ** 2).mean())
        in_reference = float((local.reference_std[here] ** 2).mean())
        ratio = min(in_query, in_reference) / max(in_query, in_reference, 1e-3)
        ratios.append(ratio)
        kind = "both" if ratio > 0.15 else "one"
        found[f"{kind}_area"] += area
        found[f"{kind}_count"] += 1
        if kind == "one":
            found["query_area" if in_query > in_reference else "reference_area"] += area
    if len(order):
        here = labels == order[0] + 1
        box = sizes[order[0] + 1]
        found["patch_area"] = _count(here) / total
        found["patch_ratio"] = ratios[0]
        found["two_ratio"] = ratios[1] if len(ratios) > 1 else np.nan
        found["patch_ground"] = _share(alike[here])
        around = max(int(box[cv2.CC_STAT_WIDTH]) * int(box[cv2.CC_STAT_HEIGHT]), 1)
        found["patch_fill"] = _count(here) / around
        found["all_ground"] = _share(alike[apart & at])
    found["patches"] = float((areas >= 9).sum())
    shown = np.isin(labels, order + 1) if len(order) else np.zeros(labels.shape, bool)
    height, width = valid.shape
    large = np.repeat(np.repeat(shown, _STRIDE, axis=0), _STRIDE, axis=1)[:height, :width]
    return np.asarray(large & valid, np.bool_), found


def _blobs(
    pair: Overlap, steep: Floats, valid: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], dict[str, float]]:
    """What is left where each picture may move by a px: strokes that the other one has not."""
    rest = _rest(pair.query, pair.reference) * valid
    telling = valid & (cv2.dilate(steep, np.ones((5, 5), np.uint8)) > 8)
    found = dict.fromkeys(_OF_REST, 0.0)
    seen = rest[telling]
    places = len(seen)
    seen = seen[:: max(1, places // _MOST_PLACES)]
    if len(seen) < 50:
        return np.zeros(valid.shape, bool), found | dict.fromkeys(_OF_REST[:10], np.nan)
    percentiles = _percentiles(seen, 50, 90, 99, 99.9)
    found |= dict(zip(_OF_REST[5:9], percentiles, strict=True))
    smooth = cv2.blur(rest, (3, 3))
    found["rest_peak"] = float(smooth.max())
    found["rest_ratio"] = found["rest_peak"] / (found["rest_p99"] + 4)
    raw = cv2.blur(cv2.absdiff(pair.query, pair.reference) * valid, (5, 5))
    middle, high = _percentiles(raw[telling][:: max(1, places // _MOST_PLACES)], 50, 99)
    found |= {"raw_p50": middle, "raw_p99": high, "raw_peak": float(raw.max())}
    found["raw_ratio"] = found["raw_peak"] / (found["raw_p99"] + 2)
    limit = max(_OTHER_LEVELS, 3 * percentiles[1])
    marked = (smooth > limit) & valid
    found["rest_share"] = _count(marked) / max(places, 1)
    shown, strokes = _strokes(pair, marked, valid)
    return shown, found | strokes


def _strokes(
    pair: Overlap, marked: npt.NDArray[np.bool_], valid: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], dict[str, float]]:
    """The connected pieces of what is marked: the largest of them as a mask, and their figures."""
    found = dict.fromkeys(_OF_STROKES, 0.0)
    if not marked.any():
        return marked, found
    joined = cv2.morphologyEx(marked.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    number, labels, sizes, _ = cv2.connectedComponentsWithStats(joined)
    areas = sizes[1:number, cv2.CC_STAT_AREA]
    kept = np.flatnonzero(areas >= 6)
    if not len(kept):
        return np.zeros(valid.shape, bool), found
    order = kept[np.argsort(-areas[kept], kind="stable")][:_PATCHES]
    found["blobs"] = float(len(kept))
    found["blob_largest_px"] = float(areas[order[0]])
    found["blob_area"] = float(areas[kept].sum()) / max(_count(valid), 1)
    for label in order + 1:
        x, y, width, height = (int(n) for n in sizes[label, :4])
        part = slice(max(y - 2, 0), y + height + 2), slice(max(x - 2, 0), x + width + 2)
        in_query, in_reference = (float(one[part].std()) for one in (pair.query, pair.reference))
        ratio = min(in_query, in_reference) / max(in_query, in_reference, 1.0)
        found["blob_both" if ratio > 0.4 else "blob_one"] += float(areas[label - 1])
        found["blob_query"] += float(areas[label - 1]) * np.sign(in_query - in_reference)
        if label == order[0] + 1:
            difference = np.abs(pair.query[part] - pair.reference[part])
            found["blob_tall"] = height / max(pair.query.shape)
            found["blob_ground"] = _share(difference < _ALIKE_LEVELS)
            found["blob_level"] = float(np.median(pair.query[part] - pair.reference[part]))
    return np.asarray(np.isin(labels, order + 1) & valid, np.bool_), found


def _rest(query: Floats, reference: Floats) -> Floats:
    """By how much the levels of one lie outside of what the other has within a px, both ways."""
    near = np.ones((3, 3), np.uint8)
    rest = cv2.subtract(reference, cv2.dilate(query, near))
    for outside in (
        cv2.subtract(cv2.erode(query, near), reference),
        cv2.subtract(query, cv2.dilate(reference, near)),
        cv2.subtract(cv2.erode(reference, near), query),
    ):
        cv2.max(rest, outside, rest)
    return np.maximum(rest, 0, out=rest)


def _of_flow(pair: Overlap, steep: Floats, valid: npt.NDArray[np.bool_]) -> dict[str, float]:
    """What is still displaced where there is texture, single places and blocks of them."""
    step = -(-max(valid.shape) // _FLOW_PX)
    flow = flow_between(pair, step)
    length = cv2.magnitude(flow[..., 0], flow[..., 1]) * step
    textured = (valid & (steep > 5))[::step, ::step]
    seen = length[textured]
    if len(seen) < 50:
        return dict.fromkeys(_OF_FLOW, np.nan)
    found = {"flow_1": _share(seen > 1), "flow_2": _share(seen > 2)}
    some = seen[:: max(1, len(seen) // _MOST_PLACES)]
    percentiles = _percentiles(some, 50, 75, 90, 97)
    found |= dict(zip(_OF_FLOW[2:6], percentiles, strict=True))
    side = max(8, max(valid.shape) // 40) // step
    height, width = (max(1, one // side) for one in textured.shape)
    count, total = (
        cv2.resize(
            one[: height * side, : width * side], (width, height), None, 0, 0, cv2.INTER_AREA
        )
        for one in (textured.astype(np.float32), length * textured)
    )
    blocks = (total / np.maximum(count, 1e-6))[count > 0.08]
    if len(blocks) < 4:
        return found | dict.fromkeys(_OF_FLOW[6:], np.nan)
    percentiles = _percentiles(blocks, 50, 75, 90, 97)
    found |= dict(zip(_OF_FLOW[6:10], percentiles, strict=True))
    return found | {"moved": _share(blocks > 1)}


def _of_all(
    sharp: Overlap, steep: tuple[Floats, Floats], local: _Local, valid: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """What kind of picture it is, and whether the grain of its plain places is shared."""
    grain = [grey - _blurred(grey, 1.0) for grey in (sharp.query, sharp.reference)]
    quiet = valid & (cv2.dilate(np.maximum(*steep), np.ones((7, 7), np.uint8)) < 5)
    found = {"grain": np.nan, "grain_query": np.nan, "grain_reference": np.nan}
    if _count(quiet) > 200:
        a, b = (one[quiet] for one in grain)
        found["grain_query"], found["grain_reference"] = float(a.std()), float(b.std())
        norm = found["grain_query"] * found["grain_reference"]
        found["grain"] = float(((a - a.mean()) * (b - b.mean())).mean()) / max(norm, 0.05)
    return {
        **found,
        "frame": float(np.log2(max(valid.shape))),
        "plain": _share_of_mode(sharp.query[::2, ::2][valid[::2, ::2]]),
        "plain_reference": _share_of_mode(sharp.reference[::2, ::2][valid[::2, ::2]]),
        "textured": _share(local.both | local.one_query | local.one_reference),
        "steep": _share(np.minimum(*steep) > 20),
    }


def _share_of_mode(levels: Floats) -> float:
    """The part of the pixels that have the commonest level, or one beside it."""
    counts = np.bincount(np.clip(levels, 0, 255).astype(np.int64) // 6, minlength=43)
    return float(np.convolve(counts, [1, 1, 1], "same").max() / max(len(levels), 1))


def _of_colour(matrix: Matrix, query: PairImage, reference: PairImage) -> dict[str, float]:
    """Both opponent colours on a small frame: how far apart, and whether they vary alike."""
    height, width = reference.chroma.shape[:2]
    to_small = np.linalg.inv(reference.from_chroma)
    there = to_small @ matrix @ query.from_chroma
    nothing = (np.nan, np.nan)
    warped = cv2.warpPerspective(
        query.chroma, there, (width, height), borderMode=cv2.BORDER_CONSTANT, borderValue=nothing
    )
    both = ~np.isnan(warped[..., 0])
    if _count(both) < 30:
        return {"colour_mean": np.nan, "colour_p98": np.nan, "colour_correlation": np.nan}
    a, b = warped[both], reference.chroma[both]
    apart = np.linalg.norm(a - b, axis=1)
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return {
        "colour_mean": float(apart.mean()),
        "colour_p98": _percentiles(apart, 98)[0],
        "colour_correlation": float((a * b).sum()) / norm if norm > 9 * len(a) else np.nan,
    }


def _percentiles(values: npt.ArrayLike, *wanted: float) -> list[float]:
    """As `np.percentile`, by sorting, which is faster for a few thousand numbers."""
    ordered = np.sort(values)
    at = np.array(wanted) / 100 * (len(ordered) - 1)
    below = at.astype(np.int64)
    above = np.minimum(below + 1, len(ordered) - 1)
    found: list[float] = (
        ordered[below] + (ordered[above] - ordered[below]) * (at - below)
    ).tolist()
    return found


def _count(marked: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(marked))


def _share(marked: npt.NDArray[np.bool_]) -> float:
    """The part of the places that are marked."""
    return _count(marked) / max(marked.size, 1)


def _blurred(grey: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.float32)


def _much_blurred(grey: Floats) -> Floats:
    """Without what is finer than the coarse band, at half the size: next to nothing is lost."""
    height, width = grey.shape
    half = cv2.resize(grey, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)
    return _blurred(np.asarray(half, np.float32), _COARSE_SIGMA_PX / 2)


def _enlarged(half: Floats, grey: Floats) -> Floats:
    return np.asarray(cv2.resize(half, grey.shape[::-1]), np.float32)
