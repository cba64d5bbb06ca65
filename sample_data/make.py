"""Makes sample_data again from a folder of originals, byte for byte with the same libraries.

python sample_data/make.py ORIGINALS [OUTPUT]
"""

from __future__ import annotations

import csv
import io
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from copydetect.edits import Edit, Edited, apply
from copydetect.edits.colour import Brightness, Contrast, Grey, Hue, Jitter, Opacity, Tint
from copydetect.edits.drawn import Censor, Emoji, Meme, Stripes, Text
from copydetect.edits.geometry import (
    Aspect,
    Crop,
    FlipHorizontal,
    Pad,
    Perspective,
    QuarterTurn,
    Rotate,
    Scale,
    Skew,
)
from copydetect.edits.pasted import Collage, Onto, Overlay
from copydetect.edits.quality import Blur, Noise, Pixelate, Reencode
from copydetect.edits.screenshots import Screenshot
from copydetect.types import Pixels

LONG_SIDE_PX = 480
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

PICTURES = ("astronaut", "camera", "chelsea", "clock_motion", "coffee", "moon", "rocket")
# Clothing 13, 26 and 31 are pasted with; 18 and 21 show cartoon figures of others.
CLOTHING = [number for number in range(36) if number not in (13, 18, 21, 26, 31)]
CLIPART = [number for number in range(14) if number not in (1, 6, 12)]

# Never in the collection themselves, or what shows them would be a copy of them as well.
BACKGROUNDS = ("brick", "grass", "clothing_13", "clothing_26", "clothing_31")

DISJOINT = (
    ("pictures/galaxies_left", "hubble_deep_field", Crop(0.0, 0.1, 0.47, 0.8)),
    ("pictures/galaxies_right", "hubble_deep_field", Crop(0.53, 0.1, 0.47, 0.8)),
    ("pictures/gravel_top", "gravel", Crop(0.0, 0.0, 1.0, 0.48)),
    ("pictures/gravel_bottom", "gravel", Crop(0.0, 0.52, 1.0, 0.48)),
)
"""Parts of one picture that share no pixel: alike, but no copies of each other."""

REPEATS = (
    ("downloads/shirt (1).jpg", "wardrobe/clothing_02.jpg"),
    ("downloads/coffee (1).jpg", "pictures/coffee.jpg"),
    ("downloads/books.jpg", "clipart/openclipart_08.jpg"),
)
"""The same bytes under another name."""

_TILT = Perspective(((0.02, 0.12), (0.1, 0.03), (0.0, 0.06), (0.08, 0.0)), "white")

COPIES: tuple[tuple[str, str, tuple[Edit, ...]], ...] = (
    (
        "portrait_cropped.jpg",
        "pictures/astronaut.jpg",
        (Crop(0.2, 0.02, 0.55, 0.62), Reencode(55)),
    ),
    (
        "Screenshot_2024-03-01.jpg",
        "pictures/astronaut.jpg",
        (Screenshot("feed", 0.56, 2.2, False, False, 3),),
    ),
    (
        "astronaut_old_photo.jpg",
        "pictures/astronaut.jpg",
        (Tint(1.0, 0.25, (230, 180, 110)), Noise(12.0, 0.0, 5), Scale(0.6)),
    ),
    (
        "cat_meme.jpg",
        "pictures/chelsea.jpg",
        (Meme("when the shop opens at nine", "above", 0.075, False),),
    ),
    ("cat_mirrored.jpg", "pictures/chelsea.jpg", (FlipHorizontal(), Contrast(1.25))),
    ("cat_collage.jpg", "pictures/chelsea.jpg", (Collage(2, 2, 1, 0.02, WHITE, 2),)),
    (
        "cat_sticker.jpg",
        "pictures/chelsea.jpg",
        (
            Crop(0.1, 0.0, 0.75, 0.95),
            Emoji((("heart", 0.15, 0.2, 0.3, -12.0), ("laugh", 0.82, 0.75, 0.34, 8.0)), 1.0),
        ),
    ),
    (
        "coffee_straightened.jpg",
        "pictures/coffee.jpg",
        (Rotate(9.0, "inside"), Brightness(1.2)),
    ),
    ("coffee_on_wall.jpg", "pictures/coffee.jpg", (Onto(0, 0.45, 0.35, 0.6, 1.0),)),
    (
        "launch_day.jpg",
        "pictures/rocket.jpg",
        (Text("launch day", 0.5, 0.2, 0.14, 0.0, 1.0, WHITE, None), Jitter(1.3, 1.2, 1.3, 0.02)),
    ),
    ("photographer.jpg", "pictures/camera.jpg", (_TILT, Blur(0.004))),
    ("moon_dark.jpg", "pictures/moon.jpg", (Contrast(1.6), Brightness(0.8), QuarterTurn(1))),
    (
        "trousers_for_sale.jpg",
        "wardrobe/clothing_05.jpg",
        (Pad(0.12, 0.12, 0.12, 0.12, (226, 38, 61)), Scale(0.7)),
    ),
    ("top_other_colour.jpg", "wardrobe/clothing_09.jpg", (Hue(0.35), Reencode(40))),
    ("skirt_bw.jpg", "wardrobe/clothing_11.jpg", (Grey(), Blur(0.008))),
    (
        "shorts_detail.jpg",
        "wardrobe/clothing_12.jpg",
        (Crop(0.3, 0.25, 0.55, 0.6), FlipHorizontal()),
    ),
    ("shoes_low_quality.jpg", "wardrobe/clothing_15.jpg", (Pixelate(70), Reencode(30))),
    ("red_shirt_turned.jpg", "wardrobe/clothing_16.jpg", (QuarterTurn(3), Crop(0, 0.1, 1, 0.85))),
    ("blue_shirt_covered.jpg", "wardrobe/clothing_06.jpg", (Overlay(3, 0.75, 0.72, 0.38, 1.0),)),
    ("dress_close.jpg", "wardrobe/clothing_25.jpg", (Crop(0.25, 0.1, 0.6, 0.5), Scale(1.3))),
    (
        "shirt_in_chat.jpg",
        "wardrobe/clothing_27.jpg",
        (Screenshot("chat", 0.5, 2.4, True, False, 11),),
    ),
    (
        "print_shirt.webp",
        "wardrobe/clothing_28.jpg",
        (Aspect(1.35), Stripes(6.0, 0.2, 45.0, 0.1, 0.35, WHITE)),
    ),
    ("tank_top.png", "wardrobe/clothing_30.jpg", (Scale(0.45),)),
    (
        "fan_shirt_censored.jpg",
        "wardrobe/clothing_33.jpg",
        (Censor(0.3, 0.3, 0.4, 0.12, "pixelate"), Rotate(-14.0, "grow", "white")),
    ),
    (
        "schoolhouse.jpg",
        "clipart/openclipart_03.jpg",
        (Skew(0.2, 0.0, "white"), Text("Open day", 0.5, 0.85, 0.16, 0.0, 1.0, BLACK, WHITE)),
    ),
    (
        "web_page.jpg",
        "clipart/openclipart_05.jpg",
        (Screenshot("page", 1.6, 2.4, False, False, 7),),
    ),
    ("harp_faded.jpg", "clipart/openclipart_11.jpg", (Opacity(0.45, WHITE), Scale(0.6))),
    ("robot_on_grass.jpg", "clipart/openclipart_13.jpg", (Onto(1, 0.6, 0.7, 0.75, 1.0),)),
)
"""Copies in downloads/: file name, what it is a copy of, and the edits."""


