"""features of two images → correspondences: pairs that look alike, and like no others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from copydetect.verification.pair_images import Floats, LocalFeatures

_MAX_MATCHES = 400


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Pairs of features that look alike; row i of each field belongs together.

    query_px, reference_px: (n, 2) working px; log2_scale: (n,), of reference over query sizes;
    turn_rad: (n,), by which the (mirrored) query's feature turns; mirrored: the query's features
    were mirrored to match. All float32.
    """

    query_px: Floats
    reference_px: Floats
    log2_scale: Floats
    turn_rad: Floats
    mirrored: bool

    def __len__(self) -> int:
        return len(self.query_px)

    def where(self, keep: npt.NDArray[np.bool_]) -> Correspondences:
        """Those marked in `keep`, (n,) bool."""
        return Correspondences(
            self.query_px[keep],
            self.reference_px[keep],
            self.log2_scale[keep],
            self.turn_rad[keep],
            self.mirrored,
        )


def match_features(
    query: LocalFeatures, reference: LocalFeatures, mirrored: bool, ratio: float = 0.9
) -> Correspondences:
    """Mutual nearest neighbours that pass the ratio test in either direction (Lowe 2004).

    ratio: of the distances to the nearest and the second nearest; the most distinct are kept.
    """
    if len(query) < 2 or len(reference) < 2:
        return _no_correspondences(mirrored)
    described = query.mirrored if mirrored else query.descriptors
    others = reference.descriptors
    squares = np.einsum("ij,ij->i", described, described)[:, None]
    distance = squares + np.einsum("ij,ij->i", others, others) - 2 * (described @ others.T)
    rows = np.arange(len(query))
    nearest = distance.argmin(axis=1)
    best = distance[rows, nearest]
    mutual = distance.argmin(axis=0)[nearest] == rows
    distance[rows, nearest] = np.inf
    second = distance.min(axis=1)
    # Features of equal codes have equal distances, which are 0 or next to it.
    distinctness = np.sqrt((np.maximum(best, 0) + 1e-6) / (np.maximum(second, 0) + 1e-6))
    kept = np.flatnonzero(mutual & (distinctness < ratio))
    kept = kept[np.argsort(distinctness[kept], kind="stable")][:_MAX_MATCHES]
    partner = nearest[kept]
    angle = np.pi - query.angle_rad[kept] if mirrored else query.angle_rad[kept]
    return Correspondences(
        query_px=query.xy_px[kept],
        reference_px=reference.xy_px[partner],
        log2_scale=np.log2(reference.size_px[partner] / query.size_px[kept]),
        turn_rad=(reference.angle_rad[partner] - angle).astype(np.float32),
        mirrored=mirrored,
    )


def _no_correspondences(mirrored: bool) -> Correspondences:
    points, numbers = np.zeros((0, 2), np.float32), np.zeros(0, np.float32)
    return Correspondences(points, points, numbers, numbers, mirrored)
