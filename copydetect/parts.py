"""The parts that a collection is cut into, and the files of each.

A part is a range of the SHA-256 of the images' bytes. Inside a part, rows are sorted by
(sha256, image_id). So byte-identical files always meet in one part, where they are folded
together, and `image_no`, the row number counted through all parts, depends on the content alone:
not on the number of parts, workers or the order of the input.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from loky import cpu_count
from pyarrow import parquet

from copydetect import runs, tables
from copydetect.storage.files import Storage
from copydetect.types import ImageRow, Ints, Role

_SMALLEST_PART, _LARGEST_PART, _PARTS_WANTED = 16, 4096, 256
_PARTS_HELD = 256
_HASH_DIGITS = 16
_FEATURES = "features"


def part_count(images: int) -> int:
    """How many parts: enough to spread the work and to show progress, with 16 to 4,096 images
    each."""
    size = min(max(images // _PARTS_WANTED, _SMALLEST_PART), _LARGEST_PART)
    return max(1, math.ceil(images / size))


def part_of(sha256: str, parts: int) -> int:
    """The part, 0 … parts − 1, whose range of hashes holds `sha256` (hex)."""
    return int(sha256[:_HASH_DIGITS], 16) * parts >> 64


def parts_of_hashes(hashes: Sequence[str], parts: int) -> Ints:
    """(n,) `part_of` each, for up to 2³² parts."""
    digits = "".join(sha256[:_HASH_DIGITS] for sha256 in hashes)
    values = np.frombuffer(bytes.fromhex(digits), ">u8").astype(np.uint64)
    # The upper half of a product of 96 bits, out of two of 64.
    count, half = np.uint64(parts), np.uint64(32)
    low = (values & np.uint64(2**32 - 1)) * count >> half
    parts_of_all: Ints = ((values >> half) * count + low >> half).astype(np.int64)
    return parts_of_all


PART = "part"
"""What the names of parts begin with in tables that have no roles (see `runs.part_name`)."""


@dataclass(frozen=True)
class PartNames(Sequence[str]):
    """The names of part files, each made when it is asked for: a pipeline that names all parts of
    many tables stays small however many there are.

    folder: of all; before: what their names begin with; parts: how many; suffix: of all.
    """

    folder: str
    before: str
    parts: int
    suffix: str = "parquet"

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return tuple(map(self._name, range(self.parts)[number]))
        return self._name(range(self.parts)[number])

    def __len__(self) -> int:
        return self.parts

    def _name(self, number: int) -> str:
        return runs.join(self.folder, f"{self.before}-{number:05d}.{self.suffix}")


@dataclass(frozen=True)
class RoleParts:
    """The described images of one role: the files of each table, one per part, in order.

    image_files, failures: parts of `images` and of `failures`; image_counts: rows of `images` in
    each part; descriptors, keypoints: parts of these tables, none for a channel that is off; noted:
    where `note_counts` has noted what they hold, "" for nowhere; first: number of the first image,
    over 0 for some parts of a collection, behind others.
    """

    image_files: Sequence[str]
    image_counts: Sequence[int]
    descriptors: Sequence[str] = ()
    keypoints: Sequence[str] = ()
    failures: Sequence[str] = ()
    noted: str = ""
    first: int = 0

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(self.image_counts)

    @property
    def parts(self) -> int:
        """How many parts."""
        return len(self.image_files)

    @property
    def starts(self) -> Ints:
        """(parts + 1,) image_no of the first image of each part."""
        return np.cumsum([self.first, *self.image_counts]).astype(np.int64)

    @property
    def tables(self) -> dict[str, Sequence[str]]:
        """The files by the name of their table, of the tables that there are."""
        named = {
            "images": self.image_files,
            "failures": self.failures,
            "descriptors": self.descriptors,
            "keypoints": self.keypoints,
        }
        return {name: files for name, files in named.items() if files}

    def parts_of(self, numbers: Ints) -> Ints:
        """The part of each image_no."""
        return np.searchsorted(self.starts, numbers, side="right").astype(np.int64) - 1

    def numbers(self, storage: Storage) -> ImageNumbers:
        """Looks images up by their number."""
        return ImageNumbers(storage, self.image_files, self.image_counts)


class Sides(NamedTuple):
    """Queries and references; both are equal where a collection is searched for itself."""

    queries: RoleParts
    references: RoleParts

    @property
    def symmetric(self) -> bool:
        """Whether a collection is searched for itself."""
        return self.queries == self.references


def part_uri(folder: str, table: str, role: Role, part: int) -> str:
    """Where a part of a table of described images is, in the folder of a run."""
    return runs.join(folder, table, f"{role}-{part:05d}.parquet")


@dataclass(frozen=True)
class _Parts:
    """Part files that are counted once in each process, however often a description of them is
    sent to it. token: of this description alone; what was there before may have had other rows;
    noted, name: where they may be counted already, and as what."""

    token: str
    storage: Any = field(compare=False)
    uris: Sequence[str] = field(compare=False)
    noted: str = field(compare=False)
    name: str = field(compare=False)

    @classmethod
    def of(cls, storage: Storage, uris: Sequence[str], noted: str, name: str) -> _Parts:
        return cls(uuid.uuid4().hex, storage, uris, noted, name)

    def known(self) -> Any:
        """What is noted of them, None where nothing is, or of other parts."""
        if not self.noted or not self.storage.is_whole(self.noted):
            return None
        noted = json.loads(self.storage.read(self.noted))
        return noted.get(self.name) if noted["parts"] == len(self.uris) else None


class RowCounts(Sequence[int]):
    """How many rows each part of a table has, read from its files when it is first asked for.

    So a pipeline can be built before the parts are there. noted, name: where one worker may have
    noted it for all others, and as what (see `note_counts`).
    """

    def __init__(
        self, storage: Storage, uris: Sequence[str], noted: str = "", name: str = "images"
    ) -> None:
        self._parts = _Parts.of(storage, uris, noted, name)

    def __getitem__(self, part: Any) -> Any:
        return _row_counts(self._parts)[part]

    def __iter__(self) -> Iterator[int]:
        return iter(_row_counts(self._parts))

    def __len__(self) -> int:
        return len(self._parts.uris)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowCounts) and other._parts.uris == self._parts.uris

    def __hash__(self) -> int:
        return hash(self._parts.uris)


class FeatureCount:
    """How many local features parts of `keypoints` hold, read from them when it is first asked.

    noted: as of `RowCounts`."""

    def __init__(self, storage: Storage, uris: Sequence[str], noted: str = "") -> None:
        self._parts = _Parts.of(storage, uris, noted, _FEATURES)

    def __call__(self) -> int:
        return _feature_count(self._parts)


def note_counts(storage: Storage, files: RoleParts) -> None:
    """Note what described images hold, once they are there: else each process of each worker would
    read the footers of all parts."""
    tables_of = {"images": files.image_files, "descriptors": files.descriptors}
    counts: dict[str, Any] = {"parts": files.parts}
    counts |= {name: row_counts(storage, uris) for name, uris in tables_of.items() if uris}
    if files.keypoints:
        counts[_FEATURES] = _features_in(storage, files.keypoints)
    storage.write(files.noted, json.dumps(counts).encode())


def note_rows(storage: Storage, uris: Sequence[str], noted: str, name: str) -> None:
    """Note how many rows each part of one table has."""
    storage.write(noted, json.dumps({"parts": len(uris), name: row_counts(storage, uris)}).encode())


@lru_cache(maxsize=64)
def _row_counts(parts: _Parts) -> tuple[int, ...]:
    known = parts.known()
    return tuple(row_counts(parts.storage, parts.uris) if known is None else known)


@lru_cache(maxsize=64)
def _feature_count(parts: _Parts) -> int:
    known = parts.known()
    return _features_in(parts.storage, parts.uris) if known is None else int(known)


def _features_in(storage: Storage, uris: Sequence[str]) -> int:
    with ThreadPoolExecutor(cpu_count()) as pool:
        return sum(pool.map(lambda uri: tables.count_leaves(storage, uri, "x"), uris))


def unfinished(
    storage: Storage, parts: Sequence[Sequence[str]], failures: Sequence[str] = ()
) -> set[int]:
    """The numbers of parts that are to be made, or made again.

    parts: the files of each, of which none may be missing or damaged; failures: where these, one
    per part, name one that another try may help, the part is made again.
    """
    with ThreadPoolExecutor(cpu_count()) as pool:
        whole = list(pool.map(partial(_is_whole, storage), parts))
        wanted = {part for part, is_whole in enumerate(whole) if not is_whole}
        retried = [part for part in range(len(failures)) if part not in wanted]
        found = pool.map(partial(has_retryable, storage), (failures[part] for part in retried))
        return wanted | {part for part, again in zip(retried, found, strict=True) if again}


def _is_whole(storage: Storage, uris: Sequence[str]) -> bool:
    # The one that is written last goes first: it is missing where nothing has been done yet.
    return all(map(storage.is_whole, uris))


def has_retryable(storage: Storage, uri: str) -> bool:
    """Whether a table of failures names one that another try may help."""
    table = tables.read_table(storage, uri, ["retryable"])
    return bool(pc.any(table["retryable"]).as_py())


def row_counts(storage: Storage, uris: Sequence[str]) -> list[int]:
    """How many rows each of some part files has."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        return list(pool.map(partial(_row_count, storage), uris))


