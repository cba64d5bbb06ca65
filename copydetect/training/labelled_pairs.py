"""pictures → pairs of images with the truth whether they are copies: what a decision learns from.

A pile of originals and their edited copies is searched in itself, as a user's would be. Pairs of
one original are copies; pairs that the search proposes although they have different originals are
the hard negatives, and `look_alikes` makes those that a pile of pictures has too few of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import faiss
import numpy as np
import numpy.typing as npt

from copydetect import edits
from copydetect.description.descriptors import Embedder
from copydetect.description.keypoints import extract, load_quantiser, quantise
from copydetect.errors import OptionError
from copydetect.search.votes import hit_ids, query_features, vote
from copydetect.training.look_alikes import KINDS
from copydetect.types import Keypoints, Pixels

_NEIGHBOURS = 6
_BACKGROUNDS = 24


@dataclass(frozen=True)
class PairOptions:
    """What labelled pairs are made of.

    originals: pictures that the pile starts from; copied: the part of them that is edited;
    made_look_alikes: pairs of `look_alikes`; proposals: pairs that each channel proposes an image;
    shortest_px, longest_px: range of the pictures' longer sides.
    """

    originals: int = 900
    copied: float = 0.55
    made_look_alikes: int = 250
    proposals: int = 3
    shortest_px: int = 170
    longest_px: int = 448

    def __post_init__(self) -> None:
        if self.originals < 4 or self.proposals < 1 or self.made_look_alikes < 0:
            raise OptionError("labelled pairs need 4 originals and 1 proposal at least")
        if not 0 < self.copied <= 1:
            raise OptionError(f"copied is {self.copied}, must be above 0 and at most 1")
        if not 32 <= self.shortest_px <= self.longest_px:
            raise OptionError(f"sizes {self.shortest_px}…{self.longest_px} px: no range above 32")


@dataclass(frozen=True, eq=False)
class Pile:
    """Images and what they were made from; row i belongs together.

    images: n of them; origins: (n,) int64, equal for copies of each other; rivals: (m, 2) int64,
    rows that were made to look alike.
    """

    images: list[Pixels]
    origins: npt.NDArray[np.int64]
    rivals: npt.NDArray[np.int64]


def make_pile(pictures: Sequence[Pixels], options: PairOptions, seed: int) -> Pile:
    """Originals and copies of a part of them, then look-alikes, of which half are edited too.

    What is pasted, pasted onto or made look-alikes of comes from other pictures than the
    originals: a picture and its own fragment elsewhere are copies, whatever the label would say.
    """
    rng = np.random.default_rng(seed)
    shuffled = [int(i) for i in rng.permutation(len(pictures))]
    number_of_originals = min(options.originals, len(pictures) * 3 // 4)
    originals = [_sized(pictures[i], rng, options) for i in shuffled[:number_of_originals]]
    spare = [_sized(pictures[i], rng, options) for i in shuffled[number_of_originals:]]
    backgrounds, parts = spare[:_BACKGROUNDS], spare[_BACKGROUNDS:] or spare
    images: list[Pixels] = []
    origins: list[int] = []
    for number, original in enumerate(originals):
        copies = 0 if rng.random() > options.copied else int(rng.choice([1, 1, 2, 3]))
        shown = [original] if copies < 2 or rng.random() < 0.8 else []
        shown += [_copy(original, rng, backgrounds) for _ in range(copies)]
        images += shown
        origins += [number] * len(shown)
    kinds = list(KINDS.values())
    rivals = len(images) + np.arange(2 * options.made_look_alikes).reshape(-1, 2)
    for pair in range(options.made_look_alikes):
        drawn = [parts[int(i)] for i in rng.integers(0, len(parts), 5)]
        first, second = kinds[pair % len(kinds)](rng, drawn)
        edited = _copy(second, rng, backgrounds) if rng.random() < 0.5 else second
        images += [first, edited]
        number = len(originals) + 2 * pair
        origins += [number, number + 1]
    return Pile(images, np.array(origins, np.int64), rivals.astype(np.int64))


def proposed_pairs(pile: Pile, embedder: Embedder, proposals: int) -> npt.NDArray[np.int64]:
    """(m, 2) int64 rows i < j of the pile: all copies, rivals, and what either channel proposes.

    Each image names its `proposals` best strangers by votes and by descriptor; images that were
    made to look alike may share a part with other made ones and meet only their rivals.
    """
    count = len(pile.images)
    pairs = {
        (int(i), int(j))
        for origin in np.unique(pile.origins)
        for i in np.flatnonzero(pile.origins == origin)
        for j in np.flatnonzero(pile.origins == origin)
        if i < j
    }
    vectors = embedder.embed(pile.images)
    similarity = vectors @ vectors.T
    votes = _votes(pile.images)
    strangers = pile.origins[:, None] != pile.origins[None]
    for i in range(count):
        for scores in (similarity[i], votes[i]):
            ranked = np.argsort(-np.where(strangers[i], scores, -np.inf), kind="stable")
            pairs.update((min(i, int(j)), max(i, int(j))) for j in ranked[:proposals])
    made = set(pile.rivals.ravel().tolist())
    pairs = {(i, j) for i, j in pairs if i not in made or j not in made}
    pairs.update((int(i), int(j)) for i, j in pile.rivals)
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def _sized(picture: Pixels, rng: np.random.Generator, options: PairOptions) -> Pixels:
    """The picture with its longer side drawn from the options' range, never enlarged twofold."""
    side = float(rng.uniform(options.shortest_px, options.longest_px))
    scale = min(side / max(picture.shape[:2]), 1.5)
    size = (max(8, round(picture.shape[1] * scale)), max(8, round(picture.shape[0] * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _copy(picture: Pixels, rng: np.random.Generator, backgrounds: list[Pixels]) -> Pixels:
    mix = edits.mix_named(str(rng.choice(["mild", "default", "default", "default", "severe"])))
    edited = edits.make_copy(picture, rng, mix, backgrounds).pixels
    scale = min(1.0, 448 / max(edited.shape[:2]))
    size = (max(1, round(edited.shape[1] * scale)), max(1, round(edited.shape[0] * scale)))
    return np.asarray(cv2.resize(edited, size, interpolation=cv2.INTER_AREA), np.uint8)


def _votes(images: list[Pixels]) -> npt.NDArray[np.float32]:
    """(n, n) votes of each image's features for the others."""
    quantiser = load_quantiser()
    points: list[Keypoints] = [
        quantise(extract(image), quantiser, str(i)) for i, image in enumerate(images)
    ]
    features, vectors = query_features(list(range(len(images))), points, quantiser)
    own = len(vectors) // 2
    ids = np.concatenate([hit_ids(i, found) for i, found in enumerate(points)])
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
    return np.asarray(votes + votes.T, np.float32)
