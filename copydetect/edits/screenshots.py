"""Screenshots that show the picture: a feed, a chat, a page, a viewer, a network. Drawn here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageDraw

from copydetect.edits.edit import Colour, Edit, Edited, Others, moved
from copydetect.edits.pasted import fill, made_up
from copydetect.edits.sprites import sample_words, written
from copydetect.homographies import scaling, shift
from copydetect.images.resizing import resized
from copydetect.types import Pixels

Box = tuple[int, int, int, int]
"""left, top, width, height in px."""

Layout = Literal["feed", "chat", "page", "viewer", "network"]

_MAX_SCREEN_PIXELS = 16_000_000
_DEVICES = 12
_ACCENTS: tuple[Colour, ...] = ((24, 119, 242), (37, 168, 90), (225, 48, 108), (120, 80, 220))


@dataclass(frozen=True)
class Screenshot(Edit, kind="screenshot"):
    """The picture as a program's window shows it.

    shape: the screen's width over its height; size: the screen's area over the picture's;
    cut: the picture fills its place and loses its margins, as feeds do with it.
    """

    layout: Layout
    shape: float
    size: float
    dark: bool
    cut: bool
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Screenshot:
        size = rng.uniform(1.2 - 0.5 * strength, 2.5)
        cut = rng.random() < 0.2 + 0.4 * strength
        # A pile's screenshots come from few devices: half of them have a frame that others have.
        device = int(rng.integers(_DEVICES if rng.random() < 0.5 else 2**31))
        screen = np.random.default_rng(device)
        layouts: tuple[Layout, ...] = get_args(Layout)
        layout = layouts[screen.integers(len(layouts))]
        wide = layout in ("page", "network") or (layout != "chat" and screen.random() < 0.3)
        shape = screen.uniform(1.3, 1.8) if wide else screen.uniform(0.46, 0.65)
        dark = screen.random() < 0.35
        return cls(layout, float(shape), float(size), bool(dark), bool(cut), device)

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        height, width = pixels.shape[:2]
        area = float(np.clip(width * height * self.size, 96**2, _MAX_SCREEN_PIXELS))
        size = round((area * self.shape) ** 0.5), round((area / self.shape) ** 0.5)
        screen = _Screen(size, self.dark, np.random.default_rng(self.seed))
        slot = _LAYOUTS[self.layout](screen, width / height)
        canvas = np.array(screen.image)
        if self.cut:
            return fill(canvas, pixels, slot)
        return _fit(canvas, pixels, slot)


class _Screen:
    """A window in the making: its size in px, its theme, and the pen to draw with."""

    def __init__(self, size: tuple[int, int], dark: bool, rng: np.random.Generator) -> None:
        self.width, self.height = size
        self.rng = rng
        self.paper: Colour = (24, 25, 28) if dark else (255, 255, 255)
        self.bar: Colour = (40, 42, 47) if dark else (240, 242, 245)
        self.ink: Colour = (230, 230, 232) if dark else (28, 30, 33)
        self.faint: Colour = (88, 90, 96) if dark else (205, 207, 212)
        self.accent = _ACCENTS[rng.integers(len(_ACCENTS))]
        self.image = Image.new("RGB", size, self.paper)
        self.pen = ImageDraw.Draw(self.image)
        # What buttons and lines of text are measured in; a phone is about 36 units wide.
        self.unit = min(self.width / 36, self.height / 36)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.pen.rectangle((round(left), round(top), round(right), round(bottom)), colour)

    def card(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        radius = min(self.unit, (right - left) / 2, (bottom - top) / 2)
        self.pen.rounded_rectangle(
            (round(left), round(top), round(right), round(bottom)), max(radius, 0), colour
        )

    def dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self.pen.ellipse((x - radius, y - radius, x + radius, y + radius), colour)

    def portrait(self, x: float, y: float, radius: float) -> None:
        """A user's round picture: plain, with a darker head and shoulders."""
        red, green, blue = (int(value) for value in self.rng.integers(90, 240, 3))
        self.dot(x, y, radius, (red, green, blue))
        shade = (red * 2 // 3, green * 2 // 3, blue * 2 // 3)
        self.dot(x, y - radius * 0.2, radius * 0.35, shade)
        self.pen.chord(
            (x - radius * 0.6, y + radius * 0.2, x + radius * 0.6, y + radius * 1.4),
            180,
            360,
            shade,
        )

    def line(
        self, left: float, top: float, colour: Colour, size: float = 1.4, words: int = 5
    ) -> float:
        """A line of words of a size in units; its width in px. Grey bars where it is too small."""
        text = sample_words(self.rng, max(words - 2, 1), words)
        size_px = round(size * self.unit)
        if size_px < 8:
            width = len(text) * size_px * 0.5
            self.box(left, top + size_px * 0.2, left + width, top + size_px * 0.8, self.faint)
            return width
        sprite = Image.fromarray(written(text, size_px, colour))
        self.image.paste(sprite, (round(left), round(top)), sprite)
        return float(sprite.width)

    def status_bar(self) -> float:
        """Clock, signal and battery at the top of a phone; the bar's height in px."""
        unit, y = self.unit, self.unit * 1.1
        if unit * 1.3 >= 8:
            clock = f"{self.rng.integers(24)}:{self.rng.integers(60):02d}"
            sprite = Image.fromarray(written(clock, round(unit * 1.3), self.ink))
            self.image.paste(sprite, (round(unit * 1.5), round(y - unit * 0.5)), sprite)
        right = self.width - unit * 1.5
        self.box(right - unit * 2, y - unit * 0.5, right, y + unit * 0.5, self.ink)
        for step in range(4):
            x = right - unit * (3 + 0.6 * step)
            self.box(
                x, y + unit * (0.5 - 0.25 * (4 - step)), x + unit * 0.3, y + unit / 2, self.ink
            )
        return unit * 2.4


def _feed(screen: _Screen, shape: float) -> Box:
    """A post: author, picture, buttons and comments."""
    unit = screen.unit
    wide = screen.width > screen.height
    top = 0.0 if wide else screen.status_bar()
    screen.box(0, top, screen.width, top + unit * 3.4, screen.bar)
    screen.line(unit * 1.5, top + unit, screen.accent, 1.8, 2)
    screen.dot(screen.width - unit * 2.5, top + unit * 1.7, unit * 0.9, screen.faint)
    left, width = (screen.width * 0.3, screen.width * 0.45) if wide else (0.0, float(screen.width))
    if wide:
        for row in range(8):
            y = top + unit * (5.5 + row * 3.4)
            screen.dot(unit * 2.2, y, unit * 0.9, screen.faint)
            screen.line(unit * 3.8, y - unit * 0.6, screen.ink, 1.2, 2)
        screen.card(
            screen.width * 0.79, top + unit * 5, screen.width - unit, top + unit * 16, screen.bar
        )
    y = top + unit * 4.2
    screen.portrait(left + unit * 2.6, y + unit * 1.5, unit * 1.5)
    screen.line(left + unit * 4.8, y + unit * 0.2, screen.ink, 1.3, 2)
    screen.line(left + unit * 4.8, y + unit * 1.8, screen.faint, 1.1, 2)
    y += unit * 3.8
    room = screen.height - y - unit * (4 if wide else 9)
    picture = max(min(width / max(shape, 0.75), room), unit * 4)
    below = y + picture + unit
    for button in range(3):
        screen.dot(left + unit * (2 + 3 * button), below + unit, unit * 0.8, screen.ink)
    for row in range(3):
        screen.line(left + unit * 1.2, below + unit * (2.6 + 2 * row), screen.ink, 1.3, 5)
    return round(left), round(y), max(round(width), 1), max(round(picture), 1)


def _chat(screen: _Screen, shape: float) -> Box:
    """A conversation in which the picture is a message."""
    unit, right = screen.unit, screen.width
    top = screen.status_bar()
    screen.box(0, top, right, top + unit * 4, screen.bar)
    screen.portrait(unit * 3, top + unit * 2, unit * 1.5)
    screen.line(unit * 5.5, top + unit * 1.2, screen.ink, 1.6, 2)
    y = top + unit * 5.2
    y = _bubble(screen, y, False)
    width = right * float(screen.rng.uniform(0.62, 0.8))
    height = min(width / float(np.clip(shape, 0.6, 2)), screen.height - y - unit * 9)
    height = max(height, unit * 4)
    left = right - width - unit if screen.rng.random() < 0.5 else unit
    pad = unit * 0.5
    screen.card(left, y, left + width, y + height + 2 * pad, screen.accent)
    slot = (
        round(left + pad),
        round(y + pad),
        max(round(width - 2 * pad), 1),
        max(round(height), 1),
    )
    y += height + unit * 2
    while y < screen.height - unit * 8:
        y = _bubble(screen, y, bool(screen.rng.random() < 0.5))
    bottom = screen.height - unit * 4
    screen.box(0, bottom, right, screen.height, screen.bar)
    screen.card(
        unit * 1.5, bottom + unit * 0.8, right - unit * 5, bottom + unit * 3.2, screen.paper
    )
    screen.dot(right - unit * 2.6, bottom + unit * 2, unit * 1.2, screen.accent)
    return slot


def _bubble(screen: _Screen, top: float, mine: bool) -> float:
    """A message; returns where the next one starts."""
    unit = screen.unit
    width = unit * float(screen.rng.uniform(10, 22))
    left = screen.width - width - unit if mine else unit
    screen.card(left, top, left + width, top + unit * 3, screen.accent if mine else screen.bar)
    ink: Colour = (255, 255, 255) if mine else screen.ink
    screen.line(left + unit, top + unit * 0.8, ink, 1.3, max(int(width / unit / 4), 1))
    return top + unit * 4


def _page(screen: _Screen, shape: float) -> Box:
    """A browser with an article and the picture in it."""
    unit, right = screen.unit * 0.8, screen.width
    screen.box(0, 0, right, unit * 2.6, screen.faint)
    screen.card(unit, unit * 0.6, unit * 14, unit * 3.4, screen.bar)
    screen.line(unit * 2, unit * 0.9, screen.ink, 0.9, 2)
    screen.box(0, unit * 2.6, right, unit * 5.4, screen.bar)
    for button in range(3):
        screen.dot(unit * (1.6 + 2 * button), unit * 4, unit * 0.6, screen.faint)
    screen.card(unit * 8, unit * 3.1, right - unit * 4, unit * 4.9, screen.paper)
    screen.line(unit * 9, unit * 3.4, screen.faint, 0.9, 3)
    margin = right * float(screen.rng.uniform(0.05, 0.12))
    screen.line(margin, unit * 6.6, screen.ink, 2.4, 5)
    column = right * float(screen.rng.uniform(0.55, 0.68)) - margin
    top = unit * 10.5
    height = max(min(column / shape, screen.height - top - unit * 4), unit * 8)
    for row in range(int((screen.height - top) / (unit * 1.9))):
        y = top + row * unit * 1.9
        screen.line(margin + column + unit * 2, y, screen.ink, 1.0, 4)
        if y > top + height + unit:
            screen.line(margin, y, screen.ink, 1.0, 9)
    screen.box(margin + column + unit * 1.9, top, right, top + unit * 8, screen.paper)
    advert = made_up(int(screen.rng.integers(2**31)))
    fill_box = (round(margin + column + unit * 2), round(top), round(unit * 8), round(unit * 6))
    screen.image.paste(Image.fromarray(advert).resize(fill_box[2:]), fill_box[:2])
    return round(margin), round(top), max(round(column), 1), max(round(height), 1)


def _viewer(screen: _Screen, shape: float) -> Box:
    """A photo viewer: the picture between two bars."""
    unit = screen.unit
    top = 0.0 if screen.width > screen.height else screen.status_bar()
    screen.box(0, top, screen.width, top + unit * 3.2, screen.bar)
    screen.line(unit * 5, top + unit * 0.8, screen.ink, 1.4, 3)
    screen.pen.line(
        [
            (unit * 2.4, top + unit),
            (unit * 1.5, top + unit * 1.7),
            (unit * 2.4, top + unit * 2.4),
        ],
        screen.ink,
        max(round(unit / 3), 1),
    )
    bottom = screen.height - unit * 4.5
    screen.box(0, bottom, screen.width, screen.height, screen.bar)
    for button in range(4):
        x = screen.width * (button + 0.5) / 4
        screen.card(x - unit, bottom + unit, x + unit, bottom + unit * 3, screen.faint)
    y = top + unit * 3.2
    return 0, round(y), screen.width, max(round(bottom - y), 1)


def _network(screen: _Screen, shape: float) -> Box:
    """A social network on a wide screen: menu, stories, adverts, and the picture in a post below.

    The picture is small, and mostly letterboxed.
    """
    unit, right, rng = screen.unit * 0.7, float(screen.width), screen.rng
    screen.box(0, 0, right, unit * 3.4, screen.paper)
    screen.dot(unit * 1.8, unit * 1.8, unit * 1.1, screen.accent)
    screen.card(unit * 4, unit * 0.9, unit * 14, unit * 2.6, screen.bar)
    screen.portrait(right - unit * 6, unit * 1.8, unit * 1.1)
    left, width = right * float(rng.uniform(0.15, 0.24)), right * float(rng.uniform(0.4, 0.52))
    _menu(screen, unit, left)
    y = unit * 4.5
    screen.line(left + unit, y, screen.ink, 0.9, 2)
    stories = int(rng.integers(4, 10))
    radius = min(unit * 1.6, width / (2.5 * stories))
    for story in range(stories):
        x = left + width * (story + 0.5) / stories
        screen.portrait(x, y + unit * 2 + radius, radius)
    y += unit * 6.5
    screen.card(left, y, left + width, y + unit * 5, screen.bar)
    screen.portrait(left + unit * 2, y + unit * 1.6, unit)
    screen.line(left + unit * 4, y + unit, screen.faint, 0.9, 4)
    y += unit * float(rng.uniform(6, 9))
    screen.portrait(left + unit * 2, y + unit, unit)
    screen.line(left + unit * 4, y, screen.ink, 0.9, 2)
    screen.line(left + unit * 4, y + unit * 1.2, screen.faint, 0.8, 2)
    y += unit * 2.8
    _advert(screen, unit, left + width + unit * 1.5)
    indent = unit * float(rng.uniform(0, 2))
    room = screen.height - y - unit * float(rng.uniform(0.5, 3))
    slot = left + indent, y, width - 2 * indent, max(min(room, width / 1.5), unit * 6)
    behind: Colour = (0, 0, 0) if rng.random() < 0.5 else screen.bar
    screen.box(slot[0], slot[1], slot[0] + slot[2], slot[1] + slot[3], behind)
    return round(slot[0]), round(slot[1]), max(round(slot[2]), 1), max(round(slot[3]), 1)


_LAYOUTS: dict[Layout, Callable[[_Screen, float], Box]] = {
    "feed": _feed,
    "chat": _chat,
    "page": _page,
    "viewer": _viewer,
    "network": _network,
}


def _menu(screen: _Screen, unit: float, left: float) -> None:
    """The entries in the column left of the posts."""
    screen.box(0, unit * 3.6, left - unit, screen.height, screen.bar)
    for row in range(int(screen.rng.integers(6, 11))):
        y = unit * (5.5 + row * 2.7)
        screen.dot(unit * 2, y, unit * 0.7, screen.accent if row == 0 else screen.faint)
        screen.line(unit * 3.4, y - unit * 0.6, screen.ink, 0.9, 2)


def _advert(screen: _Screen, unit: float, column: float) -> None:
    """Another picture with two lines of text, in the column right of the posts."""
    rng = screen.rng
    advert = Image.fromarray(made_up(int(rng.integers(2**31))))
    across, down = (screen.width - column - unit) * 0.7, unit * float(rng.uniform(6, 9))
    size = max(round(across), 1), max(round(down), 1)
    screen.image.paste(advert.resize(size), (round(column), round(unit * 6)))
    screen.line(column, unit * 4.5, screen.faint, 0.9, 2)
    screen.line(column, unit * 7 + size[1], screen.ink, 0.9, 2)
    screen.dot(column + size[0] / 2, unit * 16 + size[1], unit * 1.5, screen.accent)


def _fit(canvas: Pixels, pixels: Pixels, slot: Box) -> Edited:
    """Draw the whole picture into the middle of a slot. Changes the canvas."""
    left, top, width, height = slot
    old = (pixels.shape[1], pixels.shape[0])
    factor = min(width / old[0], height / old[1])
    size = min(max(round(old[0] * factor), 1), width), min(max(round(old[1] * factor), 1), height)
    left, top = left + (width - size[0]) // 2, top + (height - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = resized(pixels, *size)
    return moved(canvas, shift(left, top) @ scaling(old, size), old)
