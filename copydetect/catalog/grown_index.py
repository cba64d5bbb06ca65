"""An index of a catalogue: the shards of earlier nights where they are, and those of tonight."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from copydetect import runs
from copydetect.index.shards import INDEX, PARTITION, Index, Shard, load_index
from copydetect.storage.files import Storage

_UP = "../../.."
"""From the folder of an index, CAT/gen-000042/index/descriptors, to the catalogue."""


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
    content = asdict(index)
    content.pop("folder")
    storage.write(runs.join(folder, INDEX), json.dumps(content, indent=1).encode())
    return load_index(storage, folder)


def _elsewhere(folder: str, shard: Shard) -> Shard:
    """A shard of another generation, named from a folder of this one."""
    if shard.name.startswith(_UP):
        return shard
    generation, index, channel = folder.split("/")[-3:]
    return replace(shard, name=f"{_UP}/{generation}/{index}/{channel}/{shard.name}")
