"""a pair aligned at full size → numbers on the differences that are left between the two pictures.

Re-encoding, scaling, blur, noise, tone and colour leave little, all over and without structure. A
drawing leaves new content with sharp borders on otherwise equal pixels. Another photo of a scene
leaves edges that are displaced all over, a changed page glyphs that differ on one ground, another
filling of a form a background that agrees around content that does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.homographies import Matrix
from copydetect.verification import bands
from copydetect.verification.agreement import (
    Overlap,
    blurred,
    equalise_sharpness,
    suppress_noise,
)
from copydetect.verification.bands import STRIDE, LocalCorrelation
from copydetect.verification.counting import mode_of, number_of, percentiles_of, share_of
from copydetect.verification.evidence import chroma_on
from copydetect.verification.fine_alignment import (
    align_finely,
    flow_between,
    steepness,
    with_one_tone,
)
from copydetect.verification.lazy import lazy
from copydetect.verification.marks import own_marks
from copydetect.verification.pair_images import LARGEST_PX, Floats, PairImage
from copydetect.verification.slots import FRAMED, slot_borders

_OTHER_LEVELS = 28.0
"""A difference in grey levels that is no noise."""
_ALIKE_LEVELS = 12.0
_FLOW_PX = 640
"""The longest side at which the flow that is left is measured."""
_PATCHES = 6
_CONTRAST_PX, _LEAST_CONTRAST = 15, 24.0
"""The side of the square in which contrast is the brightest level less the darkest, and the levels
that it has at least: less is grain."""
_REDUCTION_PX = 1.5
_REST_STRIDE, _MOST_PLACES = 2, 60_000
"""Px from one place to the next, and how many places percentiles are taken of, at most."""

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
           "steep", "slot", "own_marks", "shared_marks")  # fmt: skip

NAMES = (
    *bands.NAMES,
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
    images that were compared; as_they_are: both in one frame; pair: the same after noise, sharpness
    and tone were made equal; differs: (h, w) bool of that frame, where they show other content.
    """

    values: npt.NDArray[np.float32]
    matrix: Matrix
    as_they_are: Overlap
    pair: Overlap
    differs: npt.NDArray[np.bool_]

    def __getitem__(self, name: str) -> float:
        return float(self.values[NAMES.index(name)])

    @lazy
    def apart_levels(self) -> float:
        """The largest difference of the pictures as they are, in grey levels: what a blur as of a
        reduction leaves of it, so that only other levels and other content count."""
        pair = self.as_they_are
        softer = (blurred(grey, _REDUCTION_PX) for grey in (pair.query, pair.reference))
        return float(cv2.absdiff(*softer)[_valid(pair)].max(initial=0))

    def of_contrast(self) -> tuple[float, float]:
        """The largest difference as a share of the contrast around it: of what is left where each
        picture may move by a px, and of the pictures as they lie."""
        query, reference = self.pair.query, self.pair.reference
        valid = _valid(self.pair)
        near = np.ones((_CONTRAST_PX, _CONTRAST_PX), np.uint8)
        contrasts = [cv2.dilate(grey, near) - cv2.erode(grey, near) for grey in (query, reference)]
        contrast = np.maximum(np.maximum(*contrasts), _LEAST_CONTRAST)
        rest = cv2.blur(_rest(query, reference) * valid, (3, 3))
        apart = cv2.blur(cv2.absdiff(query, reference) * valid, (5, 5))
        return float((rest / contrast)[valid].max()), float((apart / contrast)[valid].max())


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
    valid = _valid(pair)
    if number_of(valid) < 64:
        return None
    correlated = bands.correlate(pair)
    values = bands.figures(correlated, valid)
    middle = correlated["middle"]
    steep = steepness(pair.query), steepness(pair.reference)
    patched, patches = _patches(pair, middle, valid)
    rest = _rest(pair.query, pair.reference) * valid
    smooth = np.asarray(cv2.blur(rest, (3, 3)), np.float32)
    blobbed, blobs = _blobs(pair, (rest, smooth), np.maximum(*steep), valid)
    values |= patches | blobs | _of_flow(pair, np.minimum(*steep), valid)
    values |= {"explained": explained, "blur": blur, **_of_all(sharp, steep, middle, valid)}
    values |= _of_colour(matrix, query, reference)
    framed = min(values["plain"], values["plain_reference"]) >= FRAMED
    values["slot"] = slot_borders(pair, middle, valid) if framed else 0.0
    values |= dict(zip(_OF_ALL[-2:], own_marks(pair, smooth, valid), strict=True))
    vector = np.array([values[name] for name in NAMES], np.float32)
    return Residual(vector, matrix, sharp, pair, patched | blobbed)


