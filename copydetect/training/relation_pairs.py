"""Pairs of pictures with their relation, from which the decision on relations learns.

Look-alikes come in kinds: frames of one video, photos of one scene from several places, pages and
windows of one design, collections whose pictures resemble each other. Each kind also has true
copies of the same pictures, so that nothing learns "screens are never copies".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from copydetect import edits
from copydetect.images.resizing import limited
from copydetect.training import drawn_alikes, look_alikes
from copydetect.training.browser import render
from copydetect.training.hard_copies import drawn_over, marked, strongly_edited
from copydetect.training.page_contents import Fields, changed
from copydetect.training.page_designs import DESIGNS
from copydetect.training.page_looks import Look
from copydetect.types import Pixels, Relation

_STILL = 14.0
"""Grey levels by which two frames must differ somewhere, after smoothing; else they are one
picture."""

_EDITED = 6
"""Edited copies of a design, each beside what it was made of and beside another filling."""

_MADE_ALIKE: dict[str, Relation] = {
    "pages": "same_layout",
    "receipts": "same_layout",
    "windows": "same_layout",
    "cards": "same_layout",
    "silhouettes": "none",
    "second_view": "same_scene",
    "shelf": "same_layout",
    "shelf_twice": "same_scene",
    "one_screen": "none",
    "one_template": "none",
    "one_background": "none",
    "captions": "changed_content",
    "watermarks": "none",
    "boards": "same_layout",
    "codes": "same_layout",
    "patterns": "none",
    "icons": "same_layout",
}


@dataclass(frozen=True, eq=False)
class RelatedPair:
    """Two pictures and their relation; source: where they come from, for folds."""

    first: Pixels
    second: Pixels
    relation: Relation
    source: str


def of_designs(
    rng: np.random.Generator, looks: int, chromium: str, names: Sequence[str] = tuple(DESIGNS)
) -> Iterator[RelatedPair]:
    """Pages and windows: filled alike, with one thing changed, or with other content."""
    filled: list[tuple[str, Look, list[Fields]]] = []
    for name in names:
        for _ in range(looks):
            look, fill = Look.drawn(rng), DESIGNS[name].fill
            fields = fill(rng, look)
            filled.append((name, look, [fields, changed(rng, fields), fill(rng, look)]))
    blocks = [DESIGNS[name].page(look, one) for name, look, three in filled for one in three]
    drawn = render(blocks, chromium)
    for row, (name, _, _) in enumerate(filled):
        yield from _of_design(rng, name, drawn[3 * row : 3 * row + 3])


def of_edited_designs(
    rng: np.random.Generator, pictures: Sequence[Pixels], chromium: str
) -> Iterator[RelatedPair]:
    """Pages, windows and small designs, edited: beside what they were made of, and beside others of
    their design.

    Look-alikes are edited as copies are, so that no edit speaks for a copy. pictures: others that
    copies are pasted into, or that are pasted on them.
    """
    for source, alike in [*_pages_alike(rng, chromium), *_small_alike(rng)]:
        for _ in range(_EDITED):
            first, second = rng.choice(len(alike), 2, replace=False).tolist()
            pasted = [pictures[int(i)] for i in rng.integers(len(pictures), size=4)]
            mix = edits.mix_named(str(rng.choice(["mild", "default", "default", "severe"])))
            copy = limited(edits.make_copy(alike[first], rng, mix, pasted).pixels, 1400)
            yield RelatedPair(copy, degraded(rng, alike[first]), "edited", source)
            if differ(alike[first], alike[second]):
                yield RelatedPair(copy, degraded(rng, alike[second]), "same_layout", source)


def _pages_alike(rng: np.random.Generator, chromium: str) -> Iterator[tuple[str, Sequence[Pixels]]]:
    """Of each design its name and four pages: three fillings, and the first with one change."""
    filled: list[tuple[str, Look, list[Fields]]] = []
    for name, design in DESIGNS.items():
        look = Look.drawn(rng)
        fields = [design.fill(rng, look) for _ in range(3)]
        filled.append((name, look, [*fields, changed(rng, fields[0])]))
    blocks = [DESIGNS[name].page(look, one) for name, look, four in filled for one in four]
    drawn = render(blocks, chromium)
    for row, (name, _, four) in enumerate(filled):
        yield f"design {name}", drawn[len(four) * row : len(four) * (row + 1)]


def _small_alike(rng: np.random.Generator) -> Iterator[tuple[str, Sequence[Pixels]]]:
    blank = [np.full((64, 64, 3), 255, np.uint8)] * 7
    for name in drawn_alikes.OF_NOTHING:
        for _ in range(2):
            yield f"made {name}", drawn_alikes.KINDS[name](rng, blank)


def _of_design(
    rng: np.random.Generator, name: str, drawn: Sequence[Pixels]
) -> Iterator[RelatedPair]:
    """drawn: a page, the same with one thing changed, and another filling."""
    page, *others = drawn
    relations: tuple[Relation, ...] = ("changed_content", DESIGNS[name].refilled)
    for other, relation in zip(others, relations, strict=True):
        if differ(page, other):
            yield _pair(rng, page, other, relation, f"design {name}")
            if DESIGNS[name].paper:
                sheets = scanned(rng, page), scanned(rng, other)
                yield RelatedPair(*sheets, relation, f"scan {name}")
    if DESIGNS[name].plain:
        yield RelatedPair(degraded(rng, page, 1.0), page, "same_picture", f"design {name}")
        return
    yield from copies_of(rng, [page], drawn, f"design {name}", 2)
    yield from hard_copies_of(rng, [page], f"design {name}", 2)
    if DESIGNS[name].paper:
        again = scanned(rng, page), scanned(rng, page)
        yield RelatedPair(*again, "same_picture", f"scan {name}")
        worked_with = degraded(rng, marked(rng, page))
        yield RelatedPair(worked_with, degraded(rng, page), "edited", f"scan {name}")
        if differ(page, others[0]):
            other = degraded(rng, others[0])
            yield RelatedPair(worked_with, other, "changed_content", f"scan {name}")


def of_frames(
    rng: np.random.Generator, frames: Sequence[Pixels], source: str, count: int
) -> Iterator[RelatedPair]:
    """Frames of one video, or photos of one scene, in order: any two, and copies of single ones."""
    for _ in range(count):
        first = int(rng.integers(len(frames) - 1))
        reach = int(rng.choice([1, 1, 2, 3, 5, len(frames)]))
        second = min(first + 1 + int(rng.integers(reach)), len(frames) - 1)
        if differ(frames[first], frames[second]):
            shown = frames[first]
            if rng.random() < 0.2:
                shown = limited(drawn_over(rng, shown, frames), 1400)
            yield _pair(rng, shown, frames[second], "same_scene", source)
    yield from copies_of(rng, frames, frames, source, max(2, count // 2))
    yield from hard_copies_of(rng, frames, source, max(2, count // 4))


def of_strangers(
    rng: np.random.Generator, pictures: Sequence[Pixels], pairs: Sequence[tuple[int, int]],
    relation: Relation, source: str,
) -> Iterator[RelatedPair]:  # fmt: skip
    """Pairs of a collection that look alike, by their numbers."""
    for first, second in pairs:
        yield _pair(rng, pictures[first], pictures[second], relation, source)


def of_small_designs(rng: np.random.Generator, each: int) -> Iterator[RelatedPair]:
    """Boards, codes, patterns and icons, beside others of their style and beside their copies."""
    blank = [np.full((64, 64, 3), 255, np.uint8)] * 7
    yield from of_look_alikes(rng, blank, each, drawn_alikes.OF_NOTHING)


def of_look_alikes(
    rng: np.random.Generator, pictures: Sequence[Pixels], each: int,
    names: Sequence[str] = tuple(_MADE_ALIKE),
) -> Iterator[RelatedPair]:  # fmt: skip
    """Pairs that `look_alikes` and `drawn_alikes` make of pictures, and copies of the drawn
    ones."""
    kinds = {**look_alikes.KINDS, **drawn_alikes.KINDS}
    for name, make in ((name, kinds[name]) for name in names):
        source = f"made {name}"
        for _ in range(3 * each if name in drawn_alikes.OVER_PICTURES else each):
            drawn = [pictures[int(i)] for i in rng.choice(len(pictures), 7, replace=False)]
            first, second = make(rng, drawn)
            yield _pair(rng, first, second, _MADE_ALIKE[name], source)
            if name in drawn_alikes.KINDS:
                yield from copies_of(rng, [first], drawn, source, 1)
                small = limited(first, max(first.shape[:2]) // int(rng.integers(2, 5)))
                yield RelatedPair(small, degraded(rng, first), "same_picture", source)
            if name in drawn_alikes.OVER_PICTURES:
                clean = degraded(rng, drawn[0])
                yield RelatedPair(degraded(rng, first), clean, "edited", source)


def copies_of(
    rng: np.random.Generator,
    pictures: Sequence[Pixels],
    others: Sequence[Pixels],
    source: str,
    count: int,
) -> Iterator[RelatedPair]:
    """Copies of pictures drawn from a few: a third re-encoded only, the others edited."""
    for _ in range(count):
        picture = pictures[int(rng.integers(len(pictures)))]
        if rng.random() < 0.34:
            yield RelatedPair(degraded(rng, picture, 1.0), picture, "same_picture", source)
            continue
        pasted = [others[int(i)] for i in rng.integers(len(others), size=4)]
        mix = edits.mix_named(str(rng.choice(["mild", "default", "default", "severe"])))
        first = edits.make_copy(picture, rng, mix, pasted).pixels
        second = picture
        if rng.random() < 0.2:
            second = edits.make_copy(picture, rng, edits.mix_named("mild"), pasted).pixels
        yield RelatedPair(limited(first, 1400), second, "edited", source)


def hard_copies_of(
    rng: np.random.Generator, pictures: Sequence[Pixels], source: str, count: int
) -> Iterator[RelatedPair]:
    """Pictures beside themselves with something drawn over, or strongly edited, by turns."""
    for number in range(count):
        picture = pictures[int(rng.integers(len(pictures)))]
        pasted = [pictures[int(i)] for i in rng.integers(len(pictures), size=4)]
        edit = strongly_edited if number % 2 else drawn_over
        copy = degraded(rng, edit(rng, picture, pasted), 0.4)
        yield RelatedPair(limited(copy, 1400), degraded(rng, picture, 0.4), "edited", source)


def degraded(rng: np.random.Generator, picture: Pixels, share: float = 0.6) -> Pixels:
    """The picture re-encoded, and often scaled down, with this probability; else as it was."""
    if rng.random() >= share:
        return picture
    if rng.random() < 0.6:
        least = max(0.35, min(1.0, 160 / max(picture.shape[:2])))
        scale = float(rng.uniform(least, 1.0))
        size = max(8, round(picture.shape[1] * scale)), max(8, round(picture.shape[0] * scale))
        how = int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        picture = np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)
    if rng.random() < 0.85:
        picture = _as_jpeg(picture, int(rng.integers(25, 97)))
    return picture


def scanned(rng: np.random.Generator, page: Pixels) -> Pixels:
    """A sheet as a scanner sees it: turned a little, shifted, soft, shaded and noisy."""
    height, width = page.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.normal(0, 0.7)), 1)
    turn[:, 2] = turn[:, 2] + rng.normal(0, 4, 2)
    paper = float(rng.uniform(225, 255))
    moved = cv2.warpAffine(page, turn, (width, height), borderValue=(paper,) * 3)
    soft = cv2.GaussianBlur(moved, (0, 0), float(rng.uniform(0.4, 1.0))).astype(np.float32)
    x = np.linspace(-1, 1, width)[None, :, None] * rng.normal(0, 6)
    y = np.linspace(-1, 1, height)[:, None, None] * rng.normal(0, 6)
    noise = rng.normal(0, rng.uniform(1, 6), (height, width, 1))
    seen = np.clip(soft * (paper / 255) + x + y + noise, 0, 255).astype(np.uint8)
    return _as_jpeg(seen, int(rng.integers(45, 93)))


def differ(first: Pixels, second: Pixels) -> bool:
    """Whether two pictures of one size differ by more than noise anywhere."""
    if first.shape != second.shape:
        return True
    apart = cv2.absdiff(first, second).max(axis=2).astype(np.float32)
    return bool(cv2.blur(apart, (3, 3)).max() > _STILL)


def _pair(
    rng: np.random.Generator, first: Pixels, second: Pixels, relation: Relation, source: str
) -> RelatedPair:
    """Both as they are passed on: re-encoded or scaled down, one sometimes edited too."""
    first, second = degraded(rng, first), degraded(rng, second)
    if relation != "changed_content" and rng.random() < 0.2:
        first = edits.make_copy(first, rng, edits.mix_named("mild"), [second]).pixels
    elif rng.random() < 0.1:
        recolour = edits.KINDS[str(rng.choice(["brightness", "contrast", "saturation", "hue"]))]
        first = recolour.sample(rng, float(rng.uniform(0, 0.6)))(first, []).pixels
    return RelatedPair(limited(first, 1400), limited(second, 1400), relation, source)


def _as_jpeg(picture: Pixels, quality: int) -> Pixels:
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        return picture
    bgr = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(bgr[..., ::-1])
