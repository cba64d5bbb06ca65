"""Shards: the inverted lists of a partition, in files of about equal size.

    parts of vectors → one spill per part, sorted by list → a plan → shard files → index.json

Each step leaves files with fixed names, written whole, so that an interrupted build continues.
`index.json` is written last, and only what it names is an index.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from copydetect.errors import IndexFileError, InputError
from copydetect.index.partitions import Partition, load_partition
from copydetect.index.routing import record_type
from copydetect.index.shard_plans import Plan
from copydetect.index.spills import Records, read_range
from copydetect.json_values import parse_as, parse_json, value_of
from copydetect.storage.files import Storage
from copydetect.storage.records import Record
from copydetect.storage.scratch import scratch_folder
from copydetect.types import Ints

INDEX = "index.json"
PARTITION = "partition.npz"
_MOST_OPEN = 64
"""Of shards, 8 GB that are mapped; each holds a file, and the centres of all lists."""


@dataclass(frozen=True)
class Shard:
    """A shard file, as the index names it; `name` is relative to the index's folder.

    first_list, last_list: both ends are held, in part where a list is larger than a shard;
    lowest_id, highest_id: of its vectors.
    """

    name: str
    vectors: int
    bytes: int
    sha256: str
    first_list: int
    last_list: int
    lowest_id: int
    highest_id: int


@dataclass(frozen=True)
class Index:
    """A finished index: what `index.json` says.

    partition, model: identities; codes, metric: as in `IndexOptions`; generation: how often
    vectors have been added.
    """

    folder: str
    partition: str
    model: str
    codes: str
    metric: str
    lists: int
    dimension: int
    shards: tuple[Shard, ...]
    generation: int = 0

    @property
    def vectors(self) -> int:
        """How many vectors it holds."""
        return sum(shard.vectors for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Of all shard files."""
        return sum(shard.bytes for shard in self.shards)

    def shards_of(self, probes: Ints) -> list[tuple[int, Ints]]:
        """Which rows of `probes` (n, p) visit which shard: (shard, rows), without empty ones."""
        visits = []
        for number, shard in enumerate(self.shards):
            inside = (probes >= shard.first_list) & (probes <= shard.last_list)
            rows = np.flatnonzero(inside.any(axis=1))
            if len(rows):
                visits.append((number, rows))
        return visits

    def homes_of(self, probes: Ints) -> Ints:
        """(n,) the shard that holds the first, nearest list of each row of `probes` (n, p)."""
        homes = np.zeros(len(probes), dtype=np.int64)
        for number in reversed(range(len(self.shards))):
            shard = self.shards[number]
            inside = (probes[:, 0] >= shard.first_list) & (probes[:, 0] <= shard.last_list)
            homes[inside] = number
        return homes


def build_shard(
    storage: Storage, folder: str, plan: Plan, number: int, partition: Partition
) -> Shard:
    """Write one shard of the plan, or recognise that it is done.

    Inside a list vectors are ordered by id. The file is written under a temporary name, moved,
    and only then described: a shard without its description does not count.
    """
    name = f"shards/{plan.identity}-{number:05d}.faiss"
    described = f"{folder}/{name}.json"
    if storage.is_whole(described) and storage.is_whole(f"{folder}/{name}"):
        return parse_as(Shard, storage.read(described))
    dtype = record_type(plan.code_bytes)
    pieces = [
        read_range(storage, uri, dtype, int(offset), int(start), int(stop))
        for uri, offset, start, stop in zip(
            plan.uris,
            plan.offsets,
            plan.positions[number],
            plan.positions[number + 1],
            strict=True,
        )
        if stop > start
    ]
    shard = write_shard(storage, folder, name, np.concatenate(pieces), partition)
    storage.write(described, json.dumps(asdict(shard)).encode())
    return shard


def write_shard(
    storage: Storage, folder: str, name: str, records: Records, partition: Partition
) -> Shard:
    """Write coded vectors as a FAISS inverted file that holds only their lists."""
    order = np.lexsort((records["id"], records["list"]))
    index = partition.new_index()
    index.own_invlists = True
    lists, starts = np.unique(records["list"][order], return_index=True)
    ends = [*starts[1:], len(order)]
    for number, start, stop in zip(lists, starts, ends, strict=True):
        rows = order[start:stop]
        ids = np.ascontiguousarray(records["id"][rows])
        codes = np.ascontiguousarray(records["code"][rows])
        index.invlists.add_entries(
            int(number), len(rows), faiss.swig_ptr(ids), faiss.swig_ptr(codes)
        )
    index.ntotal = len(records)
    with scratch_folder() as temporary:
        local = os.path.join(temporary, "shard")
        faiss.write_index(index, local)
        written = _record_of(local)
        storage.upload(local, f"{folder}/{name}")
    return Shard(
        name,
        len(records),
        written.size_bytes,
        written.sha256,
        int(lists[0]),
        int(lists[-1]),
        int(records["id"].min()),
        int(records["id"].max()),
    )


