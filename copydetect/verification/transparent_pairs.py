"""Two pictures, at least one of them transparent → the verdict, on the backgrounds that they may be
shown on.

A picture without transparency may be the other one flattened: onto the ground that its own border
shows, which then is what the transparent one is laid on. Two transparent pictures are compared on a
ground that hides nothing of them, and two drawings of one colour by their shape alone, whatever
colour it has.
Where the ground is no plain one, such as a photo, only what is opaque is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from copydetect.homographies import Matrix
from copydetect.images.transparency import (
    BLACK,
    GREY,
    WHITE,
    Colour,
    ground_matters,
    hidden_share,
    is_shape,
    on_ground,
    shape_of,
)
from copydetect.types import Direction, Match
from copydetect.verification.calibration import are_copies
from copydetect.verification.pair_images import PairImage

Verify = Callable[[PairImage, PairImage], Match]

RECOLOURED = "recoloured"
_ON_WHITE = "flattened onto white"
ON_ANOTHER_GROUND = "on another ground"
_SAME_COLOUR = 24
_OTHER_GROUND = 40
_SOFT_EDGE_PX = 0.7
_DRAWN_ALIKE = 0.6
_DRAWN_ABOUT_ALIKE = 0.55
_SURE, _SURE_NONETHELESS = 0.8, 0.95
"""Apart from their grounds pictures are not seen at full size. So they must be copies this surely
by their pixels alone, whatever the search says: 10 such copies have .9 and more, 4 pairs of forms
.24 and less. Where the pictures as they are surely show one layout with other content, the second
holds: 4 such copies have .97 and more, 5 pairs of windows and of puzzles .91 and less."""
_GROUNDS = WHITE, BLACK, GREY
_HARDLY_HIDDEN = 0.02
_LIGHT = 128
_NAMES: dict[Colour, str] = {WHITE: "white", BLACK: "black"}
_NAMED_WITHIN = 6


@dataclass(frozen=True)
class _Attempt:
    """Two pictures to compare, and what it means where they are copies.

    edits: what was done to one of them; direction: which of them is the copy, None where the pixels
    tell.
    """

    query: PairImage
    reference: PairImage
    edits: tuple[str, ...] = ()
    direction: Direction | None = None

    @property
    def is_edited(self) -> bool:
        """A picture on white is what every program makes of a transparent one: nothing else is."""
        return bool(self.edits) and self.edits != (_ON_WHITE,)


def verify_on_grounds(query: PairImage, reference: PairImage, verify: Verify) -> Match:
    """The first attempt that finds copies, else the nearest to it."""
    best: Match | None = None
    for attempt in _attempts(query, reference):
        match = verify(attempt.query, attempt.reference)
        if match.is_copy:
            return replace(
                match,
                relation="edited" if attempt.is_edited else match.relation,
                edits=[*attempt.edits, *match.edits],
                direction=attempt.direction or match.direction,
            )
        if best is None or match.confidence > best.confidence:
            best = match
    return best or verify(query, reference)


def on_other_grounds(query: PairImage, reference: PairImage) -> bool:
    """Whether both are drawn on plain grounds, and on two different ones."""
    ours, theirs = query.ground, reference.ground
    return (
        ours is not None
        and theirs is not None
        and max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) > _OTHER_GROUND
    )


def verify_relaid(
    query: PairImage,
    reference: PairImage,
    placements: Sequence[Matrix],
    refused: Match,
    verify: Verify,
) -> Match:
    """The verdict on two opaque pictures on plain grounds, apart from these grounds; `refused`, the
    verdict on them as they are, where they are no copies either way.

    placements: where the one may lie in the other, in working px. What is drawn in the one must lie
    about on what is drawn in the other by one of them, or by their bounding boxes. Then they are
    compared: first by what is drawn alone, which must be at the same places; then, where that has
    no features, for it may be of one colour and have nothing but its outline, with one of them laid
    on the other's ground.
    """
    if query.ground is None or reference.ground is None:
        return refused
    placements = [*_box_on_box(query, reference), *placements]
    shared = (_drawn_in_both(matrix, query, reference) for matrix in placements)
    if not any(share > _DRAWN_ABOUT_ALIKE for share in shared):
        return refused
    for one, other in (
        (_drawn_alone(query), _drawn_alone(reference)),
        (_relaid(query, reference.ground), reference),
        (query, _relaid(reference, query.ground)),
    ):
        match = verify(one, other)
        if _outweighs(match, refused) and _drawn_alike(match, query, reference):
            edits = [ON_ANOTHER_GROUND, *match.edits]
            return replace(match, relation="edited", edits=edits, direction="unknown")
        if match.inliers:
            break
    return refused


def _outweighs(match: Match, refused: Match) -> bool:
    """Whether the verdict apart from the grounds holds against the one on the pictures as they
    are."""
    open_to_proof = bool(are_copies(1.0, refused.other_content or 0.0, 0.0))
    least = _SURE if open_to_proof else _SURE_NONETHELESS
    return match.is_copy and (match.proof or 0.0) >= least


def _drawn_alike(match: Match, query: PairImage, reference: PairImage) -> bool:
    """Whether what is drawn in one picture lies on what is drawn in the other."""
    matrix = np.linalg.inv(reference.to_full) @ np.reshape(match.transform, (3, 3)) @ query.to_full
    return _drawn_in_both(matrix, query, reference) > _DRAWN_ALIKE


def _drawn_in_both(matrix: Matrix, query: PairImage, reference: PairImage) -> float:
    """Of what is drawn in either picture, the part that is drawn in both, 0…1."""
    size = (reference.width_px, reference.height_px)
    moved = cv2.warpPerspective(query.drawn.astype(np.float32), matrix, size) > 0.5
    either = float((moved | reference.drawn).sum())
    return float((moved & reference.drawn).sum()) / either if either else 0.0


def _box_on_box(query: PairImage, reference: PairImage) -> list[Matrix]:
    """The box around what is drawn in the one, stretched over that in the other."""
    boxes = [cv2.boundingRect(image.drawn.astype(np.uint8)) for image in (query, reference)]
    (x, y, across, down), (to_x, to_y, to_across, to_down) = boxes
    if not (across and down):
        return []
    scale_x, scale_y = to_across / across, to_down / down
    return [
        np.array([[scale_x, 0, to_x - scale_x * x], [0, scale_y, to_y - scale_y * y], [0, 0, 1]])
    ]


def _drawn_alone(image: PairImage) -> PairImage:
    return image.rendering(
        "drawn alone", lambda: replace(image, seen=image.drawn.astype(np.float32))
    )


def _relaid(image: PairImage, ground: Colour) -> PairImage:
    """The picture with its plain ground in another colour."""
    return image.rendering(("relaid", ground), lambda: _on_plain(image, ground))


def _on_plain(image: PairImage, ground: Colour) -> PairImage:
    # Softly, so that edges stay edges.
    softly = cv2.GaussianBlur(image.drawn.astype(np.float32), (0, 0), _SOFT_EDGE_PX)[..., None]
    mixed = image.pixels * softly + np.asarray(ground, np.float32) * (1 - softly)
    pixels = np.where(image.drawn[..., None], image.pixels, mixed)
    return replace(image, pixels=np.rint(pixels).astype(np.uint8), reopen=None)


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
    ground = _showing_ground(query, reference)
    yield _Attempt(_laid_on(query, ground), _laid_on(reference, ground))


def _showing_ground(query: PairImage, reference: PairImage) -> Colour:
    """A ground on which all of two transparent pictures can be seen, or as much as possible.

    On another one pictures would agree in what it shows of them, and differ in what it hides.
    """
    hidden = {
        ground: max(_hidden(query, ground), _hidden(reference, ground)) for ground in _GROUNDS
    }
    showing = (ground for ground in _GROUNDS if hidden[ground] <= _HARDLY_HIDDEN)
    return next(showing, min(_GROUNDS, key=hidden.__getitem__))


def _hidden(image: PairImage, ground: Colour) -> float:
    return 0.0 if image.opacity is None else hidden_share(image.pixels, image.opacity, ground)


def _flattened(
    transparent: PairImage, opaque: PairImage, query_is_transparent: bool
) -> Iterator[_Attempt]:
    """A transparent picture beside one that may be it on some ground."""

    def attempt(rendering: PairImage, edits: tuple[str, ...], is_copy: bool) -> _Attempt:
        copied: Direction = "reference_is_copy" if query_is_transparent else "query_is_copy"
        pair = (rendering, opaque) if query_is_transparent else (opaque, rendering)
        return _Attempt(*pair, edits, copied if is_copy else None)

    ground = opaque.ground
    if ground is not None:
        edits = (f"flattened onto {_name(ground)}",)
        yield attempt(_laid_on(transparent, ground), edits, True)
        if _is_shape(transparent):
            dark = float(np.mean(ground)) > _LIGHT
            yield attempt(_shape(transparent, dark), (*edits, RECOLOURED), True)
            return
    yield attempt(transparent, (_ON_WHITE,), False)
    yield attempt(_laid_on(transparent, BLACK), ("flattened",), False)
    yield attempt(_opaque_alone(transparent), (ON_ANOTHER_GROUND,), False)


def _is_shape(image: PairImage) -> bool:
    return image.opacity is not None and is_shape(image.pixels, image.opacity)


def _same_colour(query: PairImage, reference: PairImage) -> bool:
    colours = [
        np.median(image.pixels[image.opacity > 200], axis=0)
        for image in (query, reference)
        if image.opacity is not None
    ]
    return bool(np.abs(colours[0] - colours[1]).max() <= _SAME_COLOUR)


def _laid_on(image: PairImage, colour: Colour) -> PairImage:
    if image.opacity is None or colour == WHITE:
        return image
    opacity = image.opacity
    return image.rendering(
        ("laid on", colour),
        lambda: replace(image, pixels=on_ground(image.pixels, opacity, colour), reopen=None),
    )


def _shape(image: PairImage, dark: bool) -> PairImage:
    if image.opacity is None:
        return image
    opacity = image.opacity
    return image.rendering(
        ("shape", dark), lambda: replace(image, pixels=shape_of(opacity, dark), reopen=None)
    )


def _opaque_alone(image: PairImage) -> PairImage:
    if image.opacity is None:
        return image
    opaque = np.asarray(image.opacity > 128, np.float32)
    return image.rendering("opaque alone", lambda: replace(image, seen=opaque))


def _name(colour: Colour) -> str:
    """In words where it has a name, else as in a style sheet."""
    for known, name in _NAMES.items():
        if max(abs(a - b) for a, b in zip(known, colour, strict=True)) <= _NAMED_WITHIN:
            return name
    if max(colour) - min(colour) <= _NAMED_WITHIN:
        return "grey"
    return "#" + "".join(f"{value:02x}" for value in colour)
