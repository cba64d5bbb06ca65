"""pixels → labelled copies of one image, as `copydetect edits` makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import cv2
import pyarrow as pa

from copydetect.edits import Others, make_copy, mix_named, rng_of
from copydetect.errors import ImageError, OptionError
from copydetect.images.decoding import decode
from copydetect.inputs.finding import find_sources
from copydetect.inputs.sources import list_source, read_refs
from copydetect.storage.files import Storage
from copydetect.types import ImageRef, Pixels

COPIES = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("reference_id", pa.string(), nullable=False),
        pa.field("edits", pa.string(), nullable=False),
        pa.field("transform", pa.list_(pa.float64()), nullable=False),
        pa.field("region", pa.list_(pa.float64()), nullable=False),
    ]
)
"""One row per copy and image that it is a copy of.

edits: the kinds, joined by "+"; transform: the homography reference px → copy px, row-major;
region: the polygon in the copy that the reference fills, x, y …
"""

_MOST_OTHERS = 48
_OTHERS_SIDE_PX = 512
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class CopyOptions:
    """copies: of each image; mix: one of `edits.MIXES`; max_side_px: images larger than this are
    scaled down to it before they are edited."""

    copies: int = 1
    seed: int = 0
    mix: str = "default"
    max_side_px: int = 1024

    def __post_init__(self) -> None:
        mix_named(self.mix)
        if not 1 <= self.copies <= 1000:
            raise OptionError(f"--copies is {self.copies}; it must be 1 … 1000")
        if not 16 <= self.max_side_px <= 8192:
            raise OptionError(f"--max_side is {self.max_side_px}; it must be 16 … 8192 px")

    def __str__(self) -> str:
        return f"copies={self.copies} seed={self.seed} mix={self.mix} side={self.max_side_px}px"


@dataclass(frozen=True)
class Copy:
    """One copy: its JPEG file, and the fields of COPIES without the image that it is a copy of."""

    query_id: str
    edits: str
    transform: list[float]
    region: list[float]
    data: bytes

    def row(self, reference_id: str) -> dict[str, object]:
        """A row of COPIES."""
        return {
            "query_id": self.query_id,
            "reference_id": reference_id,
            "edits": self.edits,
            "transform": self.transform,
            "region": self.region,
        }


def copies_of(
    image_id: str, data: bytes, options: CopyOptions, others: Others = ()
) -> Iterator[Copy]:
    """The copies of one image file, the same for the same seed and image_id; ImageError."""
    decoded = decode(data, options.max_side_px)
    height, width = decoded.pixels.shape[:2]
    # From px of the picture in the file to px of what was edited, as centres of pixels.
    x, y = width / decoded.width_px, height / decoded.height_px
    mix = mix_named(options.mix)
    for number in range(options.copies):
        edited = make_copy(decoded.pixels, rng_of(options.seed, image_id, number), mix, others)
        transform = edited.transform.copy()
        transform[:, 2] += transform[:, 0] * (x - 1) / 2 + transform[:, 1] * (y - 1) / 2
        transform[:, :2] *= (x, y)
        yield Copy(
            copy_id(image_id, number),
            "+".join(edited.kinds),
            [float(value) for value in transform.flat],
            [float(value) for value in edited.region.flat],
            jpeg(edited.pixels),
        )


def copy_id(image_id: str, number: int) -> str:
    """A relative path that no other image's copy has: "beach/1.jpg" → "beach/1.jpg.0.jpg"."""
    segments = [quote(segment, safe=" !#$&'()+,;=@[]{}~") for segment in image_id.split("/")]
    safe = [{"": "%", ".": "%2E", "..": "%2E%2E"}.get(segment, segment) for segment in segments]
    return f"{'/'.join(safe)}.{number}.jpg"


def jpeg(pixels: Pixels) -> bytes:
    """A JPEG file of the pixels."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes()


def choose_others(storage: Storage, spec: str) -> list[ImageRef]:
    """Up to 48 pictures of an input to paste with, whatever its order; InputError."""
    sources = find_sources(storage, spec)
    refs = [ref for piece in sources.pieces for ref in list_source(storage, piece)[0]]
    refs.sort(key=lambda ref: hashlib.sha256(ref.image_id.encode()).digest())
    return refs[:_MOST_OTHERS]


def load_others(storage: Storage, refs: Sequence[ImageRef]) -> list[Pixels]:
    """The pictures to paste with, at most 512 px per side, without those that cannot be used."""
    order = {ref: place for place, ref in enumerate(refs)}
    pictures = {}
    for ref, content in read_refs(storage, refs):
        if isinstance(content, bytes):
            try:
                pictures[order[ref]] = decode(content, _OTHERS_SIDE_PX).pixels
            except ImageError:
                continue
    return [pictures[place] for place in sorted(pictures)]
