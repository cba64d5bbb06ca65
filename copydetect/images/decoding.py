"""bytes → RGB: decode one image file, upright and flattened, at the size that is wanted.

Only the formats below are opened, each by its own Pillow plugin, chosen by the first bytes: what a
file is called does not matter, and no plugin that runs other programs is ever reached. Pillow's
global settings are neither used nor changed, so threads may decode side by side.

What is decided here:
- A truncated or damaged file is an ImageError: half a picture would match what it is not.
- Of a camera's RAW file the embedded preview counts.
- Of animations a few moments are decoded where they are asked for; of other files with several
  pictures the first one.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from PIL import ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from copydetect.errors import ImageError, OptionError
from copydetect.images.animations import Moments, decode_moments, frame_count
from copydetect.images.raw import is_raw, preview_of
from copydetect.images.stills import Still, still_of
from copydetect.images.transparency import Opacity
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
_MAX_JPEG_SCANS = 100
_MOST_PIECES = 8.0
_STANDS_STILL: Moments[Any] = Moments(1, None, ())
_COSTS = {"WEBP": 2.0, "AVIF": 1.25, "HEIF": 1.25}
_FLOAT_COST = 3.0
"""Measured memory of a pixel while it is decoded, in units of 8 bytes: WebP's decoder keeps four
canvases, numbers of 32 bits are stretched in floats."""


@dataclass(frozen=True)
class DecodeOptions:
    """Limits of decoding.

    max_megapixels: the largest image that is decoded, by what its header says, before memory is
    taken for it, at most 8 bytes per pixel; an image of a format that takes more counts as several.
    A JPEG that is decoded at 1/2, 1/4 or 1/8 counts with its size over 2, 4 or 8, because its full
    picture is never in memory. Frames of an animation are decoded one after the other until they
    have this many pixels together.
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

    pixels, opacity: as in `Still`, of the first frame; width_px, height_px: the upright size of the
    picture in the file, of which `pixels` may be a smaller rendering; format: "JPEG", "PNG", …;
    captured: when the camera says that it took the picture, ISO 8601 without zone, "" if unknown;
    moments: the extent of an animation and those of its moments that were asked for, of the size of
    `pixels`; luma_table: the steps, row by row, by which the luminance of a JPEG that is stored
    upright was rounded, ones where the format loses nothing, () where they are unknown.
    """

    pixels: Pixels
    width_px: int
    height_px: int
    format: str
    captured: str
    opacity: Opacity | None = None
    moments: Moments[Still] = _STANDS_STILL
    luma_table: tuple[int, ...] = ()


def pieces_of(width_px: float, height_px: float) -> float:
    """How many pictures of ordinary shape a strip, panorama or whole page holds in a row.

    1 for what is no longer than 3 : 1, and at most 8.
    """
    longer, shorter = max(width_px, height_px), max(min(width_px, height_px), 1)
    return min(max((longer / shorter - 1.5) / 1.5, 1.0), _MOST_PIECES)


def long_side_px(width_px: float, height_px: float, side_px: int) -> int:
    """The longer side that a very long picture is scaled to, where others are scaled to `side_px`:
    `side_px` for each of its pieces."""
    return round(side_px * pieces_of(width_px, height_px))


def decode(
    data: bytes,
    max_side_px: int | None = None,
    options: DecodeOptions | None = None,
    *,
    in_pieces: bool = False,
    moments: int = 1,
) -> DecodedImage:
    """Decode the first frame of an image file, and further moments where it is animated.

    max_side_px: what the longer side of the pixels is brought down to; None keeps every pixel, and
    smaller images are never enlarged; in_pieces: very long pictures keep more pixels, see
    `long_side_px`; moments: of an animation, the first included, spread evenly over its frames.
    Raises ImageError, naming the reason, for whatever the bytes may hold.
    """
    if max_side_px is not None and max_side_px < 1:
        raise OptionError(f"max_side_px is {max_side_px}; it must be at least 1")
    opened = _Opened.of(data)
    image, image_format = opened.image, opened.image_format
    header_size = image.size
    if max_side_px is not None and in_pieces:
        max_side_px = long_side_px(*header_size, max_side_px)
    options = options or DecodeOptions()
    _draft_within_limit(image, opened.data, max_side_px, options)
    frames = frame_count(image, image_format)
    with _pillow_errors(image_format):
        image.load()
    # Pillow turns TIFF upright while loading; a drafted JPEG has lost its size instead.
    size = header_size if image_format == "JPEG" else image.size
    exif = _exif(image)
    orientation = _orientation(exif) if ExifTags.Base.Orientation in exif else opened.turned
    still = partial(still_of, wanted=_long_side_size(*size, max_side_px), orientation=orientation)
    with _pillow_errors(image_format):
        first = still(image)
    shown = _STANDS_STILL
    if frames > 1:
        most = int(options.max_megapixels * 1e6 / (size[0] * size[1])) if moments > 1 else 1
        shown = decode_moments(image, frames, most, moments, still)
    width_px, height_px = size if orientation < 5 else size[::-1]
    image_format, captured = sniff_format(data), _captured(exif)
    table = _luma_table(image) if orientation == 1 else ()
    return DecodedImage(
        first.pixels, width_px, height_px, image_format, captured, first.opacity, shown, table
    )


def decode_stored(data: bytes, options: DecodeOptions | None = None) -> Image.Image:
    """The first frame with all of its pixels as they are stored: not turned upright, in the mode of
    the file. ImageError as of `decode`."""
    opened = _Opened.of(data)
    _draft_within_limit(opened.image, opened.data, None, options or DecodeOptions())
    with _pillow_errors(opened.image_format):
        opened.image.load()
    return opened.image


@dataclass(frozen=True)
class _Opened:
    """An image file with its header read; of a RAW file, its preview, and how that is turned."""

    image: ImageFile
    image_format: str
    data: bytes
    turned: int

    @classmethod
    def of(cls, data: bytes) -> _Opened:
        image_format, turned = sniff_format(data), 1
        if image_format == "RAW":
            data, turned = preview_of(data)
            image_format = sniff_format(data)
        with _pillow_errors(image_format):
            return cls(_plugin(image_format)(io.BytesIO(data)), image_format, data, turned)


def read_header(data: bytes) -> ImageFile:
    """An image file with its header read and no pixels decoded; ImageError where it has none."""
    image_format = sniff_format(data)
    with _pillow_errors(image_format):
        return _plugin(image_format)(io.BytesIO(data))


def sniff_format(data: bytes) -> str:
    """The image format that the first bytes announce; ImageError where it is none of ours."""
    if not data:
        raise ImageError("the file is empty")
    if is_raw(data):
        return "RAW"
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
        f"not an image of a supported format (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC, RAW): "
        f"it starts with {data[:8]!r}"
    )


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
            raise ImageError(f"the JPEG has {scans} scans, over the limit of {_MAX_JPEG_SCANS}")
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


def _luma_table(image: ImageFile) -> tuple[int, ...]:
    """`DecodedImage.luma_table` of a file that is stored upright."""
    if isinstance(image, PngImageFile | BmpImageFile):
        return (1,) * 64
    if not isinstance(image, JpegImageFile) or image.mode not in ("L", "RGB"):
        return ()
    if image.mode == "RGB" and image.info.get("adobe_transform") == 0:
        return ()  # red, green and blue were rounded
    return tuple(image.quantization.get(image.layer[0][3], ()))


def _exif(image: ImageFile) -> Image.Exif:
    """The EXIF data; empty where it is damaged, which is no reason to refuse the picture."""
    try:
        return image.getexif()
    except Exception:  # as many kinds as Pillow has parsers
        return Image.Exif()


def _orientation(exif: Image.Exif) -> int:
    """1 to 8; upright where the tag says none of these."""
    found = exif.get(ExifTags.Base.Orientation, 1)
    return int(found) if found in range(1, 9) else 1


def _captured(exif: Image.Exif) -> str:
    if not exif:
        return ""
    try:
        details = exif.get_ifd(ExifTags.IFD.Exif)
        text = details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        return datetime.strptime(str(text), "%Y:%m:%d %H:%M:%S").isoformat()
    except Exception:  # a damaged directory or a date that is none
        return ""
