"""A camera's RAW file → the preview that the camera has put into it.

What a sensor saw is no picture before it is developed, and every program develops it in its own
way; the preview is what the photographer saw. RAW files are told by their first bytes: some have
their own signature, the others are TIFF files that say so by their tags.
"""

from __future__ import annotations

import io
import re
import struct

import numpy as np
from PIL import Image

from copydetect.errors import ImageError

RAW_EXTENSIONS = (
    frozenset((".3fr", ".ari", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq"))
    | frozenset((".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw"))
    | frozenset((".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"))
)

_SIGNATURES = (
    b"FUJIFILMCCD-RAW",
    b"IIRO",
    b"IIRS",
    b"MMOR",
    b"IIU\0",
    b"FOVb",
    b"ARRI",
    b"II\x1a\0\0\0HEAPCCDR",
    b"\0MRM",
)
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
_NAMED_RAW = re.compile(rf"\.({'|'.join(sorted(e[1:] for e in RAW_EXTENSIONS))})$", re.IGNORECASE)
_NEW_SUBFILE_TYPE, _PHOTOMETRIC, _SUB_IFDS, _DNG_VERSION = 254, 262, 330, 50706
_COLOUR_FILTER_ARRAY = 32803
_MOST_TAGS = 512
_ORIENTATION_OF_FLIP = {3: 3, 5: 8, 6: 6}
"""EXIF's orientation for what LibRaw calls a flip; other flips are none."""


def is_named_raw(name: str) -> bool:
    """Whether a file is called as RAW files are."""
    return bool(_NAMED_RAW.search(name))


def can_read_raw() -> bool:
    """Whether `rawpy` is installed."""
    try:
        import rawpy  # noqa: F401
    except ImportError:
        return False
    return True


def is_raw(data: bytes) -> bool:
    """Whether the first bytes are those of a RAW file."""
    if data.startswith(_SIGNATURES) or (data[4:8] == b"ftyp" and data[8:12] == b"crx "):
        return True
    order = _TIFF.get(data[:4])
    return order is not None and (data[8:10] == b"CR" or _says_raw(data, order))


def preview_of(data: bytes) -> tuple[bytes, int]:
    """The preview as a file of its own, and how it is turned, as EXIF counts (1: it is upright).

    ImageError where there is none, the file is damaged, or `rawpy` is not installed.
    """
    try:
        import rawpy
    except ImportError as error:
        raise ImageError("RAW needs rawpy: pip install rawpy") from error
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            preview = raw.extract_thumb()
            turned = _ORIENTATION_OF_FLIP.get(raw.sizes.flip, 1)
    except Exception as error:  # LibRaw's kinds, and what its Python makes of damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot read the preview of this RAW file: {reason}") from error
    if preview.format == rawpy.ThumbFormat.JPEG:
        return bytes(preview.data), turned
    bitmap = io.BytesIO()
    Image.fromarray(np.asarray(preview.data, np.uint8)).save(bitmap, "BMP")
    return bitmap.getvalue(), turned


def _says_raw(data: bytes, order: str) -> bool:
    """Whether the first directory of a TIFF file is that of a RAW: DNG says so, others hold the
    colours of a filter array, or a small picture first and the large one elsewhere."""
    tags = _first_directory(data, order)
    reduced = tags.get(_NEW_SUBFILE_TYPE, 0) & 1 == 1
    return (
        _DNG_VERSION in tags
        or tags.get(_PHOTOMETRIC) == _COLOUR_FILTER_ARRAY
        or (reduced and _SUB_IFDS in tags)
    )


def _first_directory(data: bytes, order: str) -> dict[int, int]:
    """The tags of the first directory, with their values where one number is all."""
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        tags = {}
        for entry in range(min(count, _MOST_TAGS)):
            at = start + 2 + 12 * entry
            tag, kind, _ = struct.unpack_from(f"{order}HHI", data, at)
            size = "H" if kind == 3 else "I"
            (tags[tag],) = struct.unpack_from(f"{order}{size}", data, at + 8)
    except struct.error:
        return {}
    return tags