def _row_count(storage: Storage, uri: str) -> int:
    with storage.open(uri) as file:
        return int(parquet.read_metadata(file).num_rows)


class ImageNumbers:
    """image_no → row of the `images` tables of one role; parts are read when they are wanted.

    The parts used last are kept as tables, so that memory is bounded: about 1 MB per part.
    """

    def __init__(self, storage: Storage, uris: Sequence[str], counts: Sequence[int]) -> None:
        """`uris`: the parts of `images` in order; `counts`: their rows."""
        self._storage = storage
        self._uris = list(uris)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._held: dict[int, pa.Table] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def start_of(self, part: int) -> int:
        """The image_no of the first row of a part."""
        return int(self._starts[part])

    def row(self, number: int) -> ImageRow:
        """The row of `images` with this number."""
        if not 0 <= number < len(self):
            raise IndexError(f"image_no {number} is not in 0 … {len(self) - 1}")
        table, at = self._place(number)
        (row,) = table.slice(at, 1).to_pylist()
        return ImageRow(**row)

    def twins(self, number: int) -> list[ImageRow]:
        """The row with this number, and those of files that it stands for, byte for byte."""
        rows = [self.row(number)]
        while number + len(rows) < len(self):
            # A row has many columns: to read one of them is much less work.
            table, at = self._place(number + len(rows))
            if table["duplicate_of"][at].as_py() != rows[0].image_id:
                break
            twin = self.row(number + len(rows))
            if twin.sha256 != rows[0].sha256:
                break
            rows.append(twin)
        return rows

    def _place(self, number: int) -> tuple[pa.Table, int]:
        """The table that holds a row, and where."""
        part = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._table(part), number - self.start_of(part)

    def _table(self, part: int) -> pa.Table:
        table = self._held.pop(part, None)
        if table is None:
            table = tables.read_table(self._storage, self._uris[part], tables.IMAGES.names)
        self._held[part] = table  # behind those that were wanted before
        if len(self._held) > _PARTS_HELD:
            del self._held[next(iter(self._held))]
        return table
