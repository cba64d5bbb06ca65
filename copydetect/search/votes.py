"""Feature hits → votes for images with one geometry, and the correspondences behind them.

Each feature of a query image, and of its mirror image, comes with its nearest features in the
index. Hits on one reference that agree in scale ratio and rotation (weak geometric consistency,
Jégou et al. 2008), and then in translation, add up to its vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from copydetect.description.keypoints import (
    ANGLE_STEPS_PER_TURN,
    SCALE_STEPS_PER_OCTAVE,
    UNITS_PER_SIDE,
    Quantiser,
    mirror_geometry,
    mirror_vectors,
    reconstruct,
)
from copydetect.index.spills import stable_order
from copydetect.sorted_rows import begins_run, place_in_run
from copydetect.types import Bools, Doubles, Floats, Ints, Keypoints

CODE_NOISE = 0.2
"""Squared distance that quantisation alone can cause. Without it, a template's features that have
equal codes everywhere would count in full, for their distances are all 0."""

_STRANGERS_APART = 0.2
"""Squared distance of a feature of an ordinary picture to its eighth nearest: .14 to .22."""

KEPT = 50
"""The best references that are kept for each query image."""

_SCALE_STEP_OCTAVES, _ANGLE_STEP_DEG, _TRANSLATION_STEP = 0.7, 30.0, 0.15
"""Width of a cell, each hit counting in two neighbours; translation in fractions of the reference
thumbnail's longer side."""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class QueryFeatures:
    """Features of a block of query images, each image in both orientations; row i belongs together.

    image: (n,) int64 image_no; mirrored: (n,) bool, whether of the mirror image;
    x, y, scale, angle: (n,) uint8 as in `types.Keypoints`, of that orientation;
    upright_x: (n,) uint8, x in the image as it is.
    """

    image: Ints
    mirrored: Bools
    upright_x: Bytes
    x: Bytes
    y: Bytes
    scale: Bytes
    angle: Bytes


@dataclass(frozen=True)
class Votes:
    """The best references of each query image; rows sorted by query, then votes, then reference.

    query, reference: (m,) int64 image_no; votes: (m,) float32 > 0, the agreeing hits' weights over
    the square root of the query's feature count; mirrored: (m,) bool, whether the query's mirror
    image got them; hits: (m,) int32, agreeing hits; correspondences of row i are rows
    starts[i]:starts[i + 1] of points: (p, 4) float32, x and y in the query's upright thumbnail and
    in the reference's, as fractions of each thumbnail's longer side; families: (f,) int64 image_no
    of queries that are of such a family as the `family_distance` of `vote` tells, ascending.
    """

    query: Ints
    reference: Ints
    votes: Floats
    mirrored: Bools
    hits: npt.NDArray[np.int32]
    starts: Ints
    points: Floats
    families: Ints = field(default_factory=lambda: np.empty(0, np.int64))


def query_features(
    image_nos: Sequence[int], keypoints: Sequence[Keypoints], quantiser: Quantiser
) -> tuple[QueryFeatures, Floats]:
    """Features of both orientations of some images, and the (n, d) float32 vectors to look up."""
    if not keypoints:
        empty = np.zeros(0, np.uint8)
        image = np.zeros(0, np.int64)
        none = QueryFeatures(image, empty.astype(bool), empty, empty, empty, empty, empty)
        return none, np.zeros((0, quantiser.dimension), np.float32)
    counts = [len(points.x) for points in keypoints]
    upright = [(points.x, points.y, points.scale, points.angle) for points in keypoints]
    flipped = [mirror_geometry(points) for points in keypoints]
    x, y, scale, angle = (np.concatenate(column) for column in zip(*upright, *flipped, strict=True))
    image = np.repeat(np.asarray(image_nos, np.int64), counts)
    vectors = reconstruct(np.concatenate([points.codes for points in keypoints]), quantiser)
    features = QueryFeatures(
        image=np.concatenate([image, image]),
        mirrored=np.repeat([False, True], len(image)),
        upright_x=np.tile(x[: len(image)], 2),
        x=x,
        y=y,
        scale=scale,
        angle=angle,
    )
    return features, np.concatenate([vectors, mirror_vectors(vectors, quantiser)])


