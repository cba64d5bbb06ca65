"""Descriptors and ids of any image of a role, in files that are mapped into memory.

    descriptors of a part → its vectors, ids and weights → ids and weights of all parts
    images of all parts → their ids

A part of candidates has partners in every other part. So what is looked up lies in files that all
workers of a machine share, and only the pages that are touched are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.description.keypoints import FEW_FEATURES
from copydetect.index.channels import IMAGE_SHIFT, DescriptorReader, image_numbers
from copydetect.index.spills import read_arrays, write_arrays
from copydetect.parts import RoleParts
from copydetect.sorted_rows import is_among
from copydetect.storage.files import Storage
from copydetect.storage.scratch import scratch_folder
from copydetect.types import Bools, Floats, Ints

_PARTS_MAPPED = 256
_GATHERED: Mapping[str, npt.DTypeLike] = {
    "ids": np.int64,
    "weights": np.float32,
    "little": np.bool_,
}


def write_rows(
    storage: Storage,
    uri: str,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    pieces: Iterable[npt.NDArray[Any]],
) -> None:
    """Write pieces one after the other into one `.npy` of this shape, without holding all of it."""
    with scratch_folder() as folder:
        local = os.path.join(folder, "rows.npy")
        rows = np.lib.format.open_memmap(local, "w+", np.dtype(dtype), shape)
        start = 0
        for piece in pieces:
            rows[start : start + len(piece)] = piece
            start += len(piece)
        rows.flush()
        del rows
        storage.upload(local, uri)


def mapped_rows(storage: Storage, uri: str) -> npt.NDArray[Any]:
    """What `write_rows` wrote, mapped for reading."""
    rows: npt.NDArray[Any] = np.load(storage.local_path(uri), mmap_mode="r")
    return rows


@dataclass(frozen=True)
class DescribedSide:
    """The descriptors of one side, by id: image_no << 32 | number of the view.

    ids: (n,) int64, ascending; weights: (n,) float32, of their scores; little: (n,) bool, whether
    their picture has few local features; all mapped. folder: of the files of vectors, one per part;
    starts: (parts + 1,) row of the first vector of each part.
    """

    storage: Storage
    folder: str
    ids: Ints
    weights: Floats
    little: Bools
    starts: Ints

    def rows(self, ids: Ints) -> Ints:
        """The rows of these ids, which must all exist."""
        return np.searchsorted(self.ids, ids).astype(np.int64)

    def has(self, ids: Ints) -> Bools:
        """(n,) bool: which of these ids exist."""
        return is_among(ids, self.ids)

    def vectors(self, rows: Ints) -> Floats:
        """(n, d) float32: the vectors of some rows, at least one; each part is mapped once."""
        parts = np.searchsorted(self.starts, rows, side="right") - 1
        pieces, places = [], []
        for part in np.unique(parts):
            at = np.flatnonzero(parts == part)
            held = _mapped_vectors(self.storage, _vectors_uri(self.folder, int(part)))
            pieces.append(held[rows[at] - self.starts[part]].astype(np.float32))
            places.append(at)
        order = np.argsort(np.concatenate(places))
        vectors: Floats = np.concatenate(pieces)[order]
        return vectors


def write_described_part(storage: Storage, files: RoleParts, part: int, folder: str) -> int:
    """Write the vectors of a part where rows of them can be mapped; returns how many there are."""
    described = runs.join(folder, "ids", runs.part_name(part, "npz"))
    if not (storage.is_whole(described) and storage.is_whole(_vectors_uri(folder, part))):
        uri = files.descriptors[part]
        vectors, weights, ids = DescriptorReader(storage, files).weighted(uri)
        order = np.argsort(ids)
        halves = vectors.astype(np.float16)[order]
        write_rows(storage, _vectors_uri(folder, part), halves.shape, np.float16, [halves])
        ids = ids[order]
        little = _of_little_content(storage, files, part, ids)
        write_arrays(storage, described, uri, ids=ids, weights=weights[order], little=little)
    return len(read_arrays(storage, described)[1]["ids"])


def _of_little_content(storage: Storage, files: RoleParts, part: int, ids: Ints) -> Bools:
    """(n,) bool: which vectors are of pictures with few local features, as far as these are
    known."""
    if not files.keypoints:
        return np.zeros(len(ids), np.bool_)
    table = tables.read_table(storage, files.keypoints[part], ["image_id", "x"])
    numbers = image_numbers(storage, files, part, table["image_id"].to_pylist())
    few = pc.list_value_length(table["x"]).to_numpy() < FEW_FEATURES
    return np.isin(ids >> IMAGE_SHIFT, numbers[few])


def write_described_side(storage: Storage, folder: str, counts: Sequence[int]) -> None:
    """Gather what there is for each vector of all parts; counts: what `write_described_part`
    returned."""
    made = ("starts.npz", *(f"{name}.npy" for name in _GATHERED))
    if all(storage.is_whole(runs.join(folder, name)) for name in made):
        return
    starts = np.r_[0, np.cumsum(counts)].astype(np.int64)
    for name, dtype in _GATHERED.items():
        pieces = (
            read_arrays(storage, runs.join(folder, "ids", runs.part_name(part, "npz")))[1][name]
            for part in range(len(counts))
        )
        uri = runs.join(folder, f"{name}.npy")
        write_rows(storage, uri, (int(starts[-1]),), dtype, pieces)
    write_arrays(storage, runs.join(folder, "starts.npz"), "", starts=starts)


def load_described_side(storage: Storage, folder: str) -> DescribedSide:
    """Map what `write_described_side` wrote."""
    gathered = {name: mapped_rows(storage, runs.join(folder, f"{name}.npy")) for name in _GATHERED}
    starts = read_arrays(storage, runs.join(folder, "starts.npz"))[1]["starts"]
    return DescribedSide(storage, folder, **gathered, starts=starts)


def _mapped_vectors(storage: Storage, uri: str) -> npt.NDArray[np.float16]:
    """The vectors of a part, mapped once as long as the file stays what it is."""
    path = storage.local_path(uri)
    file = os.stat(path)
    return _mapped_once(path, (file.st_ino, file.st_size, file.st_mtime_ns))


@lru_cache(maxsize=_PARTS_MAPPED)
def _mapped_once(path: str, _: tuple[int, int, int]) -> npt.NDArray[np.float16]:
    # Of a memory map, numpy would make another one with each row that is taken.
    vectors: npt.NDArray[np.float16] = np.load(path, mmap_mode="r").view(np.ndarray)
    return vectors


def _vectors_uri(folder: str, part: int) -> str:
    return runs.join(folder, "vectors", runs.part_name(part, "npy"))


class ImageIds:
    """image_no → image_id, from a mapped Arrow file with a batch for each part of `images`."""

    def __init__(self, storage: Storage, uri: str, starts: Ints) -> None:
        """starts: (parts + 1,) image_no of the first image of each part."""
        self._file = pa.ipc.open_file(pa.memory_map(storage.local_path(uri)))
        self._starts = starts

    @staticmethod
    def write(storage: Storage, uri: str, image_files: Sequence[str]) -> None:
        """Write the file for the parts of `images`, one after the other."""
        if storage.is_whole(uri):
            return
        schema = pa.schema([pa.field("image_id", pa.string(), nullable=False)])
        with scratch_folder() as folder:
            local = os.path.join(folder, "ids.arrow")
            with pa.OSFile(local, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                for images in image_files:
                    column = tables.read_table(storage, images, ["image_id"])["image_id"]
                    values = pa.array(column.to_pylist(), pa.string())
                    writer.write_batch(pa.record_batch([values], schema=schema))
            storage.upload(local, uri)

    def of(self, numbers: Ints) -> pa.Array:
        """The ids of some images, in their order."""
        parts = np.searchsorted(self._starts, numbers, side="right") - 1
        pieces, places = [pa.array([], pa.string())], [np.empty(0, np.int64)]
        for part in np.unique(parts):
            at = np.flatnonzero(parts == part)
            rows = pa.array(numbers[at] - self._starts[part])
            pieces.append(self._file.get_batch(int(part)).column(0).take(rows))
            places.append(at)
        order = np.argsort(np.concatenate(places))
        return pa.concat_arrays(pieces).take(pa.array(order))
