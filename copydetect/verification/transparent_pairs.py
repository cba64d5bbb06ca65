"""Two pictures, at least one of them transparent → the verdict on the grounds that both may have.

A picture without transparency may be the other one flattened: onto the ground that its own border
shows, which then is what the transparent one is laid on. Two transparent pictures are compared on
white and on black, and two drawings of one colour by their shape alone, whatever colour it has.
Where the ground is no plain one, such as a photo, only what is opaque is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from copydetect.transparency import (
    BLACK,
    WHITE,
    Colour,
    ground_matters,
    is_shape,
    on_ground,
    shape_of,
)
from copydetect.types import Direction, Match
from copydetect.verification.pair_images import PairImage

Verify = Callable[[PairImage, PairImage], Match]

RECOLOURED = "recoloured"
_GROUND_SHARE = 0.85
_GROUND_TOLERANCE = 24
_LIGHT = 128
_NAMES: dict[Colour, str] = {WHITE: "white", BLACK: "black"}
_NAMED_WITHIN = 6


@dataclass(frozen=True)
class _Attempt:
    """Two pictures to compare, and what it means where they are copies.

    edits: what was done to one of them; direction: who is the copy, None where the pixels tell.
    """

    query: PairImage
    reference: PairImage
    edits: tuple[str, ...] = ()
    direction: Direction | None = None


def verify_on_grounds(query: PairImage, reference: PairImage, verify: Verify) -> Match:
    """The first attempt that finds copies, else the nearest to it."""
    best: Match | None = None
    for attempt in _attempts(query, reference):
        match = verify(attempt.query, attempt.reference)
        if match.is_copy:
            return replace(
                match,
                edits=[*attempt.edits, *match.edits],
                direction=attempt.direction or match.direction,
            )
        if best is None or match.confidence > best.confidence:
            best = match
    return best or verify(query, reference)


def ground_of(image: PairImage) -> Colour | None:
    """The plain colour that nearly all of the picture's border has; None where it has none."""
    pixels = image.pixels
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    middle = np.median(border, axis=0)
    near = np.abs(border - middle).max(axis=1) <= _GROUND_TOLERANCE
    if float(near.mean()) < _GROUND_SHARE:
        return None
    red, green, blue = (round(float(value)) for value in middle)
    return red, green, blue


def _attempts(query: PairImage, reference: PairImage) -> Iterator[_Attempt]:
    ours, theirs = ground_matters(query.opacity), ground_matters(reference.opacity)
    if ours and theirs:
        yield from _of_two(query, reference)
    elif ours:
        yield from _flattened(query, reference, query_is_transparent=True)
    elif theirs:
        yield from _flattened(reference, query, query_is_transparent=False)
    else:
        yield _Attempt(query, reference)


def _of_two(query: PairImage, reference: PairImage) -> Iterator[_Attempt]:
    if _is_shape(query) and _is_shape(reference):
        edits = () if _same_colour(query, reference) else (RECOLOURED,)
        yield _Attempt(_shape(query, dark=True), _shape(reference, dark=True), edits)
        return
    yield _Attempt(query, reference)
    yield _Attempt(_laid_on(query, BLACK), _laid_on(reference, BLACK))


def _flattened(
    transparent: PairImage, opaque: PairImage, query_is_transparent: bool
) -> Iterator[_Attempt]:
    """A transparent picture beside one that may be it on some ground."""

    def attempt(rendering: PairImage, edits: tuple[str, ...], is_copy: bool) -> _Attempt:
        copied: Direction = "reference_is_copy" if query_is_transparent else "query_is_copy"
        pair = (rendering, opaque) if query_is_transparent else (opaque, rendering)
        return _Attempt(*pair, edits, copied if is_copy else None)

    ground = ground_of(opaque)
    if ground is not None:
        edits = (f"flattened onto {_name(ground)}",)
        yield attempt(_laid_on(transparent, ground), edits, True)
        if _is_shape(transparent):
            dark = float(np.mean(ground)) > _LIGHT
            yield attempt(_shape(transparent, dark), (*edits, RECOLOURED), True)
            return
    yield attempt(transparent, ("flattened",), False)
    yield attempt(_laid_on(transparent, BLACK), ("flattened",), False)
    yield attempt(_opaque_alone(transparent), ("on another ground",), False)


def _is_shape(image: PairImage) -> bool:
    return image.opacity is not None and is_shape(image.pixels, image.opacity)


def _same_colour(query: PairImage, reference: PairImage) -> bool:
    colours = [
        np.median(image.pixels[image.opacity > 200], axis=0)
        for image in (query, reference)
        if image.opacity is not None
    ]
    return bool(np.abs(colours[0] - colours[1]).max() <= _GROUND_TOLERANCE)


def _laid_on(image: PairImage, colour: Colour) -> PairImage:
    if image.opacity is None or colour == WHITE:
        return image
    return replace(image, pixels=on_ground(image.pixels, image.opacity, colour))


def _shape(image: PairImage, dark: bool) -> PairImage:
    if image.opacity is None:
        return image
    return replace(image, pixels=shape_of(image.opacity, dark))


def _opaque_alone(image: PairImage) -> PairImage:
    if image.opacity is None:
        return image
    return replace(image, seen=np.asarray(image.opacity > 128, np.float32))


def _name(colour: Colour) -> str:
    """In words where it has a name, else as in a style sheet."""
    for known, name in _NAMES.items():
        if max(abs(a - b) for a, b in zip(known, colour, strict=True)) <= _NAMED_WITHIN:
            return name
    if max(colour) - min(colour) <= _NAMED_WITHIN:
        return "grey"
    return "#" + "".join(f"{value:02x}" for value in colour)