def _valid(pair: Overlap) -> npt.NDArray[np.bool_]:
    """Where both pictures show something, apart from the borders of it."""
    return np.asarray(cv2.erode(pair.inside, np.ones((5, 5), np.uint8)) > 0, np.bool_)


def _patches(
    pair: Overlap, local: LocalCorrelation, valid: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], dict[str, float]]:
    """Connected places that differ: how large, on which side something stands, on what ground."""
    at = valid[::STRIDE, ::STRIDE]
    apart = local.apart
    number, labels, sizes, _ = cv2.connectedComponentsWithStats((apart & at).astype(np.uint8))
    total = max(number_of(at), 1)
    found = dict.fromkeys(_OF_PATCHES, 0.0)
    areas = sizes[1:number, cv2.CC_STAT_AREA]
    order = np.argsort(-areas, kind="stable")[:_PATCHES]
    some = np.s_[::STRIDE, ::STRIDE]
    alike = np.abs(pair.query[some] - pair.reference[some]) < _ALIKE_LEVELS
    ratios = []
    for label in order + 1:
        here = labels == label
        area = number_of(here) / total
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
        found["patch_area"] = number_of(here) / total
        found["patch_ratio"] = ratios[0]
        found["two_ratio"] = ratios[1] if len(ratios) > 1 else np.nan
        found["patch_ground"] = share_of(alike[here])
        around = max(int(box[cv2.CC_STAT_WIDTH]) * int(box[cv2.CC_STAT_HEIGHT]), 1)
        found["patch_fill"] = number_of(here) / around
        found["all_ground"] = share_of(alike[apart & at])
    found["patches"] = float((areas >= 9).sum())
    shown = np.isin(labels, order + 1) if len(order) else np.zeros(labels.shape, bool)
    height, width = valid.shape
    large = np.repeat(np.repeat(shown, STRIDE, axis=0), STRIDE, axis=1)[:height, :width]
    return np.asarray(large & valid, np.bool_), found


