"""a pair aligned at full size → numbers on the differences that are left between the two pictures.

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
_BANDS = (("coarse", 33, 6.0), ("middle", 17, 5.0), ("fine", 11, 2.0))
"""Name, window in px, and the standard deviation from which there is texture in the window."""
_DIFFERS = 0.4
_AGREES, _AGREES_FULLY = 0.85, 0.95
_OTHER_LEVELS = 28.0
"""A difference in grey levels that is no noise."""
_ALIKE_LEVELS = 12.0
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
    *(f"{band}_{name}" for band, _, _ in _BANDS for name in _OF_BAND),
    *_OF_REST,
    *_OF_PATCHES,
    *_OF_FLOW,
    *_OF_ALL,
)
"""What the numbers are, in order; see `measure_residual`."""


@dataclass(frozen=True, eq=False)
class Residual:
    """The differences of a pair under its refined transform.

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
    if valid.sum() < 64:
        return None
    local = {
        name: _Local(*both, window, least)
        for (name, window, least), both in zip(_BANDS, _bands(pair), strict=True)
    }
    values: dict[str, float] = {}
    for name, found_locally in local.items():
        values |= _of_band(name, found_locally, valid)
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
    coarse = [_blurred(grey, 4.0) for grey in both]
    yield coarse[0], coarse[1]
    yield both[0] - coarse[0], both[1] - coarse[1]
    fine = [_blurred(grey, 0.7) - _blurred(grey, 2.0) for grey in both]
    yield fine[0], fine[1]


class _Local:
    """Normalised correlation in windows, at every third place.

    correlation: −1…1; query_std, reference_std: contrast in grey levels; both, one_query,
    one_reference: where both have texture, and where only one has.
    """

    def __init__(self, query: Floats, reference: Floats, window: int, least: float) -> None:
        size = (window, window)
        mean_q, mean_r = _box(query, size), _box(reference, size)
        var_q = np.maximum(_box(query * query, size) - mean_q**2, 0)
        var_r = np.maximum(_box(reference * reference, size) - mean_r**2, 0)
        cross = _box(query * reference, size) - mean_q * mean_r
        self.correlation = np.clip(cross / np.sqrt(var_q * var_r + 1e-3), -1, 1)
        self.query_std, self.reference_std = np.sqrt(var_q), np.sqrt(var_r)
        in_query, in_reference = self.query_std > least, self.reference_std > least
        self.both = in_query & in_reference
        self.one_query = in_query & (self.reference_std < least / 2)
        self.one_reference = in_reference & (self.query_std < least / 2)
        self.cross = cross
        self.energy = np.sqrt(var_q * var_r)


