"""The index of a catalogue: the shards of earlier nights, where they are, and those of this night.

Each night adds a shard. Small ones are put together as they become many: the last two whenever
the later one is half as large or more. So of n nights about log2(n) shards are left, and each
vector is written again as seldom (the log-structured merge of O'Neil et al., 1996).
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from copydetect import runs
from copydetect.catalog.generations import FileEntry, entry_of
from copydetect.index.partitions import load_partition
from copydetect.index.routing import record_type
from copydetect.index.shards import (
    INDEX,
    PARTITION,
    Index,
    Shard,
    ShardReader,
    list_of,
    load_index,
    note_index,
    shard_uri,
    write_shard,
)
from copydetect.index.spills import Records
from copydetect.storage.files import Storage
from copydetect.types import Ints

_UP = "../../.."
"""From the folder of an index, CAT/gen-000042/index/descriptors, to the catalogue."""

_OF_NIGHTS = {"new", "merged"}
"""Folders, in that of an index, of shards that nights have added."""


def copy_partition(storage: Storage, source: str, folder: str) -> None:
    """Give an index the partition of another one, where it has none yet."""
    uri = runs.join(folder, PARTITION)
    if not storage.is_whole(uri):
        storage.write(uri, storage.read(runs.join(source, PARTITION)))


def grown_index(storage: Storage, before: Index, new: Index | None, folder: str) -> Index:
    """Write the index, in `folder`, of all shards of an earlier night's and of new ones.

    new: in a folder below `folder`, None where nothing is new. Both have the partition of the
    folder.
    """
    shards = [_elsewhere(before.folder, shard) for shard in before.shards]
    if new is not None:
        below = new.folder[len(folder) + 1 :]
        shards += [replace(shard, name=f"{below}/{shard.name}") for shard in new.shards]
    index = replace(before, folder=folder, shards=tuple(shards), generation=before.generation + 1)
    note_index(storage, index)
    return load_index(storage, folder)


def merged_index(storage: Storage, folder: str) -> Index:
    """Put the last two shards together, if nights have added both, as long as the later one is at
    least half as large and both do not fill a shard; the index as it is then."""
    index, partition = load_index(storage, folder), load_partition(storage, f"{folder}/{PARTITION}")
    while _may_merge(index.shards[-2:], partition.options.shard_bytes):
        last = len(index.shards) - 2
        records = np.concatenate([_records(storage, index, at) for at in (last, last + 1)])
        name = f"merged/{index.generation:06d}-{last:05d}.faiss"
        shard = write_shard(storage, folder, name, records, partition)
        index = replace(index, shards=(*index.shards[:-2], shard))
        note_index(storage, index)
    return index


def renumbered_index(
    storage: Storage, source: str, folder: str, numbered: Callable[[Ints], Ints]
) -> None:
    """Write an index, in `folder`, as it is in `source` but for its ids; numbered: from ids there
    to ids here, (n,) int64 each."""
    copy_partition(storage, source, folder)
    index, partition = load_index(storage, source), load_partition(storage, f"{source}/{PARTITION}")
    shards = []
    for number in range(len(index.shards)):
        records = _records(storage, index, number)
        records["id"] = numbered(records["id"])
        name = f"shards/numbered-{number:05d}.faiss"
        shards.append(write_shard(storage, folder, name, records, partition))
    note_index(storage, replace(index, folder=folder, shards=tuple(shards)))


def _may_merge(last: Sequence[Shard], room: int) -> bool:
    of_nights = [_OF_NIGHTS & {*posixpath.dirname(shard.name).split("/")} for shard in last]
    if len(last) < 2 or not all(of_nights):
        return False
    return last[0].bytes + last[1].bytes <= room and last[0].vectors <= 2 * last[1].vectors


def _records(storage: Storage, index: Index, number: int) -> Records:
    """All vectors of a shard, as `write_shard` takes them."""
    shard = index.shards[number]
    held, pieces = ShardReader(storage, index.folder).shard(number), list[Records]()
    for one in range(shard.first_list, shard.last_list + 1):
        ids, codes = list_of(held, one)
        records = np.empty(len(ids), record_type(codes.shape[1]))
        records["list"], records["id"], records["code"] = one, ids, codes
        pieces.append(records)
    return np.concatenate(pieces)


def index_files(storage: Storage, catalog: str, folder: str) -> Iterator[FileEntry]:
    """What an index is made of: its own files, and the shards of earlier nights."""
    if not storage.exists(runs.join(folder, INDEX)):
        return
    yield from (entry_of(storage, catalog, f"{folder}/{name}") for name in (INDEX, PARTITION))
    for shard in load_index(storage, folder).shards:
        path = shard_uri(folder, shard.name)[len(catalog.rstrip("/")) + 1 :]
        yield FileEntry(path, shard.bytes, shard.sha256)


def _elsewhere(folder: str, shard: Shard) -> Shard:
    """A shard of another generation, named from a folder of this one."""
    if shard.name.startswith(_UP):
        return shard
    generation, index, channel = folder.split("/")[-3:]
    return replace(shard, name=f"{_UP}/{generation}/{index}/{channel}/{shard.name}")
