"""How crowded it is around each image: score normalisation by the collection itself.

Two pages of text are as similar as a photo and its copy; but a page has many such neighbours, a
photo has none. The density of an image is what its nearest strangers score; a pair's score minus
the density of its images means the same everywhere (the idea of CSLS, arXiv 1710.04087, and of
local scaling). It comes from the neighbour lists that the search returns anyway.

Copies are neighbours too, and must not count as crowding. The far neighbours of an image tell how
fast similarity falls with the logarithm of the rank, which a tail of strangers does nearly
linearly; a near neighbour counts for little more than this line predicts. Measuring again after
verification, without the copies that are then known, gains nothing: .893 to .896 micro-AP of the
matches of a pile with up to nine copies of an image, and a worse fit on made copies.

A family of more than eight copies would reach into the tail. It shows as a step in the list.
Where scores fall exponentially, the step from rank r to the next is spread / r on average (Rényi
1953), and one of two spreads from rank 8 on is no chance. So everything before the last such step
is a family, and the strangers begin after it. In two ordinary collections at most one picture in a
hundred has such a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from copydetect.sorted_rows import place_in_run
from copydetect.types import Bools, Floats, Ints

_BLOCK_IMAGES = 65_536

# Ranks of neighbours count from 1.
FIRST_RANK, LAST_RANK = 2, 6
"""The near neighbours that are averaged, without the first, which may be a copy."""
TAIL_FIRST, TAIL_LAST = 8, 30
"""The far neighbours that a line is laid through."""
_SLACK = 1.5
"""How far a near neighbour may lie above that line, in slopes of the line."""
_STEP = 2.0
"""The fall of scores that ends a family, in usual spreads."""
_FARTHEST = 2
"""How many times `TAIL_LAST` neighbours are looked at."""

# What collections of pictures usually have, for those that are too small or too uniform to tell.
USUAL_DENSITY = 0.2
"""The density of an image where no list of the collection tells one."""
_USUAL_SIMILARITY_SPREAD = 0.045
_USUAL_VOTE_SPREAD = 0.11
_USUAL_UNIT = 0.034
_MIN_LISTS = 10
_MAX_VOTE_DENSITY = 3.0
"""Strangers never get 20 times the usual votes: an image whose neighbours do has many copies."""


@dataclass(frozen=True)
class Densities:
    """The densities of one channel.

    values: (images,) float32, in the unit of `evidence`; floors: (images,) float32, the most
    evidence of a pair that is not on the image's list; spread: > 0, how much evidence makes a
    stranger e times rarer, the median over the images; crowd: (images,) float32, the size of a
    family, or of a crowd of look-alikes, that reaches into the tail of the image's list, 0 where
    there is none; unit: votes that strangers get, 0 where the channel's scores are similarities.
    """

    values: Floats
    floors: Floats
    spread: float
    crowd: Floats
    unit: float = 0.0

    @property
    def crowded(self) -> Bools:
        """(images,) bool: whether there is such a family or crowd."""
        return np.asarray(self.crowd > 0, np.bool_)

    def evidence(self, scores: Floats) -> Floats:
        """Scores in the unit of the densities: similarities as they are, votes in logarithms.

        The tail of similarities is near to exponential, that of votes to a power: only in
        logarithms do twice as many votes mean as much for a crowded image as for a lonely one.
        """
        if self.unit == 0:
            return np.asarray(scores, np.float32)
        evidence: Floats = np.log1p(np.asarray(scores, np.float32) / np.float32(self.unit))
        return evidence

    def of_pairs(self, query: Ints, reference: Ints) -> Floats:
        """(n,) float32: what the densities of both images take off a pair's evidence.

        Of similarities it is their mean, as in CSLS. Of votes it is the smaller one: screenshots of
        one program get votes from each other, by the features of its window, but not from the photo
        that only one of them shows. Where only one of the two is in a crowd, it is the other's: the
        density of the strangers behind a crowd says nothing of the votes that its window gets.
        """
        ours, theirs = self.values[query], self.values[reference]
        if self.unit == 0:
            return np.asarray((ours + theirs) / 2, np.float32)
        crowded = self.crowd[query] > 0, self.crowd[reference] > 0
        outside = np.where(crowded[0], theirs, ours)
        taken = np.where(crowded[0] == crowded[1], np.minimum(ours, theirs), outside)
        return np.asarray(taken, np.float32)

    def in_large_families(self, query: Ints, reference: Ints, family: int) -> Bools:
        """(n,) bool: which pairs are of families, or crowds of look-alikes, of more than `family`
        images."""
        smaller = np.minimum(self.crowd[query], self.crowd[reference])
        return np.asarray(smaller > family, np.bool_)


def similarity_densities(
    queries: Ints,
    scores: Floats,
    images: int,
    fallback: Floats | None = None,
) -> Densities:
    """Densities of the descriptor channel.

    queries: (n,) int64 image_no below `images`, scores: (n,) float32 similarity to one neighbour
    that is not the image itself, in any order; fallback: (images,) float32, for images
    with too few neighbours.
    """
    steps = np.full(images, _STEP * _USUAL_SIMILARITY_SPREAD, np.float32)
    values, slopes, crowd = _densities(queries, scores, images, steps, None)
    lonely = np.isnan(values)
    usual = USUAL_DENSITY if lonely.all() else np.median(values[~lonely])
    replacement = np.full(images, usual, np.float32) if fallback is None else fallback
    values = np.where(lonely, replacement, values).astype(np.float32)
    spread = _spread(slopes, _USUAL_SIMILARITY_SPREAD)
    return Densities(values, _floors(queries, scores, values), spread, crowd)


def vote_densities(
    queries: Ints,
    votes: Floats,
    images: int,
    unit: float | None = None,
    may_be_crowded: Bools | None = None,
) -> Densities:
    """Densities of the local channel; arguments as in `similarity_densities`.

    An image that is not on the list has no vote, so that lists may be short. unit: as in
    `Densities`, where it is known from more of the collection than these images. may_be_crowded:
    (images,) bool, where to look for a family, None for everywhere. Pictures of one template make a
    step in votes, too, so descriptors decide where to look.
    """
    unit = unit or _stranger_votes(queries, votes, images)
    evidence = np.log1p(votes / np.float32(unit))
    steps = np.full(images, _STEP * _USUAL_VOTE_SPREAD, np.float32)
    if may_be_crowded is not None:
        steps[~may_be_crowded] = np.inf
    values, slopes, crowd = _densities(queries, evidence, images, steps, 0.0)
    values = np.minimum(np.nan_to_num(values), np.float32(_MAX_VOTE_DENSITY))
    spread = _spread(slopes, _USUAL_VOTE_SPREAD)
    return Densities(values, _floors(queries, evidence, values), spread, crowd, unit)


def nearness(queries: Ints, scores: Floats, images: int) -> Floats:
    """(images,) float32: the mean of the best `TAIL_LAST` scores of each image, or 0.

    In a family that fills the lists it tells how much an image is in its middle; arguments as of
    `similarity_densities`.
    """
    order, _, sizes = _ranked(queries, scores, images)
    rows = order[place_in_run(queries[order]) < TAIL_LAST]
    sums = np.bincount(queries[rows], scores[rows], minlength=images)
    return np.asarray(sums / np.clip(sizes, 1, TAIL_LAST), np.float32)


def _floors(queries: Ints, evidence: Floats, values: Floats) -> Floats:
    """The least evidence on each image's list, at most its density: short lists end with copies."""
    floors: Floats = values.copy()
    np.minimum.at(floors, queries, evidence)
    return floors


