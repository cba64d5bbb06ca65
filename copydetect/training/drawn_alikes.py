"""Made pairs of small designs: boards, codes, patterns, icons, captions and watermarks.

They share a grid, a frame, a style, a photo or a watermark, and show something else.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from copydetect.training.hard_copies import Watermark
from copydetect.training.look_alikes import FONTS, Pair, some_colour, some_words
from copydetect.types import Pixels

_BLACK, _WHITE = (0.0,) * 3, (255.0,) * 3
_CAPTION_PX = 24


def captions(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """One photo with two captions: outlined letters on it, or plain ones on a bar beside it."""
    picture = pictures[0]
    height, width = picture.shape[:2]
    outlined, top = bool(rng.random() < 0.6), bool(rng.random() < 0.5)
    bar = int(height * rng.uniform(0.12, 0.25))
    font, size = FONTS[int(rng.integers(len(FONTS)))], width * float(rng.uniform(1.5, 5)) / 1000
    both = bool(outlined and rng.random() < 0.5)
    made = []
    for _ in range(2):
        canvas = picture.copy()
        if not outlined:
            canvas = cv2.copyMakeBorder(
                picture,
                bar if top else 0,
                0 if top else bar,
                0,
                0,
                cv2.BORDER_CONSTANT,
                None,
                _WHITE,
            )
        for at_top in (True, False) if both else (top,):
            _caption(rng, canvas, at_top, bar, font, max(size, 0.4), outlined)
        made.append(canvas)
    return made[0], made[1]


def watermarks(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two pictures of one size below one watermark."""
    first = pictures[0]
    size = first.shape[1], first.shape[0]
    second = np.asarray(cv2.resize(pictures[1], size, interpolation=cv2.INTER_AREA), np.uint8)
    mark = Watermark.drawn(rng)
    return mark(first), mark(second)


