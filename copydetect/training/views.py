"""Edited views of training pictures, in batches that only depend on the seed and the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from copydetect.description.descriptors import scaled
from copydetect.edits import EditMix, make_copy
from copydetect.types import Ints, Pixels

Numbers = Ints

_VIEWS, _MIXING, _VALIDATION = 1, 2, 3


def square(pixels: Pixels, side_px: int) -> Pixels:
    """The whole picture on a square, as `descriptors.preprocess` makes it."""
    return scaled(pixels, side_px, side_px)


def edited_view(
    pictures: Sequence[Pixels], number: int, mix: EditMix, side_px: int, rng: np.random.Generator
) -> Pixels:
    """A square view of an edited copy of one picture; others are pasted in from `pictures`."""
    others = [pictures[int(other)] for other in rng.integers(len(pictures), size=2)]
    copy = make_copy(pictures[number], rng, mix, others)
    return square(copy.pixels, side_px)


def validation_views(
    pictures: Sequence[Pixels], numbers: Numbers, mixes: Sequence[EditMix], side_px: int, seed: int
) -> npt.NDArray[np.uint8]:
    """(n, s, s, 3): one edited view of each picture, by the mixes in turn; always the same."""
    views = []
    for place, number in enumerate(numbers):
        rng = np.random.default_rng([seed, _VALIDATION, number])
        mix = mixes[place % len(mixes)]
        views.append(edited_view(pictures, int(number), mix, side_px, rng))
    return np.stack(views)


def split(count: int, validation: int, seed: int) -> tuple[Numbers, Numbers]:
    """Numbers to train on and numbers to validate on, at most a fifth; both sorted."""
    order = np.random.default_rng(seed).permutation(count)
    held_out = max(2, min(validation, count // 5))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


@dataclass(frozen=True)
class ViewBatches(Dataset[tuple[Tensor, Tensor]]):
    """Item `step` is a batch: views (n, s, s, 3) uint8 and the pictures' numbers (n,).

    numbers: the pictures to train on; each comes up once an epoch. neighbours: (all, k) int64,
    for every picture the numbers of those most like it, of which `look_alikes` of a batch are
    drawn;
    mixes: of edits, drawn from evenly; sides_px: of the views before step `last_small_step` and
    from there on.
    """

    pictures: Sequence[Pixels]
    numbers: Numbers
    neighbours: Numbers
    mixes: Sequence[EditMix]
    sides_px: tuple[int, int]
    last_small_step: int
    batch_size: int
    look_alikes: float
    steps: int
    seed: int

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        chosen = self.chosen(step)
        side = self.sides_px[step >= self.last_small_step]
        pixels = []
        for place, number in enumerate(chosen):
            rng = np.random.default_rng([self.seed, _VIEWS, step, place])
            mix = self.mixes[int(rng.integers(len(self.mixes)))]
            pixels.append(edited_view(self.pictures, int(number), mix, side, rng))
        return torch.from_numpy(np.stack(pixels)), torch.from_numpy(chosen)

    def chosen(self, step: int) -> Numbers:
        """(n,) the different pictures of a batch: fresh ones, then look-alikes of some of them."""
        batch = min(self.batch_size, len(self.numbers))
        fresh = batch - int(batch * self.look_alikes) if self.neighbours.size else batch
        first = self._fresh(step * fresh, fresh)
        rng = np.random.default_rng([self.seed, _MIXING, step])
        alike = [rng.choice(self.neighbours[number]) for number in first[: batch - fresh]]
        together = np.concatenate([first, np.array(alike, np.int64)])
        return together[np.sort(np.unique(together, return_index=True)[1])]

    def _fresh(self, start: int, count: int) -> Numbers:
        places = np.arange(start, start + count)
        epochs = places // len(self.numbers)
        orders = {
            int(epoch): np.random.default_rng([self.seed, int(epoch)]).permutation(self.numbers)
            for epoch in np.unique(epochs)
        }
        return np.array(
            [orders[int(e)][p % len(self.numbers)] for e, p in zip(epochs, places, strict=True)],
            np.int64,
        )
