"""Small drawings with transparency: words, faces, hearts and stars. All drawn here."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from copydetect.edits.edit import Colour, Mask
from copydetect.types import Pixels

Sprite = npt.NDArray[np.uint8]
"""A drawing: (h, w, 4) uint8, RGB and opacity."""

EMOJIS = ("smile", "laugh", "sad", "wow", "heart", "star", "sun", "flower", "flame", "tick")

_WORDS = (
    "new sale today only follow me for more photo of the day good morning when you see it best "
    "summer holiday friends forever breaking news look at this again free shipping love happy "
    "home made fresh week end special offer size price call now video share if agree nobody "
    "never always think big dream small city street kitchen garden dog cat food music winter "
    "first last great little old blue red green open house visit our shop link in bio original"
)

_CANVAS_PX = 256
_BASE_FONT_PX = 8


def sample_words(rng: np.random.Generator, low: int, high: int) -> str:
    """Between `low` and `high` common words."""
    words = " ".join(str(word) for word in rng.choice(_WORDS.split(), rng.integers(low, high + 1)))
    style = rng.integers(4)
    if style == 0:
        return words.upper()
    return words.capitalize() if style == 1 else words


def written(text: str, size_px: int, colour: Colour, outline: Colour | None = None) -> Sprite:
    """Text of a font size, perhaps with an outline; lines are split at line breaks."""
    size_px = min(max(size_px, _BASE_FONT_PX), 2000)
    font = _font(size_px)
    stroke = 0 if outline is None else max(size_px // 16, 1)
    measure = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = measure.multiline_textbbox(
        (0, 0), text, font=font, stroke_width=stroke, align="center"
    )
    size = max(int(right - left) + 1, 1), max(int(bottom - top) + 1, 1)
    image = Image.new("RGBA", size, (*(outline or colour), 0))
    ImageDraw.Draw(image).multiline_text(
        (-left, -top),
        text,
        (*colour, 255),
        font=font,
        stroke_width=stroke,
        stroke_fill=(*(outline or colour), 255),
        align="center",
    )
    return np.array(image)


def lines_of(text: str, size_px: int, width_px: int) -> str:
    """The text with line breaks so that no line is wider than `width_px`, if words allow."""
    font = _font(min(max(size_px, _BASE_FONT_PX), 2000))
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width_px:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def emoji(name: str, size_px: int) -> Sprite:
    """One of EMOJIS, size_px wide and high."""
    size_px = max(size_px, 1)
    mode = cv2.INTER_AREA if size_px <= _CANVAS_PX else cv2.INTER_LINEAR
    scaled = cv2.resize(_drawn(name), (size_px, size_px), interpolation=mode)
    return scaled.astype(np.uint8, copy=False)


def turned(sprite: Sprite, degrees: float) -> Sprite:
    """Rotated counter-clockwise, on a canvas that holds it."""
    height, width = sprite.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = int(np.ceil(width * cos + height * sin)), int(np.ceil(width * sin + height * cos))
    matrix[:, 2] += ((size[0] - width) / 2, (size[1] - height) / 2)
    return cv2.warpAffine(sprite, matrix, size).astype(np.uint8, copy=False)


def pasted(
    pixels: Pixels, sprite: Sprite, left: int, top: int, opacity: float = 1.0
) -> tuple[Pixels, Mask]:
    """A copy of the image with the sprite over it, cut at the edges; and where it hides it.

    A pixel counts as hidden where the sprite is at least half opaque.
    """
    result, hidden = pixels.copy(), np.zeros(pixels.shape[:2], bool)
    stamp(result, sprite, left, top, opacity, hidden)
    return result, hidden


def stamp(
    canvas: Pixels,
    sprite: Sprite,
    left: int,
    top: int,
    opacity: float = 1.0,
    hidden: Mask | None = None,
) -> None:
    """Draw the sprite onto the canvas itself and mark in `hidden` what it hides."""
    height, width = canvas.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + sprite.shape[1], width), min(top + sprite.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    part = sprite[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha = part[..., 3:].astype(np.float32) * np.float32(opacity / 255)
    under = canvas[y0:y1, x0:x1].astype(np.float32)
    mixed = under + (part[..., :3].astype(np.float32) - under) * alpha
    canvas[y0:y1, x0:x1] = np.round(mixed).astype(np.uint8)
    if hidden is not None:
        hidden[y0:y1, x0:x1] |= alpha[..., 0] >= 0.5


@lru_cache(maxsize=64)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


@lru_cache(maxsize=len(EMOJIS))
def _drawn(name: str) -> Sprite:
    """A drawing on a 256 px canvas, made at four times that and averaged for smooth edges."""
    big = Image.new("RGBA", (1024, 1024))
    pen = ImageDraw.Draw(big)
    if name in ("smile", "laugh", "sad", "wow"):
        _draw_face(pen, name)
    elif name == "heart":
        pen.ellipse((70, 120, 530, 580), (226, 38, 61, 255))
        pen.ellipse((494, 120, 954, 580), (226, 38, 61, 255))
        pen.polygon([(118, 480), (906, 480), (512, 940)], (226, 38, 61, 255))
    elif name == "flame":
        pen.ellipse((210, 380, 814, 984), (240, 90, 30, 255))
        pen.polygon([(225, 610), (430, 40), (800, 620)], (240, 90, 30, 255))
        pen.ellipse((340, 590, 690, 940), (252, 200, 50, 255))
        pen.polygon([(350, 720), (520, 400), (680, 720)], (252, 200, 50, 255))
    elif name == "tick":
        pen.rounded_rectangle((60, 60, 964, 964), 160, (60, 176, 90, 255))
        pen.line([(250, 530), (440, 720), (790, 310)], (255, 255, 255, 255), 110, joint="curve")
    else:
        _draw_rays(pen, name)
    return np.array(big.resize((_CANVAS_PX, _CANVAS_PX), Image.Resampling.BOX))


def _draw_face(pen: ImageDraw.ImageDraw, mood: str) -> None:
    dark = (90, 55, 15, 255)
    pen.ellipse((32, 32, 992, 992), (255, 204, 50, 255), (226, 160, 20, 255), 24)
    for x in (340, 684):
        if mood == "laugh":
            pen.arc((x - 95, 300, x + 95, 490), 190, 350, dark, 48)
        else:
            pen.ellipse((x - 62, 300, x + 62, 470), dark)
    if mood == "smile":
        pen.arc((250, 330, 774, 810), 25, 155, dark, 50)
    elif mood == "laugh":
        pen.chord((230, 360, 794, 880), 0, 180, dark)
        pen.chord((300, 640, 724, 870), 20, 160, (230, 80, 90, 255))
    elif mood == "sad":
        pen.arc((300, 620, 724, 1000), 205, 335, dark, 50)
        pen.ellipse((270, 500, 370, 680), (90, 170, 240, 255))
    else:
        pen.ellipse((410, 580, 614, 850), dark)


def _draw_rays(pen: ImageDraw.ImageDraw, name: str) -> None:
    """A star, a sun or a flower: shapes around a centre."""
    around = np.arange(24) * np.pi / 12
    if name == "star":
        angles = np.arange(10) * np.pi / 5 - np.pi / 2
        radii = np.where(np.arange(10) % 2, 200, 500)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None] + 512
        pen.polygon([(float(x), float(y)) for x, y in points], (255, 196, 20, 255))
    elif name == "sun":
        radii = np.where(np.arange(24) % 2, 340, 505)
        points = np.stack([np.cos(around), np.sin(around)], axis=1) * radii[:, None] + 512
        pen.polygon([(float(x), float(y)) for x, y in points], (250, 160, 20, 255))
        pen.ellipse((222, 222, 802, 802), (255, 214, 60, 255))
    else:
        for angle in around[::4]:
            x, y = 512 + 300 * np.cos(angle), 512 + 300 * np.sin(angle)
            pen.ellipse((x - 190, y - 190, x + 190, y + 190), (236, 110, 170, 255))
        pen.ellipse((342, 342, 682, 682), (255, 214, 60, 255))
