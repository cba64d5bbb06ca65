"""Made pairs that look alike and are no copies: what a decision must learn to refuse.

Pages of other words in one layout, receipts of one shop, windows of one program with other
content, cards of one frame, silhouettes of one kind, and scenes and shelves photographed twice,
where what is near moves more than what is far, goods have been taken and the light changes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from copydetect import edits
from copydetect.images.resizing import limited
from copydetect.types import Pixels

Pair = tuple[Pixels, Pixels]
FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
_LETTERS = np.array(list("eeeeetttaaaooinnssrrhhlddcumfpgwybvkxjqz"))


def pages(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two pages of one layout, letterhead and type; most words of the text are others."""
    width, height = int(rng.integers(260, 360)), int(rng.integers(330, 460))
    paper = rng.uniform(225, 255, 3)
    blank = np.full((height, width, 3), paper, np.uint8)
    font = FONTS[int(rng.integers(len(FONTS)))]
    size = float(rng.uniform(0.28, 0.5))
    ink = tuple(float(c) for c in rng.uniform(0, 70, 3))
    margin = int(rng.integers(12, 40))
    _write(blank, (margin, margin + 8), some_words(rng, 2), font, size * 1.7, ink)
    if rng.random() < 0.4:
        _paste(blank, pictures[0], width - margin - 60, margin - 8, 56, 40)
    step = int(size * rng.uniform(36, 50))
    columns = int(rng.integers(1, 3))
    lines = [y for y in range(margin + 45, height - margin, step) if rng.random() > 0.08]
    kept = rng.uniform(0, 0.4)
    first, second = blank, blank.copy()
    for column in range(columns):
        left = margin + column * (width - margin) // columns
        room = (width - 2 * margin) // columns - 8
        for y in lines:
            words = some_words(rng, 9)
            _write(first, (left, y), words, font, size, ink, room)
            other = words if rng.random() < kept else some_words(rng, 9)
            _write(second, (left, y), other, font, size, ink, room)
    return first, second


