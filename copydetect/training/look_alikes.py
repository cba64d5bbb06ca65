"""Made pairs that look alike and are no copies: what a decision must learn to refuse.

Pages of other words in one layout, windows of one program with other content, cards of one frame,
and one scene photographed twice, where what is near moves more than what is far and the light
changes.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from copydetect import edits
from copydetect.types import Pixels

Pair = tuple[Pixels, Pixels]
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
_LETTERS = np.array(list("eeeeetttaaaooinnssrrhhlddcumfpgwybvkxjqz"))


def pages(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two pages of one layout, letterhead and type; every word of the text is another."""
    width, height = int(rng.integers(260, 360)), int(rng.integers(330, 460))
    paper = rng.uniform(225, 255, 3)
    blank = np.full((height, width, 3), paper, np.uint8)
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    size = float(rng.uniform(0.28, 0.5))
    ink = tuple(float(c) for c in rng.uniform(0, 70, 3))
    margin = int(rng.integers(12, 40))
    _write(blank, (margin, margin + 8), _words(rng, 2), font, size * 1.7, ink)
    if rng.random() < 0.4:
        _paste(blank, pictures[0], width - margin - 60, margin - 8, 56, 40)
    step = int(size * rng.uniform(36, 50))
    columns = int(rng.integers(1, 3))
    lines = [y for y in range(margin + 45, height - margin, step) if rng.random() > 0.08]
    made = []
    for _ in range(2):
        page = blank.copy()
        for column in range(columns):
            left = margin + column * (width - margin) // columns
            room = (width - 2 * margin) // columns - 8
            for y in lines:
                _write(page, (left, y), _words(rng, 9), font, size, ink, room)
        made.append(page)
    return made[0], made[1]


