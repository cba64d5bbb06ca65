"""A loaded image of any mode → 8-bit RGB on white and its opacity, upright, of the wanted size.

- Transparency is flattened onto white, as a page or a viewer would show it, and told beside it.
- Colour profiles are ignored; CMYK JPEGs are taken as Adobe writes them (inverted).
- 16-bit samples are scaled to 8 bits; 32-bit and float samples, which have no agreed white, are
  stretched from their minimum to their maximum.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

from copydetect.errors import ImageError
from copydetect.images.transparency import Opacity
from copydetect.types import Pixels

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TIFF_BITS_PER_SAMPLE = 258


@dataclass(frozen=True)
class Still:
    """A picture as it is seen at one moment.

    pixels: (h, w, 3) uint8 RGB, upright, writable, flattened onto white; opacity: (h, w) uint8 of
    the same picture, None where nothing shows through.
    """

    pixels: Pixels
    opacity: Opacity | None


def still_of(image: Image.Image, wanted: tuple[int, int], orientation: int) -> Still:
    """A loaded image of any mode on white, of the wanted width and height, then turned upright.

    orientation: as EXIF counts, 1 to 8.
    """
    rgb, alpha = _to_rgb(image, wanted)
    pixels = resize(np.array(rgb), *wanted)
    opacity = None if alpha is None else resize(np.array(alpha), *wanted)
    if orientation in _TRANSPOSE:
        turn = _TRANSPOSE[orientation]
        pixels = np.array(Image.fromarray(pixels).transpose(turn))
        opacity = None if opacity is None else np.array(Image.fromarray(opacity).transpose(turn))
    return Still(pixels, opacity)


def resize(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    """The image, or its opacity, at another size: cubic where it grows, else antialiased.

    Down to half, bilinear reads every pixel: as near to an antialiased cubic as area averaging is,
    in a third of its time. Below, areas are averaged.
    """
    height, width = pixels.shape[:2]
    if (width, height) == (width_px, height_px):
        return pixels
    ratio = max(width / width_px, height / height_px)
    method = cv2.INTER_AREA
    if ratio <= 2:
        method = cv2.INTER_CUBIC if width_px > width or height_px > height else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width_px, height_px), interpolation=method), np.uint8)


def _to_rgb(image: Image.Image, wanted: tuple[int, int]) -> tuple[Image.Image, Image.Image | None]:
    """A loaded image of any mode as RGB on white, brought near the wanted size on the way; and its
    opacity, if anything shows through.

    The integer reduction comes as early as the mode allows, to save memory and time.
    """
    image = _to_8_bit(image)
    if image.mode == "RGB" and not image.has_transparency_data:
        return _reduce(image, wanted), None
    if not image.has_transparency_data:
        grey = image if image.mode == "L" else image.convert("RGB")
        return _reduce(grey, wanted).convert("RGB"), None
    rgba = _reduce(image if image.mode == "RGBA" else image.convert("RGBA"), wanted)
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=rgba)
    alpha = rgba.getchannel("A")
    return white, alpha if np.asarray(alpha).min() < 255 else None


def _reduce(image: Image.Image, wanted: tuple[int, int]) -> Image.Image:
    factor = max(image.size) // max(wanted)
    return image.reduce(factor) if factor > 1 else image


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Modes that Pillow's own conversion to RGB clips or refuses, as L or RGB; others unchanged."""
    if image.mode.startswith("I;16"):
        return _scale_16_bit(image)
    if image.mode in ("I", "F"):
        return Image.fromarray(_stretch(np.asarray(image)))
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        if converted is None:
            raise ImageError("Lab colours cannot be converted")
        return converted
    return image


def _scale_16_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 (or, in TIFF, 12) bits as 8, rounded; a transparent value becomes white."""
    bits = 16
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (16,))[0]
    white = (1 << bits) - 1
    table = np.minimum((np.arange(1 << 16) * 255 + white // 2) // white, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        table[transparent] = 255
    return Image.fromarray(table[np.asarray(image)])


def _stretch(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Numbers of any range to 0…255, minimum to maximum; what is not finite becomes 0."""
    numbers = values.astype(np.float32)
    finite = np.isfinite(numbers)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = numbers[finite].min(), numbers[finite].max()
    scale = 255.0 / (high - low) if high > low else 1.0
    stretched = np.where(finite, (numbers - low) * scale, 0.0)
    return np.rint(stretched).clip(0, 255).astype(np.uint8)
