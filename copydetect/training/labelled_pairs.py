"""pictures → labelled pairs of images, copies or not, that a decision learns from.

A pile of originals and their edited copies is searched in itself, as a user's would be. Pairs of
one original are copies; pairs that the search proposes although they have different originals are
the hard negatives, and `look_alikes` makes those that a pile of pictures has too few of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import faiss
import numpy as np

from copydetect import edits
from copydetect.description.descriptors import Embedder
from copydetect.description.keypoints import extract, load_quantiser, quantise
from copydetect.errors import OptionError
from copydetect.images.resizing import limited
from copydetect.index.channels import feature_ids
from copydetect.search.votes import query_features, vote
from copydetect.training.look_alikes import KINDS, one_background, one_screen, one_template
from copydetect.types import Bools, Floats, Ints, Keypoints, Pixels

_NEIGHBOURS = 6
_OTHERS = 4


@dataclass(frozen=True)
class PairOptions:
    """How labelled pairs are made.

    originals: pictures that the pile starts from; copied: the part of them that is edited;
    made_look_alikes: pairs of `look_alikes`; proposals: pairs per image that each channel proposes;
    shortest_px, longest_px: range of the pictures' longer sides; searched: pictures that are looked
    through for neighbours of originals.
    """

    originals: int = 340
    copied: float = 0.9
    made_look_alikes: int = 240
    proposals: int = 1
    shortest_px: int = 170
    longest_px: int = 448
    searched: int = 4000

    def __post_init__(self) -> None:
        if self.originals < 4 or self.proposals < 1 or self.made_look_alikes < 0:
            raise OptionError("labelled pairs need 4 originals and 1 proposal at least")
        if not 0 < self.copied <= 1:
            raise OptionError(f"copied is {self.copied}, must be above 0 and at most 1")
        if not 32 <= self.shortest_px <= self.longest_px:
            raise OptionError(f"sizes {self.shortest_px}…{self.longest_px} px: no range above 32")


@dataclass(frozen=True, eq=False)
class Pile:
    """Images and what they were made from; row i of images and origins belongs together.

    images: n of them; origins: (n,) int64, equal for copies of each other; sources: what the images
    of each origin were before any edit; rivals: (m, 2) int64, rows that were made to look alike.
    """

    images: list[Pixels]
    origins: Ints
    sources: list[Pixels]
    rivals: Ints


@dataclass(frozen=True, eq=False)
class PilePairs:
    """Pairs of a pile; row i of each belongs together.

    rows: (m, 2) int64, i < j; copies: (m,) bool; points: m arrays of correspondences that the
    search found, (p, 4) float32 as in `votes.Votes`, or None; keypoints: of every image of the
    pile, which the search compared.
    """

    rows: Ints
    copies: Bools
    points: list[Floats | None]
    keypoints: list[Keypoints]


def make_pile(
    pictures: Sequence[Pixels], options: PairOptions, seed: int, embedder: Embedder
) -> Pile:
    """Originals and copies of a part of them, then look-alikes, of which half are edited too.

    Half of the originals are the nearest neighbours of the others by descriptor: where pictures
    come in series, as second photos of a scene, frames of a film or pages of a book, these meet.
    What is pasted, what is pasted onto, and what look-alikes are made of, are all different
    pictures, and none of the originals. Otherwise a picture and its own fragment in another one
    would be labelled as strangers.
    """
    rng = np.random.default_rng(seed)
    shuffled = [int(i) for i in rng.permutation(len(pictures))]
    pool = shuffled[: min(len(pictures) // 2, options.searched)]
    chosen = _with_neighbours([pictures[i] for i in pool], options.originals, embedder)
    originals = [_sized(pictures[pool[i]], rng, options) for i in chosen]
    rest = shuffled[len(pool) :][: options.searched // 2]
    spare = [_sized(pictures[i], rng, options) for i in rest]
    parts, pasted = spare[::2], deque(spare[1::2])
    images: list[Pixels] = []
    origins: list[int] = []
    for number, original in enumerate(originals):
        copies = 0 if rng.random() > options.copied else int(rng.choice([1, 1, 2, 3]))
        shown = [original] if copies < 2 or rng.random() < 0.8 else []
        shown += [_copy(original, rng, pasted) for _ in range(copies)]
        images += shown
        origins += [number] * len(shown)
    # Piles are full of what edits make alike: one screen, one background.
    kinds = [*KINDS.values(), one_screen, one_template, one_background]
    rivals = len(images) + np.arange(2 * options.made_look_alikes).reshape(-1, 2)
    made: list[Pixels] = []
    for pair in range(options.made_look_alikes):
        drawn = [parts[int(i)] for i in rng.choice(len(parts), 7, replace=len(parts) < 7)]
        first, second = kinds[pair % len(kinds)](rng, drawn)
        images.append(_copy(first, rng, pasted) if rng.random() < 0.2 else first)
        images.append(_copy(second, rng, pasted) if rng.random() < 0.5 else second)
        made += [first, second]
    numbers = [*origins, *range(len(originals), len(originals) + len(made))]
    return Pile(images, np.array(numbers, np.int64), originals + made, rivals.astype(np.int64))


def labelled_pairs(pile: Pile, embedder: Embedder, proposals: int) -> PilePairs:
    """All copies, all rivals, and what either channel proposes.

    Each image names its `proposals` best strangers by votes and by descriptor; images that were
    made to look alike may share a part with other made ones and meet only their rivals.
    """
    vectors = embedder.embed(pile.images)
    similarity = vectors @ vectors.T
    quantiser = load_quantiser()
    keypoints = [quantise(extract(image), quantiser, str(i)) for i, image in enumerate(pile.images)]
    votes = _votes(keypoints)
    strangers = pile.origins[:, None] != pile.origins[None]
    pairs = {(int(i), int(j)) for i, j in np.argwhere(~strangers) if i < j}
    made = np.isin(np.arange(len(pile.images)), pile.rivals)
    proposed = strangers & ~(made[:, None] & made[None])
    for i in range(len(pile.images)):
        for scores in (similarity[i], votes.matrix[i]):
            ranked = np.argsort(-np.where(proposed[i], scores, -np.inf), kind="stable")
            best = (int(j) for j in ranked[:proposals] if proposed[i, j])
            pairs.update((min(i, j), max(i, j)) for j in best)
    pairs.update((int(i), int(j)) for i, j in pile.rivals)
    rows = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    points = [votes.points.get((int(i), int(j))) for i, j in rows]
    copies = pile.origins[rows[:, 0]] == pile.origins[rows[:, 1]]
    return PilePairs(rows, copies, points, keypoints)


def _with_neighbours(pictures: list[Pixels], count: int, embedder: Embedder) -> list[int]:
    """Numbers of at most `count` pictures, every second one the nearest neighbour of the one
    before."""
    vectors = embedder.embed(pictures)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    nearest = similarity.argmax(axis=1)
    chosen: dict[int, None] = {}
    for i, j in enumerate(nearest.tolist()):
        chosen.update({i: None, j: None})
        if len(chosen) >= count:
            break
    return list(chosen)[:count]


def _sized(picture: Pixels, rng: np.random.Generator, options: PairOptions) -> Pixels:
    """The picture with its longer side drawn from the options' range, never enlarged twofold."""
    side = float(rng.uniform(options.shortest_px, options.longest_px))
    scale = min(side / max(picture.shape[:2]), 1.5)
    size = (max(8, round(picture.shape[1] * scale)), max(8, round(picture.shape[0] * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _copy(picture: Pixels, rng: np.random.Generator, pasted: deque[Pixels]) -> Pixels:
    """An edited copy; each takes other pictures to paste as long as there are some."""
    others = [pasted[i] for i in range(min(_OTHERS, len(pasted)))]
    pasted.rotate(-_OTHERS)
    mix = edits.mix_named(str(rng.choice(["mild", "default", "default", "default", "severe"])))
    return limited(edits.make_copy(picture, rng, mix, others).pixels, 448)


@dataclass(frozen=True, eq=False)
class _Votes:
    """matrix: (n, n) float32, votes of each image's features for the others, both ways together;
    points: by rows i < j, (p, 4) correspondences of the better way, as in `votes.Votes`."""

    matrix: Floats
    points: dict[tuple[int, int], Floats]


def _votes(images: list[Keypoints]) -> _Votes:
    quantiser = load_quantiser()
    features, vectors = query_features(list(range(len(images))), images, quantiser)
    own = len(vectors) // 2
    ids = np.concatenate([feature_ids(i, found) for i, found in enumerate(images)])
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatL2(quantiser.dimension),
        quantiser.dimension,
        max(1, int(2 * np.sqrt(own))),
    )
    index.train(vectors[:own])
    index.add_with_ids(vectors[:own], ids)
    index.nprobe = 8
    distances, hits = index.search(vectors, _NEIGHBOURS)
    found = vote(features, hits, distances, exclude_self=True)
    votes = np.zeros((len(images), len(images)), np.float32)
    votes[found.query, found.reference] = found.votes
    correspondences: dict[tuple[int, int], Floats] = {}
    for row in np.argsort(found.votes, kind="stable"):
        i, j = int(found.query[row]), int(found.reference[row])
        one = found.points[found.starts[row] : found.starts[row + 1]]
        correspondences[min(i, j), max(i, j)] = one if i < j else one[:, [2, 3, 0, 1]]
    return _Votes(votes + votes.T, correspondences)