def _stranger_votes(queries: Ints, votes: Floats, images: int) -> float:
    """Votes of the near ranks, the median over all images that have such.

    Kept within a factor of three of the usual value: in a small collection all near ranks may be
    those of copies.
    """
    order, _, _ = _ranked(queries, votes, images)
    ranks = place_in_run(queries[order])
    near = (ranks >= FIRST_RANK - 1) & (ranks < LAST_RANK)
    positive = votes[order[near]]
    positive = positive[positive > 0]
    median = float(np.median(positive)) if len(positive) else _USUAL_UNIT
    return min(max(median, _USUAL_UNIT / 3), _USUAL_UNIT * 3)


def _spread(slopes: Floats, usual: float) -> float:
    """The median slope of the tails, or the usual one where there are too few of them."""
    known = slopes[slopes > 0]
    return max(float(np.median(known)), usual / 4) if len(known) >= _MIN_LISTS else usual


def _densities(
    queries: Ints,
    scores: Floats,
    images: int,
    steps: Floats,
    absent: float | None,
) -> tuple[Floats, Floats, Floats]:
    """Density and tail slope (images,), NaN where an image has too few neighbours; crowds."""
    order, starts, sizes = _ranked(queries, scores, images)
    values = np.full(images, np.nan, np.float32)
    slopes = np.full(images, np.nan, np.float32)
    crowd = np.zeros(images, np.float32)
    for first in range(0, images, _BLOCK_IMAGES):
        block = slice(first, min(images, first + _BLOCK_IMAGES))
        ranks = _FARTHEST * TAIL_LAST
        ranked = _matrix(scores[order], starts[block], sizes[block], ranks, absent)
        ranked, members = without_family(ranked, steps[block])
        values[block], slopes[block] = density_of_lists(ranked)
        crowd[block] = members
    return values, slopes, crowd