def receipts(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two receipts of one shop: the same head and goods of one range, other sums."""
    width, height = int(rng.integers(170, 240)), int(rng.integers(320, 440))
    font, size = FONTS[int(rng.integers(2))], float(rng.uniform(0.3, 0.42))
    ink = tuple(float(c) for c in rng.uniform(0, 90, 3))
    blank = np.full((height, width, 3), rng.uniform(215, 255, 3), np.uint8)
    for row, scale in enumerate((1.5, 1.0, 1.0)):
        _write(
            blank,
            (10 + 12 * row, 20 + 16 * row),
            some_words(rng, 3 - row % 2),
            font,
            size * scale,
            ink,
        )
    cv2.line(blank, (8, 62), (width - 8, 62), ink, 1)
    _write(blank, (20, height - 12), some_words(rng, 3), font, size, ink, width - 30)
    goods = [some_words(rng, 2) for _ in range(int(rng.integers(6, 14)))]
    made = []
    for _ in range(2):
        receipt = blank.copy()
        for y in range(80, height - 30 - 18 * int(rng.integers(0, 5)), 18):
            item = goods[int(rng.integers(len(goods)))]
            _write(receipt, (8, y), item, font, size, ink, width - 70)
            _write(receipt, (width - 52, y), f"{rng.uniform(0.5, 99):6.2f}", font, size, ink)
        made.append(receipt)
    return made[0], made[1]


def windows(rng: np.random.Generator, pictures: list[Pixels], in_words: bool | None = None) -> Pair:
    """Two windows of one program: the same bars, buttons and menus, another content.

    in_words: whether that is text; by chance where it is None.
    """
    in_words = rng.random() < 0.5 if in_words is None else in_words
    width, height = int(rng.integers(320, 448)), int(rng.integers(220, 330))
    chrome = np.full((height, width, 3), rng.uniform(200, 245, 3), np.uint8)
    bar = int(rng.integers(18, 34))
    side = int(rng.integers(50, 110)) if rng.random() < 0.5 else 0
    cv2.rectangle(chrome, (0, 0), (width, bar), some_colour(rng), -1)
    ink = tuple(float(c) for c in rng.uniform(0, 110, 3))
    for i in range(int(rng.integers(3, 8))):
        at = (8 + i * int(rng.integers(40, 56)), bar - 6)
        _write(chrome, at, some_words(rng, 1), FONTS[0], 0.35, (250.0, 250.0, 250.0))
    for i in range(int(rng.integers(3, 9)) if side else 0):
        _write(chrome, (6, bar + 18 + 20 * i), some_words(rng, 2), FONTS[0], 0.33, ink, side - 8)
    made = []
    for picture in pictures[:2]:
        window = chrome.copy()
        if in_words:
            for y in range(bar + 20, height - 8, 16):
                room = int((width - side - 20) * rng.uniform(0.1, 1))
                _write(window, (side + 10, y), some_words(rng, 9), FONTS[0], 0.35, ink, room)
        else:
            _paste(window, picture, side + 6, bar + 6, width - side - 12, height - bar - 12)
        made.append(window)
    return made[0], made[1]


def silhouettes(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two shapes of one colour on one ground, of like outlines."""
    size = int(rng.integers(180, 320))
    ground, colour = some_colour(rng) if rng.random() < 0.3 else (255.0,) * 3, some_colour(rng)
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    waves = np.arange(2, 9)
    shared = rng.normal(0, 0.35, (2, len(waves))) / waves
    made = []
    for _ in range(2):
        own = shared + rng.normal(0, 0.25, shared.shape) / waves
        radius = (
            1 + own[0] @ np.cos(np.outer(waves, angle)) + own[1] @ np.sin(np.outer(waves, angle))
        )
        outline = np.column_stack([np.cos(angle), np.sin(angle)]) * radius[:, None] * size * 0.33
        canvas = np.full((size, size, 3), ground, np.uint8)
        cv2.fillPoly(canvas, [np.rint(outline + size / 2).astype(np.int32)], colour, cv2.LINE_AA)
        made.append(canvas)
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
        cv2.rectangle(frame, (inset, inset), far, some_colour(rng), int(rng.integers(1, 4)))
    for corner in ((edge, edge), (width - edge, edge), (edge, height - edge)):
        cv2.circle(frame, corner, edge // 2 + 3, some_colour(rng), -1)
    split = int(height * rng.uniform(0.45, 0.7))
    font = FONTS[int(rng.integers(len(FONTS)))]
    made = []
    for picture in pictures[:2]:
        card = frame.copy()
        _paste(card, picture, edge + 4, edge + 4, width - 2 * edge - 8, split - edge)
        for y in range(split + 24, height - edge - 4, 16):
            room = width - 2 * edge - 16
            _write(card, (edge + 8, y), some_words(rng, 6), font, 0.4, (10.0, 10.0, 10.0), room)
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
    reach = float(np.exp(rng.uniform(np.log(0.025), np.log(0.09)))) * max(width, height)
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    from_x = x + np.float32(reach * np.cos(turn)) * nearness
    from_y = y + np.float32(reach * np.sin(turn) / 2) * nearness
    moved = cv2.remap(first, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return first, _from_elsewhere(rng, np.asarray(moved, np.uint8))


def shelf_twice(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """One shelf from two places: each thing on it moves with its depth, some have been taken."""
    width, height = int(rng.integers(300, 420)), int(rng.integers(220, 340))
    rows, columns = int(rng.integers(2, 4)), int(rng.integers(3, 7))
    tall, broad = height // rows, width // columns
    reach = float(np.exp(rng.uniform(np.log(0.02), np.log(0.1)))) * width
    kinds = rng.integers(0, len(pictures), rows * columns)
    depth = np.repeat(rng.uniform(0, 0.4, rows), columns) + rng.uniform(0, 0.6, rows * columns)
    jitter = rng.integers(0, 8, (rows * columns, 2))
    taken = rng.uniform(0, 0.25)
    back = np.full((height, width, 3), rng.uniform(60, 200, 3), np.uint8)
    back = np.clip(back + 12 * _smooth_noise(rng, 6, width, height)[..., None], 0, 255)
    made = []
    for step in (0.0, reach):
        view = back.astype(np.uint8)
        for i in np.argsort(depth):
            if step and rng.random() < taken:
                continue
            left = (i % columns) * broad + jitter[i, 0] + round(step * depth[i])
            top = (i // columns) * tall + jitter[i, 1]
            _paste(view, pictures[kinds[i]], left, top, broad - 6, tall - 14)
        for row in range(1, rows + 1):
            board = (0, row * tall - 7), (width, row * tall - 1)
            cv2.rectangle(view, *board, (60, 50, 40), -1)
        made.append(view)
    return made[0], _from_elsewhere(rng, made[1])


def _from_elsewhere(rng: np.random.Generator, view: Pixels) -> Pixels:
    """The view of a camera held otherwise, in other light."""
    height, width = view.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = (corners - corners.mean(axis=0)) * rng.uniform(0.96, 1.12) + corners.mean(axis=0)
    moved += rng.normal(0, 0.015 * width, (4, 2))
    camera = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    seen = cv2.warpPerspective(view, camera, (width, height), borderMode=cv2.BORDER_REFLECT)
    light = 1 + rng.uniform(0, 0.25) * _smooth_noise(rng, 3, width, height)[..., None]
    grain = rng.normal(0, rng.uniform(0, 5), seen.shape)
    lit = seen * light * rng.uniform(0.8, 1.2, 3 if rng.random() < 0.5 else 1)
    return np.clip(lit + rng.uniform(-15, 15) + grain, 0, 255).astype(np.uint8)


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


def one_template(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two pictures in one page or window, at the same place and letterboxed alike."""
    bases = (pages, partial(windows, in_words=True), receipts)
    base = bases[int(rng.integers(len(bases)))](rng, pictures[2:])[0]
    height, width = base.shape[:2]
    share = np.sqrt(rng.uniform(0.2, 0.6))
    tall, broad = int(share * height), int(share * width)
    left, top = int(rng.integers(0, width - broad)), int(rng.integers(0, height - tall))
    ground = float(rng.choice([0, 0, 255, rng.uniform(0, 255)]))
    made = []
    for picture in pictures[:2]:
        page = base.copy()
        cv2.rectangle(page, (left, top), (left + broad, top + tall), (ground,) * 3, -1)
        scale = min(broad / picture.shape[1], tall / picture.shape[0])
        across, down = int(picture.shape[1] * scale), int(picture.shape[0] * scale)
        at = left + (broad - across) // 2, top + (tall - down) // 2
        _paste(page, picture, *at, across, down)
        made.append(page)
    return _as_made(made[0], made[1])


def one_background(rng: np.random.Generator, pictures: list[Pixels]) -> Pair:
    """Two pictures pasted onto one third picture, at one place, of which they fill about half."""
    height, width = pictures[0].shape[:2]
    resized = cv2.resize(pictures[1], (width, height), interpolation=cv2.INTER_AREA)
    same_shape = np.asarray(resized, np.uint8)
    for _ in range(8):
        paste = edits.KINDS["onto"].sample(rng, float(rng.uniform(0, 1)))
        first, second = paste(pictures[0], pictures[2:3]), paste(same_shape, pictures[2:3])
        other = np.abs(first.pixels.astype(np.int16) - second.pixels).max(axis=2) > 12
        if 0.3 < other.mean() < 0.8:
            break
    return _as_made(first.pixels, second.pixels)


KINDS: dict[str, Callable[[np.random.Generator, list[Pixels]], Pair]] = {
    "pages": pages,
    "receipts": receipts,
    "windows": windows,
    "cards": cards,
    "silhouettes": silhouettes,
    "second_view": second_view,
    "shelf": shelf,
    "shelf_twice": shelf_twice,
    "one_screen": one_screen,
    "one_template": one_template,
    "one_background": one_background,
}
"""Each takes a generator and at least two pictures, and makes two images that are no copies."""


def _as_made(first: Pixels, second: Pixels) -> Pair:
    """Both at most 448 px long, as pictures of a collection are when they are compared."""
    return limited(first, 448), limited(second, 448)


def some_words(rng: np.random.Generator, count: int) -> str:
    """So many words of letters as frequent as in English."""
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


def some_colour(rng: np.random.Generator) -> tuple[float, ...]:
    """Red, green and blue, 0…255."""
    return tuple(float(c) for c in rng.uniform(0, 255, 3))


def _smooth_noise(
    rng: np.random.Generator, cells: int, width: int, height: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(height, width) float32 of about unit deviation, smooth over a cell."""
    noise = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, np.float32)