def vote(
    features: QueryFeatures,
    ids: Ints,
    distances: Floats,
    exclude_self: bool = False,
    family_distance: float = 0.0,
    keep: int = KEPT,
) -> Votes:
    """The references that the features' hits agree on.

    ids: (n, k) int64 as `index.channels.feature_ids` packs them, nearest first, −1 where there is
    none; distances: (n, k) squared L2. exclude_self: hits on the query's own image_no don't count
    (one collection searched in itself). A hit weighs 1 − (d + ε) / (d_k + ε), so that a feature
    with many equals says little; k of about 8 serves one copy per image as well as ten.

    family_distance: where half of an image's features have all their hits within this squared
    distance, the image is in a family: it has more copies, or look-alikes, than a feature has hits.
    There features weigh as if strangers began behind their hits. 0 looks for none. keep: how many
    references of a query image are kept.
    """
    families = _in_families(features, ids, distances, family_distance)
    hits = _weigh(features, ids, distances, np.isin(features.image, families), exclude_self)
    pairs, pair, counts = np.unique(
        _pair_keys(features, hits), return_inverse=True, return_counts=True
    )
    alone = counts[pair] == 1
    hits = _Hits(hits.feature, hits.id, hits.weight, pair)
    together = np.flatnonzero(~alone)
    agreeing = hits.where(together[stable_order(pair[together])])
    agreeing = _agree_in_scale_and_angle(features, agreeing, len(pairs))
    agreeing = _agree_in_translation(features, agreeing, len(pairs))
    agreeing = _one_to_one(agreeing)
    agreeing = _Hits.concatenate(agreeing, hits.where(alone))
    return replace(_best(features, agreeing, pairs, keep), families=families)


@dataclass(frozen=True)
class _Hits:
    """Single hits, row i belongs together: the query's feature, the hit's id, weight and pair."""

    feature: Ints
    id: Ints
    weight: Doubles
    pair: Ints

    def where(self, chosen: Bools | Ints) -> _Hits:
        return _Hits(self.feature[chosen], self.id[chosen], self.weight[chosen], self.pair[chosen])

    @staticmethod
    def concatenate(a: _Hits, b: _Hits) -> _Hits:
        return _Hits(
            np.concatenate([a.feature, b.feature]),
            np.concatenate([a.id, b.id]),
            np.concatenate([a.weight, b.weight]),
            np.concatenate([a.pair, b.pair]),
        )


def _in_families(
    features: QueryFeatures, ids: Ints, distances: Floats, family_distance: float
) -> Ints:
    """The image_no, ascending, of images that have more copies than a feature has hits."""
    if not family_distance or not len(ids):
        return np.empty(0, np.int64)
    upright = ~features.mirrored
    near = (ids[:, -1] >= 0) & (distances[:, -1] <= family_distance)
    images, image = np.unique(features.image[upright], return_inverse=True)
    share = np.bincount(image, near[upright], len(images)) / np.bincount(image)
    return np.asarray(images[share >= 0.5], np.int64)


def _weigh(
    features: QueryFeatures, ids: Ints, distances: Floats, in_family: Bools, exclude_self: bool
) -> _Hits:
    """Hits with a weight above 0, as flat rows; `pair` is not yet known."""
    exists = ids >= 0
    farthest = np.where(exists, distances, 0).max(axis=1, keepdims=True, initial=0)
    farthest = np.where(in_family[:, None], np.maximum(farthest, _STRANGERS_APART), farthest)
    weights = 1 - (np.where(exists, distances, np.inf) + CODE_NOISE) / (farthest + CODE_NOISE)
    counts = exists & (weights > 0)
    if exclude_self:
        counts &= (ids >> 32) != features.image[:, None]
    feature, column = np.nonzero(counts)
    found = ids[feature, column]
    return _Hits(feature, found, weights[feature, column].astype(np.float64), found >> 32)


def _pair_keys(features: QueryFeatures, hits: _Hits) -> Ints:
    """A number for each hit's (query, mirrored, reference), equal where these are."""
    _, query = np.unique(features.image, return_inverse=True)
    return ((query[hits.feature] * 2 + features.mirrored[hits.feature]) << 32) | (hits.id >> 32)


