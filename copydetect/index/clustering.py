"""k-means for many clusters, and an order of them that keeps neighbours together."""

from __future__ import annotations

import math

import faiss
import numpy as np

from copydetect.index.coarse import CoarseQuantiser
from copydetect.types import Floats, Ints

_DIRECT_CLUSTERS = 512
_CROWDED = 4
_ROUNDS_TOGETHER = 2


def cluster(floats: Floats, clusters: int, seed: int, workers: int = 1) -> Floats:
    """k-means: direct where clusters are few, else in two levels and then refined together."""
    if clusters == 1:
        mean: Floats = floats.mean(axis=0, keepdims=True).astype(np.float32)
        return mean
    if clusters <= _DIRECT_CLUSTERS:
        return _kmeans(floats, clusters, 10, seed)
    upper = _kmeans(floats, round(math.sqrt(clusters)), 8, seed)
    member = _nearest(floats, upper, workers)
    shares = _shares(np.bincount(member, minlength=len(upper)), clusters)
    parts = [
        _kmeans(np.ascontiguousarray(floats[member == part]), share, 8, seed)
        for part, share in enumerate(shares)
        if share
    ]
    centroids = np.concatenate(parts)
    for _ in range(_ROUNDS_TOGETHER):
        centroids = _means(floats, _nearest(floats, centroids, workers), centroids)
    return centroids


def split_crowded(floats: Floats, centroids: Floats, seed: int, workers: int = 1) -> Floats:
    """Centroids, with those that hold over four times the mean replaced by several.

    k-means may leave a tight crowd, thousands of near-identical images, to one centroid: more of
    them there would hardly reduce its error. But such a list makes queries slow.
    """
    member = _nearest(floats, centroids, workers)
    sizes = np.bincount(member, minlength=len(centroids))
    mean = len(floats) / len(centroids)
    crowded = np.flatnonzero(sizes > _CROWDED * mean)
    if len(centroids) == 1 or not len(crowded):
        return centroids
    pieces = [centroids[np.setdiff1d(np.arange(len(centroids)), crowded)]]
    for number in crowded:
        inside = np.ascontiguousarray(floats[member == number])
        distinct = len(np.unique(inside, axis=0))
        parts = min(round(sizes[number] / mean), distinct)
        pieces.append(_kmeans(inside, max(1, parts), 8, seed))
    return np.concatenate(pieces)


def _nearest(floats: Floats, centroids: Floats, workers: int) -> Ints:
    """(n,) the nearest centroid of each vector."""
    return CoarseQuantiser(centroids).nearest(floats, 1, workers)[:, 0]


def _means(floats: Floats, member: Ints, centroids: Floats) -> Floats:
    """The mean of each cluster's members; its old centroid where it has none."""
    order = np.argsort(member, kind="stable")
    clusters, starts, counts = np.unique(member[order], return_index=True, return_counts=True)
    means: Floats = centroids.copy()
    for number, start, count in zip(clusters, starts, counts, strict=True):
        means[number] = floats[order[start : start + count]].mean(axis=0)
    return means


def _kmeans(floats: Floats, clusters: int, rounds: int, seed: int) -> Floats:
    if clusters >= len(floats):
        return np.ascontiguousarray(floats[:clusters])
    kmeans = faiss.Kmeans(
        floats.shape[1],
        clusters,
        niter=rounds,
        seed=seed + 1,
        min_points_per_centroid=1,
        max_points_per_centroid=1 << 20,
    )
    kmeans.train(floats)
    centroids: Floats = np.array(kmeans.centroids, dtype=np.float32)
    return centroids


def _shares(sizes: Ints, total: int) -> Ints:
    """Split `total` in proportion to `sizes`, by the largest remainders, at most one per member."""
    exact = sizes * (total / sizes.sum())
    shares: Ints = np.minimum(np.floor(exact).astype(np.int64), sizes)
    while shares.sum() < total:
        short = np.where(shares < sizes, exact - shares, -np.inf)
        missing = int(total - shares.sum())
        shares[np.argsort(-short, kind="stable")[: min(missing, int((short > -np.inf).sum()))]] += 1
    return shares


def in_order(centroids: Floats) -> Floats:
    """Centroids ordered so that those which are near each other have near numbers.

    Halved again and again along the line between two far centroids (as in FastMap, Faloutsos and
    Lin 1995).
    """
    stack = [np.arange(len(centroids))]
    ordered: list[Ints] = []
    while stack:
        members = stack.pop()
        points = centroids[members]
        if len(members) <= 2:
            ordered.append(members)
            continue
        one = points[np.argmax(((points - points.mean(axis=0)) ** 2).sum(axis=1))]
        other = points[np.argmax(((points - one) ** 2).sum(axis=1))]
        members = members[np.argsort(points @ (other - one), kind="stable")]
        half = len(members) // 2
        stack += [members[half:], members[:half]]
    reordered: Floats = centroids[np.concatenate(ordered)]
    return reordered
