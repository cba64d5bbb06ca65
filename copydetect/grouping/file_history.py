"""The bytes of one image file → its history: camera, editor, earlier sizes and compressions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

from copydetect.errors import ImageError
from copydetect.grouping.pixel_history import earlier_steps, middle_of, pixel_history
from copydetect.images.compression import own_steps
from copydetect.images.decoding import DecodeOptions, decode_stored, read_header
from copydetect.images.stills import still_of

_EDITORS = re.compile(
    r"photoshop|lightroom|gimp|snapseed|picsart|picasa|paint|canva|affinity|pixelmator|acdsee|"
    r"irfanview|xnview|capture one|darktable|rawtherapee|luminar|photoscape|photopea|polarr|vsco|"
    r"facetune|meitu|instagram|facebook|whatsapp|imagemagick|fotor|pixlr|adobe|corel|aviary|"
    r"photodirector|google photos|microsoft|windows photo|prisma|remini|beautyplus|figma|inkscape|"
    r"krita|screenshot",
    re.IGNORECASE,
)
_LATER = timedelta(seconds=90)
"""Cameras write the file a little after the picture was taken."""
_OTHER_SHAPE = 0.06
"""In logarithms of width by height: bars and rounding change it by less."""
_SAME_ASPECT = 0.05
_BLACK = 24
_THUMBNAIL_PX = 24
_SAME_PICTURE = 0.9
"""Correlation of a thumbnail with its picture: .97 and more where nothing was done to it."""


@dataclass(frozen=True)
class FileHistory:
    """A row of the `histories` table: what a file tells of its past, "" and NaN where nothing.

    camera: maker and model; taken, located: whether it says when and where it was taken; editor:
    the program that saved it, where that is one that changes pictures; changed: whether it was
    saved after it was taken; resized: whether it says that it had another size; retouched: whether
    its embedded thumbnail shows another picture or part; megapixels: in the file; detail_factor: by
    how much it can be reduced without loss; coarseness, earlier: octaves of the steps of its
    coarsest JPEG, and by how much an earlier one was coarser than the file; shifted: whether it was
    cut out of a JPEG or mirrored; padding_bytes: zeros at its end.
    """

    image_id: str
    camera: str
    taken: bool
    located: bool
    editor: str
    changed: bool
    resized: bool
    retouched: bool
    megapixels: float
    detail_factor: float
    coarseness: float
    earlier: float
    shifted: bool
    padding_bytes: int


def read_history(image_id: str, data: bytes, options: DecodeOptions | None = None) -> FileHistory:
    """ImageError where the file cannot be decoded."""
    header = read_header(data)
    tags = _Tags.of(header)
    stored = decode_stored(data, options)
    middle = stored.crop(middle_of(*stored.size))
    pixels = pixel_history(_luma(middle, middle.size))
    table = header.quantization.get(0) if isinstance(header, JpegImageFile) else None
    own = own_steps(table or ())
    return FileHistory(
        image_id=image_id,
        camera=tags.camera,
        taken=tags.taken is not None,
        located=tags.located,
        editor=tags.editor,
        changed=tags.changed,
        resized=tags.resized_from(header.size),
        retouched=tags.retouched(stored),
        megapixels=stored.width * stored.height / 1e6,
        detail_factor=pixels.detail_factor,
        coarseness=pixels.coarseness,
        earlier=earlier_steps(pixels, own),
        shifted=pixels.shifted,
        padding_bytes=len(data) - len(data.rstrip(b"\0")),
    )


@dataclass(frozen=True)
class _Tags:
    """What the EXIF data say."""

    camera: str = ""
    editor: str = ""
    taken: datetime | None = None
    changed: bool = False
    located: bool = False
    stated_px: tuple[int, int] | None = None
    thumbnail: bytes = b""

    @classmethod
    def of(cls, header: Image.Image) -> _Tags:
        """Empty where they are damaged, which is no reason to refuse the picture."""
        try:
            return cls._read(header)
        except Exception:  # as many kinds as Pillow has parsers
            return cls()

    @classmethod
    def _read(cls, header: Image.Image) -> _Tags:
        exif = header.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        texts = (_text(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
        software = _text(exif.get(ExifTags.Base.Software)) or _text(header.info.get("Software"))
        taken = _time(details.get(ExifTags.Base.DateTimeOriginal))
        saved = _time(exif.get(ExifTags.Base.DateTime))
        sides = [details.get(tag) for tag in (_STATED_WIDTH, _STATED_HEIGHT)]
        stated = (int(sides[0]), int(sides[1])) if sides[0] and sides[1] else None
        return cls(
            camera=" ".join(dict.fromkeys(text for text in texts if text)),
            editor=software if _EDITORS.search(software) else "",
            taken=taken,
            changed=bool(taken and saved and saved > taken + _LATER),
            located=ExifTags.GPS.GPSLatitude in exif.get_ifd(ExifTags.IFD.GPSInfo),
            stated_px=stated,
            thumbnail=_thumbnail(header, exif),
        )

    def resized_from(self, size: tuple[int, int]) -> bool:
        """Whether another size is stated, in either orientation."""
        return self.stated_px is not None and sorted(self.stated_px) != sorted(size)

    def retouched(self, stored: Image.Image) -> bool:
        """Whether the thumbnail shows something else, or another part."""
        if not self.thumbnail:
            return False
        shape = stored.height, stored.width
        try:
            thumbnail = decode_stored(self.thumbnail)
            small = _unframed(_luma(thumbnail, thumbnail.size), shape)
        except ImageError:
            return False
        factor = max(1.0, max(shape) / max(small.shape))
        whole = _luma(stored, (round(stored.width / factor), round(stored.height / factor)))
        pair = [_reduced(one) for one in (small, whole)]
        if min(float(one.std()) for one in pair) < 1:
            return False
        aspects = [height / width for height, width in (small.shape, shape)]
        other_shape = abs(np.log(aspects[0] / aspects[1])) > _OTHER_SHAPE
        alike = float(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1])
        return bool(other_shape or alike < _SAME_PICTURE)


_STATED_WIDTH, _STATED_HEIGHT = ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight


def _thumbnail(header: Image.Image, exif: Image.Exif) -> bytes:
    """The embedded JPEG of the EXIF data, empty where there is none."""
    place = exif.get_ifd(ExifTags.IFD.IFD1)
    start, count = (place.get(tag) for tag in (_THUMBNAIL_START, _THUMBNAIL_BYTES))
    block = header.info.get("exif", b"")
    if not start or not count or not isinstance(block, bytes):
        return b""
    start += 6 if block.startswith(b"Exif") else 0
    return block[start : start + count]


_THUMBNAIL_START = ExifTags.Base.JpegIFOffset
_THUMBNAIL_BYTES = ExifTags.Base.JpegIFByteCount


def _unframed(small: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """A thumbnail without the black bars that cameras put around a picture of another shape."""
    if abs(small.shape[1] / small.shape[0] - shape[1] / shape[0]) < _SAME_ASPECT:
        return small
    bright = np.argwhere(small > _BLACK)
    if not len(bright):
        return small
    (top, left), (bottom, right) = bright.min(axis=0), bright.max(axis=0)
    return small[top : bottom + 1, left : right + 1]


def _reduced(luma: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    side = (_THUMBNAIL_PX, _THUMBNAIL_PX)
    return cv2.resize(luma, side, interpolation=cv2.INTER_AREA).astype(np.float32)


def _luma(image: Image.Image, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Brightness of a loaded image, brought to a width and height."""
    pixels = still_of(image, size, orientation=1).pixels
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def _text(value: object) -> str:
    return str(value).strip().strip("\0").strip() if value else ""


def _time(value: object) -> datetime | None:
    try:
        return datetime.strptime(str(value).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