def _blobs(
    pair: Overlap, left: tuple[Floats, Floats], steep: Floats, valid: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], dict[str, float]]:
    """What is left where each picture may move by a px: strokes that the other one has not.

    left: that, and the same smoothed.
    """
    rest, smooth = left
    telling = valid & (cv2.dilate(steep, np.ones((5, 5), np.uint8)) > 8)
    found = dict.fromkeys(_OF_REST, 0.0)
    some = np.s_[::_REST_STRIDE, ::_REST_STRIDE]
    seen = rest[some][telling[some]]
    thinner = np.s_[:: max(1, len(seen) // _MOST_PLACES)]
    seen = seen[thinner]
    if len(seen) < 50:
        return np.zeros(valid.shape, bool), found | dict.fromkeys(_OF_REST[:10], np.nan)
    percentiles = percentiles_of(seen, 50, 90, 99, 99.9)
    found |= dict(zip(_OF_REST[5:9], percentiles, strict=True))
    found["rest_peak"] = float(smooth.max())
    found["rest_ratio"] = found["rest_peak"] / (found["rest_p99"] + 4)
    raw = cv2.blur(cv2.absdiff(pair.query, pair.reference) * valid, (5, 5))
    middle, high = percentiles_of(raw[some][telling[some]][thinner], 50, 99)
    found |= {"raw_p50": middle, "raw_p99": high, "raw_peak": float(raw.max())}
    found["raw_ratio"] = found["raw_peak"] / (found["raw_p99"] + 2)
    limit = max(_OTHER_LEVELS, 3 * percentiles[1])
    marked = (smooth > limit) & valid
    found["rest_share"] = number_of(marked) / max(number_of(telling), 1)
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
    found["blob_area"] = float(areas[kept].sum()) / max(number_of(valid), 1)
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
            found["blob_ground"] = share_of(difference < _ALIKE_LEVELS)
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
    found = {"flow_1": share_of(seen > 1), "flow_2": share_of(seen > 2)}
    some = seen[:: max(1, len(seen) // _MOST_PLACES)]
    percentiles = percentiles_of(some, 50, 75, 90, 97)
    found |= dict(zip(_OF_FLOW[2:6], percentiles, strict=True))
    side = max(8, max(valid.shape) // 40) // step
    height, width = (max(1, one // side) for one in textured.shape)
    whole = np.s_[: height * side, : width * side]
    count, total = (
        cv2.resize(one[whole], (width, height), interpolation=cv2.INTER_AREA)
        for one in (textured.astype(np.float32), length * textured)
    )
    blocks = (total / np.maximum(count, 1e-6))[count > 0.08]
    if len(blocks) < 4:
        return found | dict.fromkeys(_OF_FLOW[6:], np.nan)
    percentiles = percentiles_of(blocks, 50, 75, 90, 97)
    found |= dict(zip(_OF_FLOW[6:10], percentiles, strict=True))
    return found | {"moved": share_of(blocks > 1)}


def _of_all(
    sharp: Overlap,
    steep: tuple[Floats, Floats],
    local: LocalCorrelation,
    valid: npt.NDArray[np.bool_],
) -> dict[str, float]:
    """What kind of picture it is, and whether the grain of its plain places is shared."""
    grain = [grey - blurred(grey, 1.0) for grey in (sharp.query, sharp.reference)]
    quiet = valid & (cv2.dilate(np.maximum(*steep), np.ones((7, 7), np.uint8)) < 5)
    found = {"grain": np.nan, "grain_query": np.nan, "grain_reference": np.nan}
    if number_of(quiet) > 200:
        a, b = (one[quiet] for one in grain)
        found["grain_query"], found["grain_reference"] = float(a.std()), float(b.std())
        norm = found["grain_query"] * found["grain_reference"]
        found["grain"] = float(((a - a.mean()) * (b - b.mean())).mean()) / max(norm, 0.05)
    return {
        **found,
        "frame": float(np.log2(max(valid.shape))),
        "plain": mode_of(sharp.query[::2, ::2][valid[::2, ::2]])[1],
        "plain_reference": mode_of(sharp.reference[::2, ::2][valid[::2, ::2]])[1],
        "textured": share_of(local.both | local.one_query | local.one_reference),
        "steep": share_of(np.minimum(*steep) > 20),
    }


def _of_colour(matrix: Matrix, query: PairImage, reference: PairImage) -> dict[str, float]:
    """Both opponent colours on a small frame: how far apart, and whether they vary alike."""
    warped = chroma_on(reference, matrix, query)
    both = ~np.isnan(warped[..., 0])
    if number_of(both) < 30:
        return {"colour_mean": np.nan, "colour_p98": np.nan, "colour_correlation": np.nan}
    a, b = warped[both], reference.chroma[both]
    apart = np.linalg.norm(a - b, axis=1)
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return {
        "colour_mean": float(apart.mean()),
        "colour_p98": percentiles_of(apart, 98)[0],
        "colour_correlation": float((a * b).sum()) / norm if norm > 9 * len(a) else np.nan,
    }
