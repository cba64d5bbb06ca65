"""Crowds of near neighbours → which of them are families of copies.

An image with a dozen near neighbours has copies, or look-alikes: pages of one form, frames of one
camera. The search cannot tell which, so each of its pairs must be proved by its pixels alone. In a
family most are; in a crowd of look-alikes few. So where most pairs of a crowd should be copies, by
their confidence, this speaks for all of them, and for the heavier edits in it: those that are not
crowded themselves and match most of the family are its members, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from copydetect.types import Bools, Doubles, Ints

_MOST = 2 / 3
"""Of the pairs of a crowd: their mean confidence at the scores of strangers. It is .72 to .88 in
families of edits and of clips, .06 to .1 among pages, forms and windows of one layout, and .19
among the frames of a still camera."""
_MEMBER, _FEWEST_MATCHED = 0.5, 3
"""Which share of the pairs with a family, and how many of them, make an image a member."""


def in_proved_families(ends: Ints, crowded: Bools, confidences: Doubles, least: float) -> Bools:
    """(n,) bool: which pairs are inside a family: a crowd of which most pairs should be copies.

    ends: (2, n) numbers of the images of n pairs, from 0; crowded: (n,) bool; confidences: (n,) of
    each, its family unknown; least: from which on it is proved. A family is what proved crowded
    pairs connect, where of all crowded pairs of its images, those with others too, two in three
    should be copies inside it: two families of one pile are apart, and a few look-alikes that were
    proved by mistake are none. Confidences are added up, and not proved pairs counted, since a
    family may have many pairs just below `least`.
    """
    found = np.zeros(len(crowded), np.bool_)
    rows = np.flatnonzero(crowded)
    if not len(rows):
        return found
    ends, sure = ends[:, rows], confidences[rows]
    images = int(ends.max()) + 1
    proved = sure >= least
    linked = np.ones(int(proved.sum()), bool), tuple(ends[:, proved])
    graph = coo_array(linked, shape=(images,) * 2)
    crowds = connected_components(graph, directed=False)[1][ends]
    inside = crowds[0] == crowds[1]
    pairs = np.bincount(np.concatenate([crowds[0], crowds[1][~inside]]), minlength=images)
    expected = np.bincount(crowds[0][inside], sure[inside], minlength=images)
    shares = expected / np.maximum(pairs, 1)
    found[rows] = inside & (shares[crowds[0]] >= _MOST)
    return found


def numbered(pairs: Sequence[tuple[str, str]]) -> Ints:
    """(2, n) numbers from 0 on of the images of n pairs, in the order in which they first come."""
    numbers = {image: number for number, image in enumerate(dict.fromkeys(chain(*pairs)))}
    found = [[numbers[query], numbers[reference]] for query, reference in pairs]
    ends: Ints = np.array(found, np.int64).reshape(-1, 2).T
    return ends


def between_members(ends: Ints, family: Bools, copies: Bools) -> Bools:
    """(n,) bool: which pairs are between two members of one family.

    ends: (2, n) numbers of the images of n pairs, from 0; family: pairs inside a proved family, as
    `in_proved_families` says; copies: pairs that are copies by that. An image of no family joins
    the one of which it matches most, if these are not few; and members that match less than half of
    their family speak for no pair.
    """
    if not family.any():
        return np.zeros(len(family), np.bool_)
    images = int(ends.max()) + 1
    edges = np.ones(int(family.sum()), bool), tuple(ends[:, family])
    member = connected_components(coo_array(edges, shape=(images,) * 2), directed=False)[1]
    outside = np.ones(images, np.bool_)
    outside[ends[:, family]] = False
    member = np.where(outside, -1, member)
    image, of, matched, looked_at = _matched(ends, member, copies)
    joins = outside[image] & (matched >= _FEWEST_MATCHED) & (matched >= _MOST * looked_at)
    order = np.argsort(matched[joins], kind="stable")
    member[image[joins][order]] = of[joins][order]
    image, of, matched, looked_at = _matched(ends, member, copies)
    speaks = np.zeros(images, np.bool_)
    speaks[image[(member[image] == of) & (matched >= _MEMBER * looked_at)]] = True
    first, second = member[ends]
    return np.asarray((first >= 0) & (first == second) & speaks[ends].all(axis=0), np.bool_)


def _matched(ends: Ints, member: Ints, copies: Bools) -> tuple[Ints, ...]:
    """An image, a family, how many of its members it matches, and with how many it was compared;
    (m,) each. member: (images,) number of the family of each image, −1 for none."""
    image, other = np.concatenate([ends, ends[::-1]], axis=1)
    known = member[other] >= 0
    keys = image[known] * len(member) + member[other[known]]
    found, at = np.unique(keys, return_inverse=True)
    matched = np.bincount(at, np.tile(copies, 2)[known], len(found)).astype(np.int64)
    return found // len(member), found % len(member), matched, np.bincount(at, None, len(found))