def make(originals: Path, output: Path) -> None:
    """Write photos/, ground_truth.csv, edits.csv and sources.csv; photos/ is made anew."""
    photos = output / "photos"
    shutil.rmtree(photos, ignore_errors=True)
    sources = _write_originals(originals, photos)
    others = [_load(originals, name) for name in BACKGROUNDS]
    truth, edits = [("query_id", "reference_id")], [("query_id", "edits", "transform")]
    for name, reference, chain in COPIES:
        edited = apply(chain, np.array(Image.open(photos / reference).convert("RGB")), others)
        copy = f"downloads/{name}"
        transform = _write_copy(photos / copy, edited)
        truth.append((copy, reference))
        edits.append((copy, "+".join(edited.kinds), " ".join(f"{v:.9g}" for v in transform.flat)))
    for copy, reference in REPEATS:
        shutil.copyfile(photos / reference, photos / copy)
        truth.append((copy, reference))
        edits.append((copy, "", "1 0 0 0 1 0 0 0 1"))
    _write_csv(output / "ground_truth.csv", truth)
    _write_csv(output / "edits.csv", edits)
    _write_csv(output / "sources.csv", [("image_id", "made_from"), *sources, *truth[1:]])


def _write_originals(originals: Path, photos: Path) -> list[tuple[str, str]]:
    """Write the pictures that are no copies; (image_id, name of the original) of each."""
    plain = [(f"pictures/{name}", name) for name in PICTURES]
    plain += [(f"wardrobe/clothing_{n:02d}", f"clothing_{n:02d}") for n in CLOTHING]
    plain += [(f"clipart/openclipart_{n:02d}", f"openclipart_{n:02d}") for n in CLIPART]
    for target, name in plain:
        _save(photos / f"{target}.jpg", _load(originals, name))
    for target, name, crop in DISJOINT:
        _save(photos / f"{target}.jpg", crop(_load(originals, name, side_px=1000)).pixels)
    cropped = [(target, name) for target, name, _ in DISJOINT]
    return sorted((f"{target}.jpg", name) for target, name in plain + cropped)


def _load(originals: Path, name: str, side_px: int = LONG_SIDE_PX) -> Pixels:
    """An original on white, its long side at most `side_px`."""
    (path,) = originals.glob(f"{name}.*")
    image = Image.open(path).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", image.size, (*WHITE, 255)), image).convert("RGB")
    flat.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    return np.array(flat)


def _write_copy(path: Path, edited: Edited) -> np.ndarray:
    """Save a copy, scaled down if it is large; the transform of what was saved."""
    height, width = edited.pixels.shape[:2]
    factor = min(640 / max(width, height), 1)
    scaled = edited.then(Scale(factor)) if factor < 1 else edited
    _save(path, scaled.pixels)
    return scaled.transform


def _save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=85)


def _write_csv(path: Path, rows: list[tuple[str, ...]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    make(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent)
