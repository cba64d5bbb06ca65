"""Mixes of edits: which kinds, how many in a row, how strong; and copies made by them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import GenericAlias, MappingProxyType

import numpy as np

from copydetect.edits import colour, drawn, geometry, pasted, quality, screenshots
from copydetect.edits.edit import Edit, Edited, Others, unedited
from copydetect.errors import OptionError
from copydetect.homographies import area, outline
from copydetect.types import Pixels

KINDS: Mapping[str, type[Edit]] = MappingProxyType(
    {
        edit.kind: edit
        for module in (geometry, colour, quality, drawn, screenshots, pasted)
        for edit in vars(module).values()
        if isinstance(edit, type) and not isinstance(edit, GenericAlias)  # both, to Python 3.10
        if issubclass(edit, Edit) and edit.__module__ == module.__name__
    }
)
"""Every kind of edit by its name, file by file in the order in which they stand there: what a seed
draws depends on it."""

_COMMON = dict.fromkeys(KINDS, 1.0) | {
    "crop": 4.0,
    "onto": 3.0,
    "hflip": 2.0,
    "jpeg": 2.0,
    "text": 2.0,
    "emoji": 2.0,
    "overlay": 2.0,
    "screenshot": 1.5,
    "rotate": 1.5,
    "webp": 0.5,
    "vflip": 0.5,
    "relief": 0.4,
    "shuffle": 0.4,
    "opacity": 0.6,
    "gamma": 0.5,
    "tint": 0.6,
    "censor": 0.6,
    "shapes": 0.6,
}
_LIGHT = {
    **dict.fromkeys(("crop", "jpeg", "scale"), 3.0),
    **dict.fromkeys(("brightness", "contrast", "saturation", "webp", "text", "pad", "hflip"), 1.0),
    **dict.fromkeys(("aspect", "jitter", "sharpen", "blur", "noise", "grey", "tint", "meme"), 0.7),
    **dict.fromkeys(("gamma", "emoji", "shapes", "screenshot", "rotate", "censor"), 0.5),
}

MIN_VISIBLE = 0.04
"""A copy shows at least this share of the original, and the original fills as much of the copy."""


@dataclass(frozen=True)
class EditMix:
    """The edits to draw from.

    weights: how often each kind is drawn, in proportion; lengths: the probabilities of 1, 2, 3 …
    edits in a row; strength: the range, within 0 … 1, that each edit's strength is drawn from.
    OptionError for other values.
    """

    weights: Mapping[str, float]
    lengths: tuple[float, ...] = (0.22, 0.31, 0.25, 0.14, 0.08)
    strength: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.weights) - set(KINDS))
        if unknown:
            raise OptionError(f"no such kind of edit: {unknown[0]}; there are {', '.join(KINDS)}")
        if not self.weights or min(self.weights.values()) < 0 or sum(self.weights.values()) <= 0:
            raise OptionError(f"weights of edits must be positive, not {dict(self.weights)}")
        if not self.lengths or min(self.lengths) < 0 or abs(sum(self.lengths) - 1) > 1e-6:
            raise OptionError(f"lengths must be probabilities that sum to 1, not {self.lengths}")
        low, high = self.strength
        if not 0 <= low <= high <= 1:
            raise OptionError(f"strength must be a range within 0 … 1, not {self.strength}")

    def __str__(self) -> str:
        low, high = self.strength
        return f"{len(self.weights)} kinds, 1–{len(self.lengths)} in a row, {low:g}–{high:g}"


MIXES: Mapping[str, EditMix] = MappingProxyType(
    {
        "mild": EditMix(_LIGHT, (0.5, 0.35, 0.15), (0.0, 0.35)),
        "default": EditMix(_COMMON),
        "framed": EditMix(_COMMON | {"onto": 14.0, "screenshot": 12.0, "crop": 6.0}),
        "severe": EditMix(_COMMON, (0.0, 0.2, 0.35, 0.25, 0.2), (0.5, 1.0)),
    }
)


def mix_named(name: str) -> EditMix:
    """One of MIXES; OptionError that lists them where there is none of that name."""
    if name not in MIXES:
        raise OptionError(f"no mix of edits is called {name}; there are {', '.join(MIXES)}")
    return MIXES[name]


def rng_of(seed: int, image_id: str, copy: int = 0) -> np.random.Generator:
    """The generator for one copy of one image: the same on every machine, in any order."""
    digest = hashlib.sha256(f"{seed}\0{image_id}\0{copy}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def sample_edits(rng: np.random.Generator, mix: EditMix) -> list[Edit]:
    """Edits to do one after the other, each kind at most once."""
    kinds = [kind for kind, weight in mix.weights.items() if weight > 0]
    weights = np.array([mix.weights[kind] for kind in kinds])
    length = 1 + int(rng.choice(len(mix.lengths), p=np.array(mix.lengths)))
    chosen = rng.choice(
        len(kinds), min(length, len(kinds)), replace=False, p=weights / weights.sum()
    )
    return [KINDS[kinds[i]].sample(rng, float(rng.uniform(*mix.strength))) for i in chosen]


def apply(edits: Sequence[Edit], pixels: Pixels, others: Others = ()) -> Edited:
    """The edits one after the other."""
    edited = unedited(pixels)
    for edit in edits:
        edited = edited.then(edit, others)
    return edited


def make_copy(
    pixels: Pixels, rng: np.random.Generator, mix: EditMix, others: Others = ()
) -> Edited:
    """A copy by drawn edits. Drawn again while they leave too little of the original to be seen."""
    for _ in range(5):
        edited = apply(sample_edits(rng, mix), pixels, others)
        if visible(edited, pixels) >= MIN_VISIBLE:
            return edited
    return apply([quality.Reencode.sample(rng, mix.strength[0])], pixels, others)


def visible(edited: Edited, original: Pixels) -> float:
    """How much of the original the copy shows, or how much of the copy shows it: the smaller."""
    if len(edited.region) < 3:
        return 0.0
    height, width = edited.pixels.shape[:2]
    shown = area(edited.original_region()) / area(outline(original.shape[1], original.shape[0]))
    filled = area(edited.region) / (width * height)
    return float(min(shown, filled))