def commit_index(
    storage: Storage, folder: str, partition: Partition, shards: Sequence[Shard]
) -> Index:
    """Make an index of finished shards."""
    index = Index(
        folder,
        partition.identity,
        partition.model,
        partition.options.codes,
        partition.options.metric,
        partition.lists,
        partition.dimension,
        tuple(sorted(shards, key=lambda shard: (shard.first_list, shard.name))),
    )
    note_index(storage, index)
    return index


def note_index(storage: Storage, index: Index) -> None:
    """Write `index.json`."""
    content = asdict(index)
    content.pop("folder")
    storage.write(f"{index.folder}/{INDEX}", json.dumps(content, indent=1).encode())


def load_index(storage: Storage, folder: str) -> Index:
    """Read `index.json`; IndexFileError where there is none."""
    uri = f"{folder}/{INDEX}"
    try:
        content = value_of(dict[str, Any], parse_json(storage.read(uri)))
        index: Index = value_of(Index, content | {"folder": folder})
    except InputError as error:
        raise IndexFileError(f"{folder} holds no finished index: {INDEX} is missing") from error
    except ValueError as error:
        raise IndexFileError(f"{uri} is damaged or not an index: {error}") from error
    return index


def list_of(index: Any, number: int) -> tuple[Ints, npt.NDArray[np.uint8]]:
    """Ids (n,) and codes (n, bytes) of a list of a shard, as they are mapped while it is open.

    index: a `faiss.IndexIVF`.
    """
    lists = index.invlists
    size, width = lists.list_size(number), lists.code_size
    codes = faiss.rev_swig_ptr(lists.get_codes(number), size * width)
    return faiss.rev_swig_ptr(lists.get_ids(number), size), codes.reshape(size, width)


def shard_uri(folder: str, name: str) -> str:
    """Where a shard is; object stores know no `..`, so that it is resolved."""
    while name.startswith("../"):
        folder, name = folder.rpartition("/")[0], name[3:]
    return f"{folder}/{name}"


class ShardReader:
    """Opens the shards of an index, memory-mapped; each is verified once, and those that were used
    last are kept open.

    `index`, `partition`: of the folder. One per process is enough: its methods only read.
    """

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self.index = load_index(storage, folder)
        self.partition = load_partition(storage, f"{folder}/{PARTITION}")
        if self.partition.identity != self.index.partition:
            raise IndexFileError(
                f"{folder}/{PARTITION} is partition {self.partition.identity}; the index was "
                f"made with {self.index.partition}"
            )
        self._opened = lru_cache(_MOST_OPEN)(self._open)
        self._checked: set[tuple[str, int]] = set()
        self._opening = Lock()

    def shard(self, number: int) -> Any:
        """A `faiss.IndexIVF`; IndexFileError names a shard that is missing, cut or foreign."""
        with self._opening:
            return self._opened(number)

    def _path(self, shard: Shard) -> str:
        """Where a shard can be mapped, its content checked."""
        uri = shard_uri(self.index.folder, shard.name)
        try:
            path = self._storage.local_path(uri)
            found = os.stat(path)
        except (InputError, OSError) as error:
            raise IndexFileError(f"missing shard {uri}") from error
        if found.st_size != shard.bytes:
            raise IndexFileError(
                f"shard {uri} is truncated: {found.st_size} bytes, not {shard.bytes}"
            )
        # A download that was made room for is another file.
        file = path, found.st_ino
        if file not in self._checked and _record_of(path).sha256 != shard.sha256:
            raise IndexFileError(f"shard {uri} is damaged or foreign: its SHA-256 is another")
        self._checked.add(file)
        return path

    def _open(self, number: int) -> Any:
        shard = self.index.shards[number]
        index: Any = faiss.read_index(self._path(shard), faiss.IO_FLAG_MMAP)
        if (index.d, index.nlist, index.ntotal) != (
            self.partition.dimension,
            self.index.lists,
            shard.vectors,
        ):
            raise IndexFileError(f"shard {shard.name} is of another partition")
        return index


def _record_of(path: str) -> Record:
    with open(path, "rb") as file:
        return Record.of(file)