def windows(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two windows of one program: the same bars, buttons and menus, another content."""
    width, height = int(rng.integers(320, 448)), int(rng.integers(220, 330))
    chrome = np.full((height, width, 3), rng.uniform(200, 245, 3), np.uint8)
    bar = int(rng.integers(18, 34))
    side = int(rng.integers(50, 110)) if rng.random() < 0.5 else 0
    cv2.rectangle(chrome, (0, 0), (width, bar), _colour(rng), -1)
    ink = tuple(float(c) for c in rng.uniform(0, 110, 3))
    for i in range(int(rng.integers(3, 8))):
        at = (8 + i * int(rng.integers(40, 56)), bar - 6)
        _write(chrome, at, _words(rng, 1), _FONTS[0], 0.35, (250.0, 250.0, 250.0))
    for i in range(int(rng.integers(3, 9)) if side else 0):
        _write(chrome, (6, bar + 18 + 20 * i), _words(rng, 2), _FONTS[0], 0.33, ink, side - 8)
    made = []
    for picture in pictures[:2]:
        window = chrome.copy()
        _paste(window, picture, side + 6, bar + 6, width - side - 12, height - bar - 12)
        made.append(window)
    return made[0], made[1]


def cards(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two cards of one design: the same frame and rules, another picture and other words."""
    width, height = int(rng.integers(220, 300)), int(rng.integers(300, 420))
    frame = np.full((height, width, 3), rng.uniform(60, 230, 3), np.uint8)
    noise = cv2.resize(rng.normal(0, 25, (30, 22, 3)).astype(np.float32), (width, height))
    frame = np.clip(frame + noise, 0, 255).astype(np.uint8)
    edge = int(rng.integers(8, 26))
    for inset in (2, edge // 2, edge - 2):
        far = (width - inset, height - inset)
        cv2.rectangle(frame, (inset, inset), far, _colour(rng), int(rng.integers(1, 4)))
    for corner in ((edge, edge), (width - edge, edge), (edge, height - edge)):
        cv2.circle(frame, corner, edge // 2 + 3, _colour(rng), -1)
    split = int(height * rng.uniform(0.45, 0.7))
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    made = []
    for picture in pictures[:2]:
        card = frame.copy()
        _paste(card, picture, edge + 4, edge + 4, width - 2 * edge - 8, split - edge)
        for y in range(split + 24, height - edge - 4, 16):
            room = width - 2 * edge - 16
            _write(card, (edge + 8, y), _words(rng, 6), font, 0.4, (10.0, 10.0, 10.0), room)
        made.append(card)
    return made[0], made[1]


def second_view(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """One scene from two places: layers of depth move differently, the light changes."""
    first = pictures[0]
    height, width = first.shape[:2]
    layers = int(rng.integers(3, 6))
    slope = np.linspace(-1, 1, height)[:, None] * rng.uniform(0, 1.2)
    depth = slope + _smooth_noise(rng, int(rng.integers(3, 7)), width, height)
    order = np.argsort(np.argsort(depth, axis=None)).reshape(height, width) / depth.size
    steps = np.floor(order * layers).astype(np.float32) / (layers - 1)
    nearness = cv2.GaussianBlur(steps, (0, 0), float(rng.uniform(0.5, 3)))
    reach = rng.uniform(0.02, 0.07) * max(width, height)
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    zoom = float(rng.uniform(0.92, 1.08))
    from_x = (x - width / 2) * zoom + width / 2 + np.float32(reach * np.cos(turn)) * nearness
    from_y = (y - height / 2) * zoom + height / 2 + np.float32(reach * np.sin(turn) / 2) * nearness
    moved = cv2.remap(
        first,
        from_x.astype(np.float32),
        from_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    light = 1 + 0.25 * _smooth_noise(rng, 3, width, height)[..., None]
    grain = rng.normal(0, rng.uniform(0, 5), moved.shape)
    lit = moved * light * rng.uniform(0.8, 1.2) + rng.uniform(-15, 15) + grain
    return first, np.clip(lit, 0, 255).astype(np.uint8)


def shelf(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two shelves of the same goods, which stand in another order on one board."""
    width, height = int(rng.integers(300, 400)), int(rng.integers(220, 320))
    board = np.full((height, width, 3), rng.uniform(90, 210, 3), np.uint8)
    rows, columns = int(rng.integers(2, 4)), int(rng.integers(3, 6))
    tall, broad = height // rows, width // columns
    kinds = [int(k) for k in rng.integers(0, len(pictures), rows * columns)]
    made = []
    for _ in range(2):
        view = board.copy()
        rng.shuffle(kinds)
        for i, kind in enumerate(kinds):
            left = (i % columns) * broad + int(rng.integers(2, 8))
            top = (i // columns) * tall + int(rng.integers(2, 8))
            _paste(view, pictures[kind], left, top, broad - 10, tall - 14)
        for row in range(1, rows + 1):
            cv2.rectangle(view, (0, row * tall - 6), (width, row * tall - 1), (60, 50, 40), -1)
        made.append(view)
    return made[0], made[1]


def one_screen(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two pictures on the same screen or page: the same chrome around other content."""
    screen = edits.KINDS["screenshot"].sample(rng, float(rng.uniform(0, 1)))
    return _as_made(
        screen(pictures[0], pictures[2:]).pixels, screen(pictures[1], pictures[2:]).pixels
    )


def one_background(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two pictures pasted onto the same third one, at the same place."""
    paste = edits.KINDS["onto"].sample(rng, float(rng.uniform(0, 1)))
    height, width = pictures[0].shape[:2]
    resized = cv2.resize(pictures[1], (width, height), interpolation=cv2.INTER_AREA)
    same_shape = np.asarray(resized, np.uint8)
    first, second = paste(pictures[0], pictures[2:3]), paste(same_shape, pictures[2:3])
    return _as_made(first.pixels, second.pixels)


KINDS: dict[str, Callable[[np.random.Generator, list[Pixels]], Pair]] = {
    "pages": pages,
    "windows": windows,
    "cards": cards,
    "second_view": second_view,
    "shelf": shelf,
    "one_screen": one_screen,
    "one_background": one_background,
}
"""Each takes a generator and at least two pictures, and makes two images that are no copies."""


def _as_made(first: Pixels, second: Pixels) -> Pair:
    """Both at most 448 px long, as pictures of a collection are when they are compared."""
    pair = []
    for picture in (first, second):
        scale = min(1.0, 448 / max(picture.shape[:2]))
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        pair.append(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8))
    return pair[0], pair[1]


def _words(rng: np.random.Generator, count: int) -> str:
    lengths = rng.integers(2, 10, count)
    return " ".join("".join(rng.choice(_LETTERS, int(n))) for n in lengths)


def _write(
    canvas: Pixels,
    at: tuple[int, int],
    words: str,
    font: int,
    size: float,
    ink: tuple[float, ...],
    room_px: int = 10_000,
) -> None:
    """Text in place, cut where the room ends."""
    while words and cv2.getTextSize(words, font, size, 1)[0][0] > room_px:
        words = words[:-1]
    cv2.putText(canvas, words, at, font, size, ink, 1, cv2.LINE_AA)


def _paste(canvas: Pixels, picture: Pixels, left: int, top: int, width: int, height: int) -> None:
    """The picture stretched into a box, as far as that lies on the canvas."""
    left, top = max(left, 0), max(top, 0)
    width, height = min(width, canvas.shape[1] - left), min(height, canvas.shape[0] - top)
    if width > 1 and height > 1:
        resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        canvas[top : top + height, left : left + width] = resized


def _colour(rng: np.random.Generator) -> tuple[float, ...]:
    return tuple(float(c) for c in rng.uniform(0, 255, 3))


def _smooth_noise(
    rng: np.random.Generator, cells: int, width: int, height: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(height, width) float32 of about unit deviation, smooth over a cell."""
    noise = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, np.float32)
