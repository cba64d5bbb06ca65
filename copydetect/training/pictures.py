"""Training pictures, decoded once and kept small, in one file that is mapped into memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from copydetect.errors import ImageError, InputError
from copydetect.images.decoding import decode
from copydetect.images.resizing import resized
from copydetect.inputs.finding import find_sources
from copydetect.inputs.sources import read_source
from copydetect.storage.files import Storage
from copydetect.training.pages import drawn_pages
from copydetect.types import Failure, Ints, Pixels

Key = dict[str, list[str] | float]

MIN_PICTURES = 32
_PIXELS, _INDEX = "pictures.u8", "pictures.json"


@dataclass(frozen=True)
class Pictures(Sequence[Pixels]):
    """Decoded pictures: `pictures[i]` is (h, w, 3) uint8.

    pixels: all of them end to end, flat uint8; shapes: (n, 2) int64, height and width;
    offsets: (n,) int64, where each begins; failed, repeated: how many images of the input could
    not be read, and how many were byte for byte another one.
    """

    pixels: npt.NDArray[np.uint8]
    shapes: Ints
    offsets: Ints
    failed: int = 0
    repeated: int = 0

    def __len__(self) -> int:
        return len(self.shapes)

    @overload
    def __getitem__(self, index: int) -> Pixels: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pixels]: ...
    def __getitem__(self, index: int | slice) -> Pixels | Sequence[Pixels]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        height, width = self.shapes[index]
        start = self.offsets[index]
        flat = self.pixels[start : start + height * width * 3]
        return np.array(flat).reshape(height, width, 3)


def pack_pictures(
    storage: Storage, specs: Sequence[str], folder: Path, short_side_px: int, pages: float = 0.0
) -> Pictures:
    """Decode every image of the inputs into `folder`, its short side at most `short_side_px`.

    Images that cannot be decoded are left out and counted, and so are exact repeats. `pages` are
    drawn and added, as a share of the pictures. InputError where fewer than MIN_PICTURES different
    ones remain. A folder that is packed already is opened.
    """
    key: Key = {"input": list(specs), "short_side_px": short_side_px, "pages": pages}
    if not _is_packed(folder, key):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _INDEX).unlink(missing_ok=True)
        index = _write_pixels(storage, specs, folder / _PIXELS, short_side_px)
        index["shapes"] += _add_pages(folder / _PIXELS, index["shapes"], pages)
        (folder / _INDEX).write_text(json.dumps(key | index), encoding="utf-8")
    return _open_packed(folder)


def _write_pixels(
    storage: Storage, specs: Sequence[str], path: Path, short_side_px: int
) -> dict[str, Any]:
    seen: set[bytes] = set()
    shapes: list[list[int]] = []
    failed = repeated = 0
    with path.open("wb") as stream:
        for data in _contents(storage, specs):
            pixels = None if isinstance(data, Failure) else _small(data, short_side_px)
            if pixels is None:
                failed += 1
                continue
            digest = hashlib.sha256(pixels.tobytes()).digest()
            if digest in seen:
                repeated += 1
                continue
            seen.add(digest)
            stream.write(pixels.tobytes())
            shapes.append([pixels.shape[0], pixels.shape[1]])
    if len(shapes) < MIN_PICTURES:
        raise InputError(
            f"{', '.join(specs)}: {len(shapes)} different images can be read ({failed} failed, "
            f"{repeated} repeat another one); training needs at least {MIN_PICTURES}"
        )
    return {"shapes": shapes, "failed": failed, "repeated": repeated}


def _add_pages(path: Path, shapes: list[list[int]], share: float) -> list[list[int]]:
    """Draw pages that show some of the pictures, and write them after these; their shapes."""
    pictures = _mapped(path, shapes)
    rng = np.random.default_rng(len(shapes))
    added = []
    with path.open("ab") as stream:
        for page in drawn_pages(round(share * len(shapes)), pictures, rng):
            stream.write(page.tobytes())
            added.append([page.shape[0], page.shape[1]])
    return added


def _contents(storage: Storage, specs: Sequence[str]) -> Iterator[bytes | Failure]:
    for piece in find_sources(storage, specs).pieces:
        for _, data in read_source(storage, piece):
            yield data


def _small(data: bytes, short_side_px: int) -> Pixels | None:
    """The decoded image, scaled down; None where it is none or next to nothing."""
    try:
        pixels = decode(data, max_side_px=8 * short_side_px).pixels
    except ImageError:
        return None
    height, width = pixels.shape[:2]
    scale = min(1.0, short_side_px / min(height, width))
    if min(height, width) < 16:
        return None
    return resized(pixels, max(1, round(width * scale)), max(1, round(height * scale)))


def _is_packed(folder: Path, key: Key) -> bool:
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all(index.get(name) == value for name, value in key.items())


def _open_packed(folder: Path) -> Pictures:
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    pictures = _mapped(folder / _PIXELS, index["shapes"])
    return replace(pictures, failed=index["failed"], repeated=index["repeated"])


def _mapped(path: Path, sides: list[list[int]]) -> Pictures:
    shapes = np.array(sides, np.int64)
    sizes = shapes.prod(axis=1) * 3
    return Pictures(np.memmap(path, np.uint8, "r"), shapes, sizes.cumsum() - sizes)
