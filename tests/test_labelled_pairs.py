"""The pile that a decision learns from: labels are true, look-alikes are no copies."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
import pytest

from copydetect.description.descriptors import Embedder, load_model
from copydetect.errors import OptionError
from copydetect.training.labelled_pairs import PairOptions, make_pile
from copydetect.training.look_alikes import KINDS, second_view
from copydetect.types import Pixels
from tests.scenes import scene

OPTIONS = PairOptions(originals=12, made_look_alikes=5, shortest_px=80, longest_px=160)


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    return [scene(seed, 160, 120) for seed in range(24)]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_model()


def test_a_pile_is_the_same_for_the_same_seed(pictures: list[Pixels], embedder: Embedder) -> None:
    first, second = (make_pile(pictures, OPTIONS, 3, embedder) for _ in range(2))
    assert np.array_equal(first.origins, second.origins)
    assert all(np.array_equal(a, b) for a, b in zip(first.images, second.images, strict=True))


def test_rows_belong_together(pictures: list[Pixels], embedder: Embedder) -> None:
    pile = make_pile(pictures, OPTIONS, 1, embedder)
    assert len(pile.images) == len(pile.origins)
    assert len(np.unique(pile.origins)) == len(pile.sources) == 12 + 2 * 5
    assert (pile.origins[pile.rivals[:, 0]] != pile.origins[pile.rivals[:, 1]]).all()
    assert (np.bincount(pile.origins)[:12] >= 1).all()


class SmallCopies:
    """Describes an image by its own thumbnail, which two photos of one scene share."""

    def embed(self, images: list[Pixels]) -> np.ndarray:
        small = [cv2.resize(pixels, (4, 4), interpolation=cv2.INTER_AREA) for pixels in images]
        vectors = np.array(small, np.float32).reshape(len(small), -1)
        vectors -= vectors.mean(axis=0)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_pictures_of_one_series_meet(pictures: list[Pixels]) -> None:
    """Of a few originals among many scenes, half are the other photo of the scene of one."""
    rng = np.random.default_rng(5)
    series = [second_view(rng, [picture]) for picture in pictures]
    options = PairOptions(originals=4, made_look_alikes=0, shortest_px=160, longest_px=160)
    small = cast(Embedder, SmallCopies())
    pile = make_pile([view for pair in series for view in pair], options, 0, small)
    vectors = small.embed(pile.sources)
    similarity = vectors @ vectors.T - 2 * np.eye(4)
    assert similarity.argmax(axis=1).tolist() == [1, 0, 3, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_look_alikes_differ(kind: str, pictures: list[Pixels]) -> None:
    first, second = KINDS[kind](np.random.default_rng(2), pictures[:7])
    assert first.dtype == second.dtype == np.uint8
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


def test_bad_options_are_refused() -> None:
    with pytest.raises(OptionError, match="originals"):
        PairOptions(originals=1)
    with pytest.raises(OptionError, match="copied"):
        PairOptions(copied=0)