def boards(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two positions on one board: the same squares, other pieces on some of them."""
    cells, side = int(rng.integers(6, 12)), int(rng.integers(24, 60))
    dark, light = some_colour(rng), tuple(float(c) for c in rng.uniform(170, 255, 3))
    rows, columns = np.mgrid[0 : cells * side, 0 : cells * side] // side
    board = np.where(((rows + columns) % 2)[..., None] > 0, dark, light).astype(np.uint8)
    share, kept = float(rng.uniform(0.2, 0.6)), float(rng.uniform(0, 0.8))
    pieces = rng.integers(0, 12, (cells, cells))
    there = rng.random((cells, cells)) < share
    same = rng.random((cells, cells)) < kept
    made = []
    for number in range(2):
        if number:
            pieces = np.where(same, pieces, rng.integers(0, 12, (cells, cells)))
            there = np.where(same, there, rng.random((cells, cells)) < share)
        canvas = board.copy()
        for row, column in zip(*np.nonzero(there), strict=True):
            _piece(canvas, int(pieces[row, column]), int(column * side), int(row * side), side)
        made.append(canvas)
    return made[0], made[1]


def codes(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two codes of one form with other data: squares between three corners, or bars."""
    cells, side = int(rng.integers(21, 38)), int(rng.integers(5, 12))
    bars = bool(rng.random() < 0.4)
    made = []
    for _ in range(2):
        if bars:
            modules = np.repeat(rng.integers(0, 2, (1, 3 * cells)), cells, axis=0)
        else:
            modules = rng.integers(0, 2, (cells, cells))
            for row, column in ((0, 0), (0, cells - 7), (cells - 7, 0)):
                modules[row : row + 7, column : column + 7] = _finder()
        dark = np.kron(modules, np.ones((side, max(side // (3 if bars else 1), 2)), np.int64)) > 0
        grey = np.pad(np.where(dark, 0, 255).astype(np.uint8), 4 * side, constant_values=255)
        canvas = np.repeat(grey[..., None], 3, axis=2)
        if bars:
            below = (4 * side, canvas.shape[0] - side)
            digits = " ".join(str(n) for n in rng.integers(0, 10, 12))
            cv2.putText(canvas, digits, below, FONTS[0], side / 14, _BLACK, 1, cv2.LINE_AA)
        made.append(canvas)
    return made[0], made[1]


def patterns(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two symmetric patterns of squares, as they stand for people without a photo."""
    cells, side = int(rng.integers(5, 9)), int(rng.integers(16, 48))
    ground, one_colour = some_colour(rng) if rng.random() < 0.3 else _WHITE, some_colour(rng)
    margin = side // 2 if rng.random() < 0.5 else 0
    made = []
    for _ in range(2):
        half = rng.integers(0, 2, (cells, (cells + 1) // 2))
        whole = np.concatenate([half, half[:, : cells // 2][:, ::-1]], axis=1)
        dark = np.kron(whole, np.ones((side, side), np.int64))[..., None] > 0
        ink = one_colour if rng.random() < 0.5 else some_colour(rng)
        canvas = np.where(dark, ink, ground).astype(np.uint8)
        made.append(cv2.copyMakeBorder(canvas, *(margin,) * 4, cv2.BORDER_CONSTANT, None, ground))
    return np.asarray(made[0], np.uint8), np.asarray(made[1], np.uint8)


def icons(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two icons of one style: the same tile, another sign on it."""
    side = int(rng.integers(96, 260))
    across = np.linspace(0, 1, side)[None, :, None]
    tile = (np.array(some_colour(rng)) * across + np.array(some_colour(rng)) * (1 - across)).astype(
        np.uint8
    )
    tile = np.repeat(tile, side, axis=0)
    mask = np.zeros((side, side), np.uint8)
    corner = side // int(rng.integers(4, 8))
    cv2.rectangle(mask, (corner, 0), (side - corner, side), 1, -1)
    cv2.rectangle(mask, (0, corner), (side, side - corner), 1, -1)
    for x in (corner, side - corner):
        for y in (corner, side - corner):
            cv2.circle(mask, (x, y), corner, 1, -1)
    signs = rng.choice(12, 2, replace=False)
    made = []
    for sign in signs:
        canvas = np.where(mask[..., None] > 0, tile, 255).astype(np.uint8)
        _piece(canvas, int(sign), side // 5, side // 5, 3 * side // 5)
        made.append(canvas)
    return made[0], made[1]


KINDS: dict[str, Callable[[np.random.Generator, list[Pixels]], Pair]] = {
    "captions": captions,
    "watermarks": watermarks,
    "boards": boards,
    "codes": codes,
    "patterns": patterns,
    "icons": icons,
}
"""Each takes a generator and at least two pictures, and makes two images that are no copies."""

OF_NOTHING = ("boards", "codes", "patterns", "icons")
"""Those that take nothing from the pictures."""

OVER_PICTURES = ("captions", "watermarks")
"""Those whose first image is an edited copy of the first picture."""


def _caption(
    rng: np.random.Generator,
    canvas: Pixels,
    at_top: bool,
    bar: int,
    font: int,
    size: float,
    outlined: bool,
) -> None:
    """Words in the middle of the upper or lower edge of the canvas, drawn in place."""
    text = some_words(rng, int(rng.integers(2, 7)))
    text = text.upper() if outlined else text
    thick = max(1, round(size * 1.6))
    while text and cv2.getTextSize(text, font, size, thick)[0][0] > canvas.shape[1] - 8:
        text = text[:-1]
    (long, high), _ = cv2.getTextSize(text, font, size, thick)
    y = bar // 2 + high // 2 if at_top else canvas.shape[0] - bar // 2 + high // 2
    at = ((canvas.shape[1] - long) // 2, max(y, high))
    if outlined:
        cv2.putText(canvas, text, at, font, size, _BLACK, 3 * thick, cv2.LINE_AA)
    cv2.putText(canvas, text, at, font, size, _WHITE if outlined else _BLACK, thick, cv2.LINE_AA)


def _piece(canvas: Pixels, kind: int, left: int, top: int, side: int) -> None:
    """One of six shapes, light or dark, in a square of the canvas, drawn in place."""
    ink, edge = ((250.0,) * 3, (20.0,) * 3) if kind % 2 else ((25.0,) * 3, (230.0,) * 3)
    middle, reach = (left + side // 2, top + side // 2), int(side * 0.36)
    corners = 3 + kind // 2
    if corners == 8:
        cv2.circle(canvas, middle, reach, ink, -1, cv2.LINE_AA)
        cv2.circle(canvas, middle, reach, edge, max(1, side // 24), cv2.LINE_AA)
        return
    angles = np.arange(2 * corners) * np.pi / corners - np.pi / 2
    radii = np.where(np.arange(2 * corners) % 2, reach * 0.45, reach)[:, None]
    star = middle + radii * np.column_stack([np.cos(angles), np.sin(angles)])
    outline = [np.rint(star).astype(np.int32)]
    cv2.fillPoly(canvas, outline, ink, cv2.LINE_AA)
    cv2.polylines(canvas, outline, True, edge, max(1, side // 24), cv2.LINE_AA)


def _finder() -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """(7, 7): the corner mark of a square code."""
    ring = np.pad(np.zeros((5, 5), np.int64), 1, constant_values=1)
    ring[2:5, 2:5] = 1
    return ring