def _of_band(name: str, local: _Local, valid: npt.NDArray[np.bool_]) -> dict[str, float]:
    at = valid[::_STRIDE, ::_STRIDE]
    count = max(int(at.sum()), 1)
    seen = local.correlation[local.both & at]
    found = {
        "both": len(seen) / count,
        "query": int((local.one_query & at).sum()) / count,
        "reference": int((local.one_reference & at).sum()) / count,
    }
    if len(seen) < 20:
        found |= dict.fromkeys(_OF_BAND[:9], np.nan)
    else:
        found |= dict(zip(_OF_BAND[:6], np.percentile(seen, (0.1, 2, 5, 10, 25, 50)), strict=True))
        found["differs"] = float((seen < _DIFFERS).mean())
        found["agrees"] = float((seen > _AGREES).mean())
        found["agrees_fully"] = float((seen > _AGREES_FULLY).mean())
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
    total = max(int(at.sum()), 1)
    found = dict.fromkeys(_OF_PATCHES, 0.0)
    areas = sizes[1:number, cv2.CC_STAT_AREA]
    order = np.argsort(-areas, kind="stable")[:_PATCHES]
    alike = (np.abs(pair.query - pair.reference) < _ALIKE_LEVELS)[::_STRIDE, ::_STRIDE]
    ratios = []
    for label in order + 1:
        here = labels == label
        area = float(here.sum()) / total
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
        found["patch_area"] = float(here.sum()) / total
        found["patch_ratio"] = ratios[0]
        found["two_ratio"] = ratios[1] if len(ratios) > 1 else np.nan
        found["patch_ground"] = float(alike[here].mean())
        around = max(int(box[cv2.CC_STAT_WIDTH]) * int(box[cv2.CC_STAT_HEIGHT]), 1)
        found["patch_fill"] = float(here.sum()) / around
        found["all_ground"] = float(alike[apart & at].mean())
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
    seen = seen[:: max(1, len(seen) // _MOST_PLACES)]
    if len(seen) < 50:
        return np.zeros(valid.shape, bool), found | dict.fromkeys(_OF_REST[:10], np.nan)
    percentiles = np.percentile(seen, (50, 90, 99, 99.9))
    found |= dict(zip(_OF_REST[5:9], map(float, percentiles), strict=True))
    smooth = cv2.blur(rest, (3, 3))
    found["rest_peak"] = float(smooth.max())
    found["rest_ratio"] = found["rest_peak"] / (found["rest_p99"] + 4)
    raw = cv2.blur(np.abs(pair.query - pair.reference) * valid, (5, 5))
    middle, high = np.percentile(raw[telling][:: max(1, telling.sum() // _MOST_PLACES)], (50, 99))
    found |= {"raw_p50": float(middle), "raw_p99": float(high), "raw_peak": float(raw.max())}
    found["raw_ratio"] = found["raw_peak"] / (found["raw_p99"] + 2)
    limit = max(_OTHER_LEVELS, 3 * float(percentiles[1]))
    marked = (smooth > limit) & valid
    found["rest_share"] = float(marked.sum()) / max(int(telling.sum()), 1)
    shown, strokes = _strokes(pair, marked, valid)
    return shown, found | strokes


def _strokes(
    pair: Overlap, marked: npt.NDArray[np.bool_], valid: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], dict[str, float]]:
    """The connected pieces of what is marked: the largest of them as a mask, and their figures."""
    joined = cv2.morphologyEx(marked.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    number, labels, sizes, _ = cv2.connectedComponentsWithStats(joined)
    areas = sizes[1:number, cv2.CC_STAT_AREA]
    kept = np.flatnonzero(areas >= 6)
    found = dict.fromkeys(_OF_STROKES, 0.0)
    if not len(kept):
        return np.zeros(valid.shape, bool), found
    order = kept[np.argsort(-areas[kept], kind="stable")][:_PATCHES]
    found["blobs"] = float(len(kept))
    found["blob_largest_px"] = float(areas[order[0]])
    found["blob_area"] = float(areas[kept].sum()) / max(int(valid.sum()), 1)
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
            found["blob_ground"] = float((difference < _ALIKE_LEVELS).mean())
            found["blob_level"] = float(np.median(pair.query[part] - pair.reference[part]))
    return np.asarray(np.isin(labels, order + 1) & valid, np.bool_), found


def _rest(query: Floats, reference: Floats) -> Floats:
    """By how much the levels of one lie outside of what the other has within a px, both ways."""
    near = np.ones((3, 3), np.uint8)
    above, below = reference - cv2.dilate(query, near), cv2.erode(query, near) - reference
    back_above = query - cv2.dilate(reference, near)
    back_below = cv2.erode(reference, near) - query
    one_way, other_way = np.maximum(above, below), np.maximum(back_above, back_below)
    return np.asarray(np.maximum(np.maximum(one_way, other_way), 0), np.float32)


def _of_flow(pair: Overlap, steep: Floats, valid: npt.NDArray[np.bool_]) -> dict[str, float]:
    """What is still displaced where there is texture, single places and blocks of them."""
    flow = flow_between(pair)
    length = cv2.magnitude(flow[..., 0], flow[..., 1])
    textured = valid & (steep > 5)
    seen = length[textured]
    if len(seen) < 50:
        return dict.fromkeys(_OF_FLOW, np.nan)
    found = {"flow_1": float((seen > 1).mean()), "flow_2": float((seen > 2).mean())}
    some = seen[:: max(1, len(seen) // _MOST_PLACES)]
    percentiles = np.percentile(some, (50, 75, 90, 97))
    found |= dict(zip(_OF_FLOW[2:6], map(float, percentiles), strict=True))
    side = max(8, max(valid.shape) // 40)
    shape = (max(1, valid.shape[1] // side), max(1, valid.shape[0] // side))
    count = cv2.resize(textured.astype(np.float32), shape, interpolation=cv2.INTER_AREA)
    total = cv2.resize(length * textured, shape, interpolation=cv2.INTER_AREA)
    blocks = (total / np.maximum(count, 1e-6))[count > 0.08]
    if len(blocks) < 4:
        return found | dict.fromkeys(_OF_FLOW[6:], np.nan)
    percentiles = np.percentile(blocks, (50, 75, 90, 97))
    found |= dict(zip(_OF_FLOW[6:10], map(float, percentiles), strict=True))
    return found | {"moved": float((blocks > 1).mean())}


def _of_all(
    sharp: Overlap, steep: tuple[Floats, Floats], local: _Local, valid: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """What kind of picture it is, and whether the grain of its plain places is shared."""
    grain = [grey - _blurred(grey, 1.0) for grey in (sharp.query, sharp.reference)]
    quiet = valid & (cv2.dilate(np.maximum(*steep), np.ones((7, 7), np.uint8)) < 5)
    found = {"grain": np.nan, "grain_query": np.nan, "grain_reference": np.nan}
    if quiet.sum() > 200:
        a, b = (one[quiet] for one in grain)
        found["grain_query"], found["grain_reference"] = float(a.std()), float(b.std())
        norm = found["grain_query"] * found["grain_reference"]
        found["grain"] = float(((a - a.mean()) * (b - b.mean())).mean()) / max(norm, 0.05)
    return {
        **found,
        "frame": float(np.log2(max(valid.shape))),
        "plain": _share_of_mode(sharp.query[::2, ::2][valid[::2, ::2]]),
        "plain_reference": _share_of_mode(sharp.reference[::2, ::2][valid[::2, ::2]]),
        "textured": float((local.both | local.one_query | local.one_reference).mean()),
        "steep": float((np.minimum(*steep) > 20).mean()),
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
    if both.sum() < 30:
        return {"colour_mean": np.nan, "colour_p98": np.nan, "colour_correlation": np.nan}
    a, b = warped[both], reference.chroma[both]
    apart = np.linalg.norm(a - b, axis=1)
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return {
        "colour_mean": float(apart.mean()),
        "colour_p98": float(np.percentile(apart, 98)),
        "colour_correlation": float((a * b).sum()) / norm if norm > 9 * len(a) else np.nan,
    }


def _blurred(grey: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.float32)


def _box(values: Floats, size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.blur(values, size)[::_STRIDE, ::_STRIDE], np.float32)
