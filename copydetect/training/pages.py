"""Drawn pages: groups with one layout and different contents, which a descriptor must tell apart.

Articles, web pages, shelves of goods, forms and listings, in the type that matplotlib brings.
Words are made of letters as frequent as in English; pictures are those that are trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from copydetect.images.resizing import resized
from copydetect.types import Pixels

Colour = tuple[int, int, int]

_LETTERS = np.array(list("eeeeeetttttaaaaooooiiinnnsssrrrhhhllddccuummfpgwybvkxjqz"))
_KINDS = ("article", "article", "web", "web", "shelf", "form", "listing")


@dataclass(frozen=True)
class Layout:
    """The layout that the pages of a group share; lengths in pixels.

    font: path of the type; leading: from line to line; columns: of text or goods; rows: of goods;
    bar: height of the strip on top, 0 for none; words: of titles, menus and labels.
    """

    kind: str
    width: int
    height: int
    paper: Colour
    ink: Colour
    accent: Colour
    font: str
    size: int
    leading: int
    margin: int
    columns: int
    rows: int
    bar: int
    figures: bool
    words: tuple[str, ...]


def drawn_pages(
    count: int, pictures: Sequence[Pixels], rng: np.random.Generator
) -> Iterator[Pixels]:
    """`count` pages, three to nine of each layout one after the other."""
    while count > 0:
        layout = draw_layout(rng)
        for _ in range(min(count, int(rng.integers(3, 10)))):
            yield draw_page(layout, pictures, rng)
            count -= 1


def draw_layout(rng: np.random.Generator) -> Layout:
    """A layout at random; short sides of about 200 to 330 px."""
    width = int(rng.integers(200, 330))
    tall = rng.random() < 0.55
    dark = rng.random() < 0.12
    size = int(rng.integers(6, 12))
    return Layout(
        kind=str(rng.choice(_KINDS)),
        width=width if tall else int(width * rng.uniform(1.1, 1.7)),
        height=int(width * rng.uniform(1.1, 1.5)) if tall else width,
        paper=_colour(rng, 10, 45) if dark else _paper(rng),
        ink=_colour(rng, 170, 250) if dark else _colour(rng, 0, 90),
        accent=_colour(rng, 20, 200),
        font=str(rng.choice(_fonts())),
        size=size,
        leading=int(size * rng.uniform(1.2, 1.8)),
        margin=int(rng.integers(6, 30)),
        columns=int(rng.choice([1, 1, 2, 3])),
        rows=int(rng.integers(2, 5)),
        bar=int(rng.integers(12, 30)) if rng.random() < 0.6 else 0,
        figures=bool(rng.random() < 0.5),
        words=tuple(_words(rng, int(rng.integers(1, 3))) for _ in range(10)),
    )


def draw_page(layout: Layout, pictures: Sequence[Pixels], rng: np.random.Generator) -> Pixels:
    """One page of a layout: its frame, and contents of its own."""
    page = Image.new("RGB", (layout.width, layout.height), layout.paper)
    sheet = _Sheet(page, ImageDraw.Draw(page), layout, pictures, rng)
    top = sheet.frame()
    draw = {"shelf": sheet.shelf, "form": sheet.form, "listing": sheet.listing}
    draw.get(layout.kind, sheet.columns)(top)
    return np.array(page)


@dataclass(frozen=True)
class _Sheet:
    """A page being drawn."""

    page: Image.Image
    pen: ImageDraw.ImageDraw
    layout: Layout
    pictures: Sequence[Pixels]
    rng: np.random.Generator

    def frame(self) -> int:
        """Draw what all pages of the layout show; returns the height below which they differ."""
        layout = self.layout
        if not (layout.bar and layout.kind in ("web", "shelf", "listing")):
            return layout.margin
        self.pen.rectangle((0, 0, layout.width, layout.bar), layout.accent)
        for place, word in enumerate(layout.words[:5]):
            self.write(4 + place * layout.width // 5, 2, word, layout.paper, room=layout.width // 5)
        return layout.bar + 6

    def columns(self, top: int) -> None:
        """A title, and columns of paragraphs, headings, tables and pictures."""
        layout, rng = self.layout, self.rng
        self.write(layout.margin, top, _words(rng, 5), layout.ink, scale=2.0)
        top += 3 * layout.size
        width = (layout.width - 2 * layout.margin) // layout.columns
        for column in range(layout.columns):
            self.text(layout.margin + column * width, top, width - 6)

    def text(self, left: int, y: int, width: int) -> None:
        """Fill one column to the lower margin."""
        layout, rng = self.layout, self.rng
        bottom = layout.height - layout.margin
        while y < bottom - layout.size:
            drawn = rng.random()
            if drawn < 0.12:
                self.write(left, y, _words(rng, 3), layout.accent, 1.2, width)
                y += 2 * layout.leading
            elif drawn < 0.22 and layout.figures and bottom - y > 20:
                height = min(bottom - y, int(width * rng.uniform(0.3, 0.8)))
                self.picture(left, y, width, height)
                y += height + layout.leading // 2
            else:
                lines = min(int(rng.integers(2, 9)), (bottom - y) // layout.leading)
                for line in range(lines):
                    room = width if line < lines - 1 else int(width * rng.uniform(0.2, 1))
                    self.write(left, y, _words(rng, 12), layout.ink, 1.0, room)
                    y += layout.leading
                y += layout.leading

    def shelf(self, top: int) -> None:
        """Goods in rows: a picture, a name and a price each."""
        layout, rng = self.layout, self.rng
        width = (layout.width - 2 * layout.margin) // (layout.columns + 2)
        height = (layout.height - top) // layout.rows
        for place in range((layout.columns + 2) * layout.rows):
            row, column = divmod(place, layout.columns + 2)
            x, y = layout.margin + column * width, top + row * height
            shown = int(height * 0.65)
            self.picture(x, y, width - 4, shown)
            self.write(x, y + shown + 1, _words(rng, 3), layout.ink, 1.0, width - 4)
            price = f"{rng.integers(1, 300)}.99"
            self.write(x, y + shown + layout.size + 2, price, layout.accent, 1.0, width - 4)

    def form(self, top: int) -> None:
        """Labels that all pages share, and answers."""
        layout, rng = self.layout, self.rng
        half = layout.width * 2 // 5
        lines = range(top, layout.height - 2 * layout.leading, 2 * layout.leading)
        for place, y in enumerate(lines):
            self.write(layout.margin, y, layout.words[place % 10], layout.ink, 1.0, half)
            box = (half, y - 1, layout.width - layout.margin, y + layout.size + 3)
            self.pen.rectangle(box, outline=layout.accent)
            if rng.random() < 0.8:
                self.write(half + 3, y, _words(rng, 3), layout.ink, 1.0, half)

    def listing(self, top: int) -> None:
        """Short words, indented, some of them coloured."""
        layout, rng = self.layout, self.rng
        indent = 0
        for y in range(top, layout.height - layout.size, layout.leading):
            indent = int(np.clip(indent + rng.integers(-1, 2), 0, 6))
            colour = layout.ink if rng.random() < 0.6 else layout.accent
            words = _words(rng, int(rng.integers(0, 6)))
            self.write(layout.margin + indent * layout.size, y, words, colour)

    def write(
        self, x: int, y: int, text: str, colour: Colour, scale: float = 1.0, room: int = 10_000
    ) -> None:
        """Write text from x, y on, cut off at the given width."""
        font = _font(self.layout.font, int(self.layout.size * scale))
        letters = int(room / max(1.0, font.getlength("etaoinshrd") / 10))
        self.pen.text((x, y), text[:letters], colour, font)

    def picture(self, x: int, y: int, width: int, height: int) -> None:
        """One of the pictures, its middle, where there is room for it."""
        if width < 8 or height < 8:
            return
        pixels = self.pictures[int(self.rng.integers(len(self.pictures)))]
        scale = max(width / pixels.shape[1], height / pixels.shape[0])
        wide = max(width, round(pixels.shape[1] * scale))
        high = max(height, round(pixels.shape[0] * scale))
        left, top = (wide - width) // 2, (high - height) // 2
        middle = resized(pixels, wide, high)[top : top + height, left : left + width]
        self.page.paste(Image.fromarray(np.ascontiguousarray(middle)), (x, y))


def _words(rng: np.random.Generator, count: int) -> str:
    lengths = np.clip(rng.gamma(4, 1.3, count), 1, 13).astype(int)
    letters = rng.choice(_LETTERS, int(lengths.sum()))
    words = np.split(letters, np.cumsum(lengths)[:-1]) if count else []
    return " ".join("".join(word) for word in words).capitalize()


def _colour(rng: np.random.Generator, low: int, high: int) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _paper(rng: np.random.Generator) -> Colour:
    return (255, 255, 255) if rng.random() < 0.55 else _colour(rng, 215, 256)


@lru_cache(1)
def _fonts() -> list[str]:
    """Text faces only: matplotlib brings mathematical ones, too."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [str(path) for path in sorted(folder.glob("DejaVuS*.ttf")) if "Display" not in path.name]


@lru_cache(256)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, max(5, size))
