"""bytes → RGB: decode one image file, upright and flattened, at the size that is wanted.

Only the formats below are opened, each by its own Pillow plugin, chosen by the first bytes: what a
file is called does not matter, and no plugin that runs other programs is ever reached. Pillow's
global settings are neither used nor changed, so threads may decode side by side.

What is decided here:
- Transparency is flattened onto white, as a page or a viewer would show it.
- A truncated or damaged file is an ImageError: half a picture would match what it is not.
- Of animations and multi-page files the first frame counts.
- Colour profiles are ignored; CMYK JPEGs are taken as Adobe writes them (inverted).
- 16-bit samples are scaled to 8 bits; 32-bit and float samples, which have no agreed white, are
  stretched from their minimum to their maximum.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from copydetect.errors import ImageError, OptionError
from copydetect.types import Pixels

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


class _TiffFile(TiffImageFile):
    """Without Pillow's own limit of 179 megapixels, whatever the caller allows: ours is checked."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)  # type: ignore[attr-defined]
        super().load_prepare()


_PLUGINS: dict[str, type[ImageFile]] = {
    "AVIF": AvifImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "TIFF": _TiffFile,
    "WEBP": WebPImageFile,
}
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAX_JPEG_SCANS = 100
_COSTS = {"WEBP": 2.0, "AVIF": 1.25, "HEIF": 1.25}
_FLOAT_COST = 3.0
"""Measured memory of a pixel while it is decoded, in units of 8 bytes: WebP's decoder keeps four
canvases, numbers of 32 bits are stretched in floats."""
_STANDARD_LUMINANCE_SUM = 3688  # of the table of JPEG's annex K, which is libjpeg's quality 50
_TIFF_BITS_PER_SAMPLE = 258


@dataclass(frozen=True)
class DecodeOptions:
    """Limits of decoding.

    max_megapixels: the largest image that is decoded, by what its header says, before memory is
    taken for it, 8 bytes a pixel at most; one of a format that takes more counts as several. A JPEG
    that is decoded at 1/2, 1/4 or 1/8 counts
    with its size over 2, 4 or 8, because its full picture is never in memory.
    """

    max_megapixels: float = 200.0

    def __post_init__(self) -> None:
        if not 0 < self.max_megapixels <= 4000:
            raise OptionError(f"max_megapixels is {self.max_megapixels}; it must be in (0, 4000]")

    def __str__(self) -> str:
        return f"max_megapixels={self.max_megapixels:g}"


@dataclass(frozen=True)
class DecodedImage:
    """One decoded image.

    pixels: (h, w, 3) uint8 RGB, upright, writable; width_px, height_px: the upright size of the
    picture in the file, of which `pixels` may be a smaller rendering; format: "JPEG", "PNG", …;
    jpeg_quality: 1…100, estimated from the quantisation table, None for other formats;
    captured: when the camera says that it took the picture, ISO 8601 without zone, "" if unknown.
    """

    pixels: Pixels
    width_px: int
    height_px: int
    format: str
    jpeg_quality: int | None
    captured: str


def decode(
    data: bytes, max_side_px: int | None = None, options: DecodeOptions | None = None
) -> DecodedImage:
    """Decode the first frame of an image file.

    max_side_px: what the longer side of the pixels is brought down to; None keeps every pixel,
    and smaller images are never enlarged.
    Raises ImageError, naming the reason, for whatever the bytes may hold.
    """
    if max_side_px is not None and max_side_px < 1:
        raise OptionError(f"max_side_px is {max_side_px}; it must be at least 1")
    image_format = sniff_format(data)
    with _pillow_errors(image_format):
        image = _plugin(image_format)(io.BytesIO(data))
    header_size = image.size
    _draft_within_limit(image, data, max_side_px, options or DecodeOptions())
    with _pillow_errors(image_format):
        image.load()
    # Pillow turns TIFF upright while loading; a drafted JPEG has lost its size instead.
    width_px, height_px = header_size if image_format == "JPEG" else image.size
    exif = _exif(image)
    orientation = exif.get(ExifTags.Base.Orientation, 1)
    with _pillow_errors(image_format):
        rgb = _to_rgb(image, _long_side_size(width_px, height_px, max_side_px))
    pixels = np.array(rgb)
    if max_side_px is not None:
        pixels = resize(pixels, *_long_side_size(width_px, height_px, max_side_px))
    if orientation in _TRANSPOSE:
        pixels = np.array(Image.fromarray(pixels).transpose(_TRANSPOSE[orientation]))
        if orientation >= 5:
            width_px, height_px = height_px, width_px
    quality = _jpeg_quality(image) if isinstance(image, JpegImageFile) else None
    return DecodedImage(pixels, width_px, height_px, image_format, quality, _captured(exif))


def read_header(data: bytes) -> ImageFile:
    """An image file with its header read and no pixels decoded; ImageError where it has none."""
    image_format = sniff_format(data)
    with _pillow_errors(image_format):
        return _plugin(image_format)(io.BytesIO(data))


def sniff_format(data: bytes) -> str:
    """The image format that the first bytes announce; ImageError where it is none of ours."""
    if not data:
        raise ImageError("the file is empty")
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        box = data[8 : min(64, int.from_bytes(data[:4], "big"))]
        brands = {box[i : i + 4] for i in range(0, len(box), 4)}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    raise ImageError(
        f"not an image of a supported format (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC): "
        f"it starts with {data[:8]!r}"
    )


