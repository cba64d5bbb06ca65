"""Drawings on transparent ground and animations, made for tests."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw

from copydetect.types import Pixels

Colour = tuple[int, int, int]

WIDTH_PX, HEIGHT_PX = 240, 180


def drawing(seed: int) -> Image.Image:
    """RGBA: overlapping shapes of several colours, with nothing behind them."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGBA", (WIDTH_PX, HEIGHT_PX), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    for number in range(9):
        x, y = int(rng.integers(10, 150)), int(rng.integers(10, 100))
        across, down = (int(side) for side in rng.integers(25, 80, 2))
        colour = (*(int(value) for value in rng.integers(30, 230, 3)), 255)
        box = (x, y, x + across, y + down)
        if number % 3 == 0:
            draw.ellipse(box, fill=colour, outline=(250, 250, 250, 255), width=3)
        elif number % 3 == 1:
            draw.rectangle(box, fill=colour, outline=(10, 10, 10, 255), width=3)
        else:
            draw.polygon([(x, y), (x + across, y + down // 3), (x, y + down)], fill=colour)
    return image


def symbol(colour: Colour, turned: bool = False) -> Image.Image:
    """RGBA: an arrow of one colour, with nothing behind it."""
    image = Image.new("RGBA", (200, 200), (*colour, 0))
    draw = ImageDraw.Draw(image)
    draw.line([40, 160, 130, 70], fill=(*colour, 255), width=22)
    draw.polygon([(170, 30), (80, 50), (150, 120)], fill=(*colour, 255))
    draw.rectangle([30, 30, 60, 60], fill=(*colour, 255))
    return image.rotate(180) if turned else image


def flattened(image: Image.Image, ground: Colour) -> Image.Image:
    """RGB: the picture on a plain ground."""
    whole = Image.new("RGB", image.size, ground)
    whole.paste(image, mask=image.getchannel("A"))
    return whole


def pan(wide: Pixels, frames: int) -> list[Image.Image]:
    """A camera that moves over a picture from the left to the right."""
    steps = np.linspace(0, wide.shape[1] - WIDTH_PX, frames).astype(int)
    return [Image.fromarray(wide[:HEIGHT_PX, step : step + WIDTH_PX]) for step in steps]


def title_card() -> Image.Image:
    """What several clips begin with."""
    image = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), (20, 10, 70))
    draw = ImageDraw.Draw(image)
    draw.rectangle([20, 20, 220, 160], outline=(240, 220, 40), width=4)
    draw.text((60, 60), "a film by nobody", fill=(255, 255, 255), font_size=18)
    draw.ellipse([90, 100, 150, 140], fill=(200, 60, 60))
    return image


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def animated(frames: list[Image.Image], kind: str, duration_msec: int = 80) -> bytes:
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=duration_msec)
