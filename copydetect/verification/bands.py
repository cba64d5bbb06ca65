"""two aligned pictures → how well they correlate in windows, in bands of coarse to fine detail."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.verification.agreement import Overlap, blurred
from copydetect.verification.counting import number_of, percentiles_of, share_of
from copydetect.verification.pair_images import Floats

STRIDE = 3
"""Px from one window to the next, but for the coarse band."""
_COARSE_STRIDE = 2
_BANDS = (
    ("coarse", 17, _COARSE_STRIDE, 6.0),
    ("middle", 17, STRIDE, 5.0),
    ("fine", 11, STRIDE, 2.0),
)
"""Name, window and stride in px of the band, and the standard deviation from which there is texture
in the window. The coarse band has half the px."""
_COARSE_SIGMA_PX = 4.0
DIFFERS = 0.4
"""Correlation below which a window shows other content."""
_AGREES, _AGREES_FULLY = 0.85, 0.95

_OF_BAND = ("p0", "p2", "p5", "p10", "p25", "p50", "differs", "agrees", "agrees_fully", "both",
            "query", "reference", "correlation")  # fmt: skip
NAMES = tuple(f"{band}_{name}" for band, *_ in _BANDS for name in _OF_BAND)
"""What the figures of the bands are, in order."""


class LocalCorrelation:
    """Normalised correlation in windows, at every `stride`-th place.

    correlation: −1…1; query_std, reference_std: contrast in grey levels; both, one_query,
    one_reference: where both have texture, and where only one has; apart: where they show other
    content, or only one shows any.
    """

    def __init__(
        self, query: Floats, reference: Floats, window: int, stride: int, least: float
    ) -> None:
        products = query, reference, query * query, reference * reference, query * reference
        mean_q, mean_r, square_q, square_r, both = (
            np.ascontiguousarray(cv2.blur(values, (window, window))[::stride, ::stride])
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
        unlike = self.both & (self.correlation < DIFFERS)
        self.apart = unlike | self.one_query | self.one_reference
        self.cross = cross
        self.energy = np.sqrt(var_q * var_r)


def correlate(pair: Overlap) -> dict[str, LocalCorrelation]:
    """Each band, by its name."""
    return {
        name: LocalCorrelation(*both, window, stride, least)
        for (name, window, stride, least), both in zip(_BANDS, _bands(pair), strict=True)
    }


def figures(bands: dict[str, LocalCorrelation], valid: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Those of `NAMES`. valid: where the frame shows both pictures."""
    found: dict[str, float] = {}
    for name, local in bands.items():
        stride = 2 * _COARSE_STRIDE if name == "coarse" else STRIDE
        found |= _of_band(name, local, valid[::stride, ::stride])
    return found


def _bands(pair: Overlap) -> Iterator[tuple[Floats, Floats]]:
    """Both pictures without what is coarser and finer than each band."""
    both = (pair.query, pair.reference)
    coarse = [_much_blurred(grey) for grey in both]
    yield coarse[0], coarse[1]
    middle = [grey - _enlarged(half, grey) for grey, half in zip(both, coarse, strict=True)]
    yield middle[0], middle[1]
    fine = [blurred(grey, 0.7) - blurred(grey, 2.0) for grey in both]
    yield fine[0], fine[1]


def _of_band(name: str, local: LocalCorrelation, at: npt.NDArray[np.bool_]) -> dict[str, float]:
    """at: which places of `local` lie inside both pictures."""
    count = max(number_of(at), 1)
    seen = local.correlation[local.both & at]
    found = {
        "both": len(seen) / count,
        "query": number_of(local.one_query & at) / count,
        "reference": number_of(local.one_reference & at) / count,
    }
    if len(seen) < 20:
        found |= dict.fromkeys(_OF_BAND[:9], np.nan)
    else:
        found |= dict(zip(_OF_BAND[:6], percentiles_of(seen, 0.1, 2, 5, 10, 25, 50), strict=True))
        found["differs"] = share_of(seen < DIFFERS)
        found["agrees"] = share_of(seen > _AGREES)
        found["agrees_fully"] = share_of(seen > _AGREES_FULLY)
    energy = float(local.energy[at].sum())
    found["correlation"] = float(local.cross[at].sum()) / energy if energy > 1 else np.nan
    return {f"{name}_{key}": float(value) for key, value in found.items()}


def _much_blurred(grey: Floats) -> Floats:
    """Without what is finer than the coarse band, at half the size: next to nothing is lost."""
    height, width = grey.shape
    half = cv2.resize(grey, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)
    return blurred(np.asarray(half, np.float32), _COARSE_SIGMA_PX / 2)


def _enlarged(half: Floats, grey: Floats) -> Floats:
    return np.asarray(cv2.resize(half, grey.shape[::-1]), np.float32)