def without_family(ranked: Floats, steps: Floats) -> tuple[Floats, npt.NDArray[np.integer]]:
    """Neighbour lists (n, TAIL_LAST) that begin behind a family, where one reaches into the tail,
    and how many members it has: (n,), 0 where there is none.

    ranked: (n, ranks) scores, descending, NaN where a list has ended; steps: (n,) by how much they
    fall behind a family.
    """
    before = TAIL_FIRST - 1
    falls = ranked[:, before:-1] - ranked[:, before + 1 :] > steps[:, None]
    last = ranked.shape[1] - 1 - np.argmax(falls[:, ::-1], axis=1)
    members = np.where(falls.any(axis=1), last, 0)
    columns = np.arange(TAIL_LAST) + members[:, None]
    beyond = columns >= ranked.shape[1]
    found = np.take_along_axis(ranked, np.where(beyond, 0, columns), axis=1)
    return np.where(beyond, np.float32(np.nan), found).astype(np.float32), members


def density_of_lists(ranked: Floats) -> tuple[Floats, Floats]:
    """Density and slope (n,) of neighbour lists (n, TAIL_LAST), descending, NaN where too short.

    The line is the least-squares fit of score against log(rank) over the tail; a list needs three
    neighbours there.
    """
    logs = np.log(np.arange(1, TAIL_LAST + 1))
    tail = slice(TAIL_FIRST - 1, TAIL_LAST)
    near = slice(FIRST_RANK - 1, LAST_RANK)
    scores = ranked[:, tail].astype(np.float64)
    there = ~np.isnan(scores)
    counts = np.maximum(there.sum(axis=1), 1)
    log_mean = (there * logs[tail]).sum(axis=1) / counts
    score_mean = np.where(there, scores, 0).sum(axis=1) / counts
    deviations = np.where(there, logs[tail] - log_mean[:, None], 0)
    squares = np.maximum((deviations**2).sum(axis=1), 1e-12)
    slopes = -(deviations * np.where(there, scores, 0)).sum(axis=1) / squares
    slopes = np.maximum(slopes, 0)  # rounding: the lists descend
    foretold = score_mean[:, None] - slopes[:, None] * (logs[near] - log_mean[:, None])
    ceiling = foretold + _SLACK * slopes[:, None]
    densities = np.minimum(ranked[:, near], ceiling).mean(axis=1)
    enough = there.sum(axis=1) >= 3
    return (
        np.where(enough, densities, np.nan).astype(np.float32),
        np.where(enough, slopes, np.nan).astype(np.float32),
    )


def _ranked(queries: Ints, scores: Floats, images: int) -> tuple[Ints, Ints, Ints]:
    """Rows ordered by image, then by descending score; first row and number of rows by image."""
    order = np.arange(len(queries))
    if not _is_ranked(queries, scores):
        order = np.lexsort((-scores, queries))
    sizes = np.bincount(queries, minlength=images).astype(np.int64)
    if len(sizes) > images:
        raise ValueError(f"a query has image_no {len(sizes) - 1}, there are {images} images")
    return order, np.cumsum(sizes) - sizes, sizes


def _is_ranked(queries: Ints, scores: Floats) -> bool:
    """Whether rows have that order already, as searches write them."""
    falls = (queries[1:] == queries[:-1]) & (scores[1:] <= scores[:-1])
    return bool(np.all(falls | (queries[1:] > queries[:-1])))


def _matrix(
    ordered: Floats,
    starts: Ints,
    sizes: Ints,
    ranks: int,
    absent: float | None,
) -> Floats:
    """The first `ranks` scores of each list (n, ranks), then NaN.

    absent: the score of images that are not on a list, where it is known: that of all behind a
    list that is shorter than the tail, which has not been cut.
    """
    columns = np.arange(ranks)
    inside = columns < sizes[:, None]
    rows = np.where(inside, starts[:, None] + columns, 0)
    filler = np.full(rows.shape, np.nan, np.float32)
    if absent is not None:
        filler[sizes < TAIL_LAST] = absent
    if not len(ordered):
        return filler
    return np.where(inside, ordered[rows], filler).astype(np.float32)