def _agree_in_scale_and_angle(features: QueryFeatures, hits: _Hits, pairs: int) -> _Hits:
    """The hits in each pair's best cell of scale ratio and rotation."""
    octaves, turns = _scale_and_turn(features, hits)
    angle_cells = round(360 / _ANGLE_STEP_DEG)
    scale_cells = int(2 * 256 / SCALE_STEPS_PER_OCTAVE / _SCALE_STEP_OCTAVES) + 2
    coordinates = [octaves / _SCALE_STEP_OCTAVES + scale_cells // 2, turns * angle_cells]
    return hits.where(_in_best_cell(hits, coordinates, [scale_cells, angle_cells], pairs, wrap=1))


def _agree_in_translation(features: QueryFeatures, hits: _Hits, pairs: int) -> _Hits:
    """The hits in each pair's best cell of translation, once scale and rotation are averaged."""
    octaves, turns = _scale_and_turn(features, hits)
    total = np.bincount(hits.pair, hits.weight, pairs) + 1e-12
    zoom = np.exp2(np.bincount(hits.pair, hits.weight * octaves, pairs) / total)[hits.pair]
    turn = np.bincount(hits.pair, hits.weight * np.exp(2j * np.pi * turns).real, pairs) + (
        1j * np.bincount(hits.pair, hits.weight * np.exp(2j * np.pi * turns).imag, pairs)
    )
    rotation = np.exp(1j * np.angle(turn))[hits.pair]
    # About the query's middle, so that errors of scale and rotation shift as little as possible.
    middle = (1 + 1j) / 2
    shift = _reference_position(hits) - zoom * rotation * (_query_position(features, hits) - middle)
    step = _TRANSLATION_STEP * np.clip(zoom, 0.5, 4)
    cells = 256
    coordinates = [shift.real / step + cells // 2, shift.imag / step + cells // 2]
    return hits.where(_in_best_cell(hits, coordinates, [cells, cells], pairs, wrap=None))


def _in_best_cell(
    hits: _Hits,
    coordinates: list[Doubles],
    cells: list[int],
    pairs: int,
    wrap: int | None,
) -> Bools:
    """Which hits are in their pair's heaviest cell.

    coordinates: two (n,) arrays in units of cells; a hit counts in its own and the next cell of
    each; wrap: which of the two coordinates is circular.
    """
    keys = []
    for corner in range(4):
        first, second = (
            np.floor(coordinates[axis]).astype(np.int64) + (corner >> axis & 1) for axis in (0, 1)
        )
        first, second = (
            index % cells[axis] if axis == wrap else np.clip(index, 0, cells[axis] - 1)
            for axis, index in ((0, first), (1, second))
        )
        keys.append((hits.pair * cells[0] + first) * cells[1] + second)
    # Hits are in the order of their pairs, and keys nearly so: merging, which NumPy does for
    # `return_index`, sorts them in half the time.
    found, _, cell = np.unique(np.concatenate(keys), return_index=True, return_inverse=True)
    weight = np.bincount(cell, np.tile(hits.weight, 4), len(found))
    owner = found // (cells[0] * cells[1])
    heaviest = np.zeros(pairs)
    np.maximum.at(heaviest, owner, weight)
    # Of equally heavy cells, the first: every pair has exactly one.
    candidates = np.flatnonzero(weight == heaviest[owner])
    is_best = np.zeros(len(found), bool)
    is_best[candidates[begins_run(owner[candidates])]] = True
    return np.asarray(is_best[cell].reshape(4, -1).any(axis=0), np.bool_)


def _one_to_one(hits: _Hits) -> _Hits:
    """Each feature counts once in a pair, on both sides: repeated patterns don't add up."""
    hits = _heaviest_of(hits, hits.id & 0xFFFFFFFF)
    return _heaviest_of(hits, hits.feature)


def _heaviest_of(hits: _Hits, feature: Ints) -> _Hits:
    """The heaviest of a pair's hits with the same `feature`, (n,) below 2³²."""
    keys = hits.pair << 32 | feature
    order = np.argsort(keys)
    again = keys[order[1:]] == keys[order[:-1]]
    # Few repeat: only these need a careful order.
    repeated = np.union1d(order[1:][again], order[:-1][again])
    order = repeated[np.lexsort((-hits.weight[repeated], keys[repeated]))]
    kept = np.ones(len(keys), bool)
    kept[order[1:][keys[order[1:]] == keys[order[:-1]]]] = False
    return hits.where(kept)


def _best(features: QueryFeatures, hits: _Hits, pairs: Ints, keep: int) -> Votes:
    """Sum up, keep the better orientation of each pair and the best references of each query."""
    images, counts = np.unique(features.image, return_counts=True)
    weight = np.bincount(hits.pair, hits.weight, len(pairs))
    query, mirrored, reference = pairs >> 33, (pairs >> 32) & 1, pairs & 0xFFFFFFFF
    weight = weight / np.sqrt(counts[query] / 2)
    strong = _strongest(pairs >> 32, weight, keep)
    strong = strong[
        np.lexsort((mirrored[strong], -weight[strong], reference[strong], query[strong]))
    ]
    better = strong[begins_run(query[strong], reference[strong])]
    order = better[np.lexsort((reference[better], -weight[better], query[better]))]
    kept = order[place_in_run(query[order]) < keep]
    return _with_points(features, hits, kept, images[query], reference, weight, mirrored)


def _strongest(groups: Ints, weight: Doubles, count: int) -> Ints:
    """Rows that may be among the `count` heaviest of their group: these, and who equals the last.

    groups: (n,) below 2³¹, ascending. Most pairs have one hit; they are dropped before sorting.
    """
    light = ~weight.astype(np.float32).view(np.uint32)
    order = np.argsort(groups.astype(np.uint64) << np.uint64(32) | light)
    last = np.searchsorted(groups, groups, "left") + count - 1
    ends = np.searchsorted(groups, groups, "right") - 1
    limit = light[order][np.minimum(last, ends)]
    return np.flatnonzero(light <= limit)


def _with_points(
    features: QueryFeatures,
    hits: _Hits,
    kept: Ints,
    query: Ints,
    reference: Ints,
    weight: Doubles,
    mirrored: Ints,
) -> Votes:
    """The kept pairs, in order, with the positions of their hits."""
    row_of_pair = np.full(len(weight), -1)
    row_of_pair[kept] = np.arange(len(kept))
    hits = hits.where(row_of_pair[hits.pair] >= 0)
    row = row_of_pair[hits.pair]
    hits = hits.where(np.argsort(row, kind="stable"))
    upright = replace(features, x=features.upright_x)
    ours, theirs = _query_position(upright, hits), _reference_position(hits)
    counts = np.bincount(row, minlength=len(kept))
    return Votes(
        query=query[kept],
        reference=reference[kept],
        votes=weight[kept].astype(np.float32),
        mirrored=mirrored[kept].astype(bool),
        hits=counts.astype(np.int32),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        points=np.stack([ours.real, ours.imag, theirs.real, theirs.imag], 1).astype(np.float32),
    )


def _scale_and_turn(features: QueryFeatures, hits: _Hits) -> tuple[Doubles, Doubles]:
    """Each hit's scale ratio, reference over query, in octaves, and rotation in turns, 0 to 1."""
    scale = (hits.id >> 8 & 0xFF) - features.scale[hits.feature]
    angle = ((hits.id & 0xFF) - features.angle[hits.feature]) % ANGLE_STEPS_PER_TURN
    return scale / SCALE_STEPS_PER_OCTAVE, angle / ANGLE_STEPS_PER_TURN


def _query_position(features: QueryFeatures, hits: _Hits) -> npt.NDArray[np.complex128]:
    """x + iy of the hits' query features, in fractions of the longer side."""
    x, y = features.x[hits.feature], features.y[hits.feature]
    return np.asarray(((x + 0.5) + 1j * (y + 0.5)) / UNITS_PER_SIDE)


def _reference_position(hits: _Hits) -> npt.NDArray[np.complex128]:
    """x + iy of the hits' reference features, in fractions of the longer side."""
    x, y = hits.id >> 24 & 0xFF, hits.id >> 16 & 0xFF
    return np.asarray(((x + 0.5) + 1j * (y + 0.5)) / UNITS_PER_SIDE)
