"""Readers of descriptors and local features: the vectors and ids that an index holds.

The upper 32 bits of an id are the image_no. The lower ones are, for a descriptor, the number of its
view, and for a local feature its geometry, x << 24 | y << 16 | scale << 8 | angle.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from copydetect import tables
from copydetect.description.keypoints import (
    load_quantiser,
    mirror_geometry,
    mirror_vectors,
)
from copydetect.description.views import VIEW_NAMES
from copydetect.errors import InputError
from copydetect.index.partitions import Partition, Vectors
from copydetect.parts import RoleParts
from copydetect.storage.files import Storage
from copydetect.types import Floats, Ints, Keypoints

IMAGE_SHIFT = 32
MIRRORED = 1 << 62
"""In the id of a query: it is a feature of the mirror image, whose code is that of the image."""
_PARTS_OPEN, _GROUPS_HELD = 64, 256


@dataclass(frozen=True)
class DescriptorReader:
    """Reads a part of descriptors for an index: (n, d) float32 vectors, (n,) int64 ids."""

    storage: Storage
    files: RoleParts

    @property
    def uris(self) -> Sequence[str]:
        """The parts that can be read."""
        return self.files.descriptors

    def numbered(self) -> list[tuple[int, str]]:
        """(number, URI) of each part."""
        return list(enumerate(self.uris))

    def __call__(self, uri: str) -> tuple[Floats, Ints]:
        vectors, _, ids = self.weighted(uri)
        return vectors, ids

    def weighted(self, uri: str) -> tuple[Floats, Floats, Ints]:
        """Vectors and ids of a part, and between them (n,) float32, what their scores count."""
        table = tables.read_table(self.storage, uri, ["image_id", "view", "vector", "weight"])
        part, image_ids = self.uris.index(uri), table["image_id"].to_pylist()
        numbers = image_numbers(self.storage, self.files, part, image_ids)
        views = pc.index_in(table["view"], value_set=pa.array(VIEW_NAMES))
        if views.null_count:
            raise InputError(f"{uri} has a view that is none of {', '.join(VIEW_NAMES)}")
        ids = numbers << IMAGE_SHIFT | views.to_numpy().astype(np.int64)
        return read_vectors(table), table["weight"].to_numpy().astype(np.float32), ids


@dataclass(frozen=True)
class KeypointReader:
    """Reads a part of local features for an index: (n, m) uint8 codes, (n,) int64 ids.

    both: once more behind all of them, as those of the left-right mirrored images: see
    `query_ids`.
    """

    storage: Storage
    files: RoleParts
    both: bool = False

    @property
    def uris(self) -> Sequence[str]:
        """The parts that can be read."""
        return self.files.keypoints

    def numbered(self) -> list[tuple[int, str]]:
        """(number, URI) of each part."""
        return list(enumerate(self.uris))

    def __call__(self, uri: str) -> tuple[npt.NDArray[np.uint8], Ints]:
        table = tables.read_table(self.storage, uri)
        part, image_ids = self.uris.index(uri), table["image_id"].to_pylist()
        numbers = image_numbers(self.storage, self.files, part, image_ids)
        features = read_keypoints(table)
        nothing = np.empty((0, load_quantiser().code_bytes), np.uint8)
        codes = np.concatenate([nothing, *(one.codes for one in features)])
        ids = query_ids(numbers.tolist(), features)
        return (np.tile(codes, (2, 1)), ids) if self.both else (codes, ids[: len(codes)])


def stored_keypoints(storage: Storage, files: RoleParts) -> StoredKeypoints | None:
    """Looks local features up by the number of their image; None where there are none."""
    return StoredKeypoints(storage, files) if files.keypoints else None


class StoredKeypoints:
    """image_no → the local features of that image; files are read where they are wanted.

    The last few parts stay open, and the last groups of rows are held. May be asked by several
    threads.
    """

    def __init__(self, storage: Storage, files: RoleParts) -> None:
        self._files = files
        self._starts = files.starts.tolist()
        self._lock = Lock()
        self._opened = lru_cache(_PARTS_OPEN)(partial(_OpenedPart.open, storage))
        self._group = lru_cache(_GROUPS_HELD)(self._read_group)

    def of(self, number: int, image_id: str) -> Keypoints | None:
        """The features of an image; None where it has no row."""
        uri = self._files.keypoints[bisect_right(self._starts, number) - 1]
        with self._lock:
            opened = self._opened(uri)
            row = opened.rows.get(image_id)
            if row is None:
                return None
            group = bisect_right(opened.starts, row) - 1
            table = self._group(uri, group).slice(row - opened.starts[group], 1)
        return read_keypoints(table)[0]

    def _read_group(self, uri: str, group: int) -> pa.Table:
        with tables.damage_named(uri):
            return self._opened(uri).file.read_row_group(group)


@dataclass(frozen=True)
class _OpenedPart:
    """A file of keypoints. rows: of each image_id; starts: first rows of its groups of rows."""

    file: parquet.ParquetFile
    rows: dict[str, int]
    starts: list[int]

    @classmethod
    def open(cls, storage: Storage, uri: str) -> _OpenedPart:
        with tables.damage_named(uri):
            file = tables.opened(storage.open(uri))
            image_ids = file.read(["image_id"])["image_id"].to_pylist()
        groups = range(file.num_row_groups)
        sizes = [file.metadata.row_group(group).num_rows for group in groups]
        starts = [0, *accumulate(sizes)][:-1]
        return cls(file, {image_id: row for row, image_id in enumerate(image_ids)}, starts)


def read_vectors(table: pa.Table) -> Floats:
    """The vectors (n, d) float32 of a descriptors table."""
    column = table["vector"].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    vectors: Floats = flat.reshape(len(table), column.type.list_size)
    return vectors


def read_keypoints(table: pa.Table) -> list[Keypoints]:
    """The rows of a keypoints table."""
    code_bytes = load_quantiser().code_bytes
    features = []
    for row in table.to_pylist():
        geometry = {name: np.array(row[name], np.uint8) for name in ("x", "y", "scale", "angle")}
        codes = np.frombuffer(row["codes"], np.uint8).reshape(-1, code_bytes)
        features.append(Keypoints(**{**row, **geometry, "codes": codes}))
    return features


def feature_ids(image_no: int, keypoints: Keypoints, mirrored: bool = False) -> Ints:
    """(n,) int64 ids of an image's features, with their geometry in the lower 32 bits."""
    geometry = (keypoints.x, keypoints.y, keypoints.scale, keypoints.angle)
    if mirrored:
        geometry = mirror_geometry(keypoints)
    x, y, scale, angle = (values.astype(np.int64) for values in geometry)
    return image_no << IMAGE_SHIFT | x << 24 | y << 16 | scale << 8 | angle