def resize(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    """The image at another size: cubic where it grows, else antialiased.

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


def _long_side_size(width: int, height: int, side_px: int | None) -> tuple[int, int]:
    scale = 1.0 if side_px is None else min(1.0, side_px / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _plugin(image_format: str) -> type[ImageFile]:
    """The Pillow plugin of a format; pillow-heif, if installed, is only loaded where needed."""
    if image_format != "HEIF":
        return _PLUGINS[image_format]
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise ImageError("HEIC needs pillow-heif: pip install pillow-heif") from error
    plugin: type[ImageFile] = HeifImageFile
    return plugin


@contextlib.contextmanager
def _pillow_errors(image_format: str) -> Iterator[None]:
    """Turn what Pillow's plugins raise on bad files into ImageError.

    They raise nearly anything (SyntaxError, struct.error, IndexError, MemoryError, …), so only
    calls into Pillow belong inside: a mistake of our own must not look like a bad file.
    """
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        if not isinstance(error, OSError | SyntaxError | ValueError):
            reason = f"{type(error).__name__} {reason}".strip()
        raise ImageError(f"cannot decode this {image_format} file: {reason}") from error


def _draft_within_limit(
    image: ImageFile, data: bytes, max_side_px: int | None, options: DecodeOptions
) -> None:
    """Have a large JPEG decoded at 1/2, 1/4 or 1/8; ImageError where the image is over the limit.

    The scaled inverse DCT never goes below the size that is wanted.
    """
    width, height = image.size
    cost = _FLOAT_COST if image.mode in ("I", "F") else _COSTS.get(image.format or "", 1.0)
    counted = _decoded_pixels(image) * cost / 1e6
    if isinstance(image, JpegImageFile):
        one_pass = _is_one_pass(image, data)
        scans = 1 if one_pass else data.count(b"\xff\xda")
        if scans > _MAX_JPEG_SCANS:
            raise ImageError(f"{scans} scans; a JPEG of more than {_MAX_JPEG_SCANS} is an attack")
        if max_side_px is not None:
            longer = max(width, height)
            wanted = (width * max_side_px // longer, height * max_side_px // longer)
            image.draft(None, (max(1, wanted[0]), max(1, wanted[1])))
        if one_pass:
            counted = counted * image.size[0] / width
    if counted > options.max_megapixels:
        counting = f", each of which counts {cost:g} for its memory," if cost > 1 else ""
        raise ImageError(
            f"{width} × {height} pixels{counting} are over the limit of "
            f"{options.max_megapixels:g} megapixels"
        )


def _decoded_pixels(image: ImageFile) -> int:
    """How many are decoded: of a TIFF in tiles, which may be larger than the picture, a tile."""
    width, height = image.size
    if isinstance(image, TiffImageFile):
        width, height = (max(sides) for sides in zip(image.size, image._tile_size, strict=True))
    return width * height


def _is_one_pass(image: JpegImageFile, data: bytes) -> bool:
    """Whether libjpeg decodes row by row, rather than holding the coefficients of all scans.

    Pillow has read past the header of the first scan; it has to name all components.
    """
    if image.info.get("progressive") or image.fp is None:
        return False
    components = image.layers
    header = bytes([0xFF, 0xDA, 0, 6 + 2 * components, components])
    start = image.fp.tell() - 8 - 2 * components
    return data[start : start + len(header)] == header


def _exif(image: ImageFile) -> Image.Exif:
    """The EXIF data; empty where it is damaged, which is no reason to refuse the picture."""
    try:
        return image.getexif()
    except Exception:  # as many kinds as Pillow has parsers
        return Image.Exif()


def _captured(exif: Image.Exif) -> str:
    if not exif:
        return ""
    try:
        details = exif.get_ifd(ExifTags.IFD.Exif)
        text = details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        return datetime.strptime(str(text), "%Y:%m:%d %H:%M:%S").isoformat()
    except Exception:  # a damaged directory or a date that is none
        return ""


def _jpeg_quality(image: JpegImageFile) -> int | None:
    """The quality setting of libjpeg that makes such a luminance table: its scaling, inverted.

    Too high below about 25, where libjpeg clips the table at 255.
    """
    table = image.quantization.get(0)
    if not table:
        return None
    percent = max(1.0, 100.0 * sum(table) / _STANDARD_LUMINANCE_SUM)
    quality = (200.0 - percent) / 2.0 if percent <= 100.0 else 5000.0 / percent
    return int(min(100, max(1, round(quality))))


def _to_rgb(image: Image.Image, wanted: tuple[int, int]) -> Image.Image:
    """A loaded image of any mode as RGB on white, brought near the wanted size on the way.

    The integer reduction comes as early as the mode allows, to save memory and time.
    """
    image = _to_8_bit(image)
    if image.mode == "RGB" and not image.has_transparency_data:
        return _reduce(image, wanted)
    if not image.has_transparency_data:
        return _reduce(image if image.mode == "L" else image.convert("RGB"), wanted).convert("RGB")
    rgba = _reduce(image if image.mode == "RGBA" else image.convert("RGBA"), wanted)
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=rgba)
    return white


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
