"""An image in whatever form a caller has it → the bytes of an image file, for `images.decode`."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from copydetect.errors import ImageError
from copydetect.storage.files import LocalStorage
from copydetect.types import Pixels

ImageLike = str | os.PathLike[str] | bytes | Image.Image | Pixels
"""A path, the bytes of an image file, a Pillow image, or a uint8 array (h, w, 3) RGB or (h, w)."""

_MODES_OF_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_MODES_OF_TIFF = ("CMYK", "F", "I", "LAB")


def file_bytes(image: ImageLike) -> bytes:
    """The bytes of an image file with the same pixels; ImageError for what is no image.

    A Pillow image keeps its transparency, orientation and depth. InputError where a path cannot be
    read.
    """
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        return LocalStorage().read(os.fspath(image))
    if isinstance(image, Image.Image):
        return _encoded(image)
    if isinstance(image, np.ndarray):
        return _encoded(_of_array(image))
    raise ImageError(
        f"an image is a path, bytes, a Pillow image or an array; not {type(image).__name__}"
    )


def named(image: ImageLike, number: int) -> str:
    """What to call an image in a message: its path, or its place among the others."""
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else f"image {number}"


def _of_array(pixels: npt.NDArray[Any]) -> Image.Image:
    right_shape = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not right_shape or pixels.size == 0:
        raise ImageError(
            f"an array of shape {pixels.shape} and type {pixels.dtype} is not an image: it must be "
            "(h, w, 3) or (h, w), uint8"
        )
    return Image.fromarray(pixels)


def _encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    try:
        if image.mode in _MODES_OF_TIFF:
            image.save(stream, "TIFF", exif=image.getexif())
        else:
            kept = image if image.mode in _MODES_OF_PNG else image.convert("RGB")
            kept.save(stream, "PNG", compress_level=1, exif=image.getexif())
    except (OSError, ValueError) as error:
        raise ImageError(f"the image cannot be used: {error}") from error
    return stream.getvalue()