def query_ids(numbers: Sequence[int], features: Sequence[Keypoints]) -> Ints:
    """(2 n,) int64 ids of the features of images, then those of their mirror images, `MIRRORED`."""
    upright, turned = (
        [feature_ids(number, one, mirrored) for number, one in zip(numbers, features, strict=True)]
        for mirrored in (False, True)
    )
    nothing = np.empty(0, np.int64)
    return np.concatenate([nothing, *upright, *(ids | MIRRORED for ids in turned)])


def query_vectors(partition: Partition, vectors: Vectors, ids: Ints) -> Floats:
    """(n, d) float32 of queries, as they are compared; those of mirror images are turned."""
    floats = partition.decode(vectors)
    turned = ids >= MIRRORED
    if turned.any():
        floats[turned] = mirror_vectors(floats[turned], load_quantiser())
    return floats


def image_numbers(storage: Storage, files: RoleParts, part: int, image_ids: Sequence[str]) -> Ints:
    """image_no of each row of a part, from the row of its image in the part of `images`."""
    table = tables.read_table(storage, files.image_files[part], ["image_id"])
    rows = {image_id: row for row, image_id in enumerate(table["image_id"].to_pylist())}
    return np.array([rows[image_id] for image_id in image_ids], np.int64) + int(files.starts[part])
