"""An index that grows: new vectors in new shards, and now and then all of it written anew.

Adding leaves every old shard as it is. Many additions leave many small shards, and lists that no
longer fit what has been added; `compaction` turns the shards into the parts of a new index, with
the same partition where its lists are still in balance, with a new one where they are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from copydetect.index.building import IndexJob, build_index, commit_step, route_step
from copydetect.index.partitions import (
    Floats,
    IndexOptions,
    Integers,
    Partition,
    Vectors,
    imbalance,
    load_partition,
    save_partition,
)
from copydetect.index.routing import Part
from copydetect.index.shard_plans import plan_shards, save_plan
from copydetect.index.shards import (
    PARTITION,
    Index,
    ShardReader,
    build_shard,
    load_index,
)
from copydetect.storage.files import Storage

DRIFT_LIMIT = 2.0
"""How much more work than in balance the lists may give before the partition is retrained."""


def grow_index(job: IndexJob, parts: Sequence[Part]) -> Index:
    """Add parts to the index at the job's folder; their numbers must be new to it.

    Parts that were added before change nothing. IndexFileError where there is no index yet, or one
    of another model. `DescriptorsToShards` does the same on many workers.
    """
    load_index(job.storage, job.folder, job.model)
    partition = load_partition(job.storage, job.partition_uri)
    spills = [route_step(job, partition, part) for part in parts]
    plan = plan_shards(job.storage, spills, partition)
    save_plan(job.storage, job.folder, plan)
    shards = [
        build_shard(job.storage, job.folder, plan, number, partition)
        for number in range(plan.shards)
    ]
    return commit_step(job, partition, shards, grows=True)


def list_sizes(reader: ShardReader) -> Integers:
    """(lists,) how many vectors each list holds in all shards."""
    sizes = np.zeros(reader.index.lists, dtype=np.int64)
    for number in range(len(reader.index.shards)):
        shard = reader.shard(number)
        lists = shard.invlists
        sizes += [lists.list_size(position) for position in range(reader.index.lists)]
    return sizes


@dataclass(frozen=True)
class ShardVectors:
    """Reads the shards of an index as parts of a collection: their codes, or vectors.

    decoded: vectors, as they must be to train anew; a product quantiser's codes stay codes.
    """

    storage: Storage
    folder: str
    decoded: bool

    def parts(self) -> list[Part]:
        """(number, number as text) of each shard."""
        shards = load_index(self.storage, self.folder).shards
        return [(number, str(number)) for number in range(len(shards))]

    def __call__(self, uri: str) -> tuple[Vectors, Integers]:
        reader = ShardReader(self.storage, self.folder)
        shard = reader.shard(int(uri))
        lists = shard.invlists
        codes = [np.empty((0, lists.code_size), np.uint8)]
        ids = [np.empty(0, np.int64)]
        for number in range(reader.index.lists):
            size = lists.list_size(number)
            if size:
                held = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size)
                codes.append(held.reshape(size, lists.code_size).copy())
                ids.append(faiss.rev_swig_ptr(lists.get_ids(number), size).copy())
        vectors: Vectors = np.concatenate(codes)
        if self.decoded:
            vectors = reader.partition.decode(vectors)
        return vectors, np.concatenate(ids)


def compaction(
    storage: Storage, folder: str, into: str, drift_limit: float = DRIFT_LIMIT
) -> tuple[IndexJob, list[Part]]:
    """What to build, here or by `DescriptorsToShards`, to have the index at `folder` anew.

    The old index is only read, and stays until its owner deletes it. The number of lists follows
    from the number of vectors, where the partition is trained anew.
    """
    reader = ShardReader(storage, folder)
    partition, index = reader.partition, reader.index
    drifted = imbalance(list_sizes(reader)) > drift_limit * partition.imbalance
    coded = partition.options.coding.product
    read = ShardVectors(storage, folder, decoded=drifted and not coded)
    if not drifted:
        save_partition(storage, f"{into}/{PARTITION}", partition)
    codebook = _codebook(partition) if coded else None
    options: IndexOptions = partition.options
    job = IndexJob(storage, into, read, index.vectors, options, index.model, codebook)
    return job, read.parts()


def compact_index(
    storage: Storage, folder: str, into: str, drift_limit: float = DRIFT_LIMIT
) -> Index:
    """Write the index at `folder` anew at `into`: few shards of full size, lists in balance."""
    return build_index(*compaction(storage, folder, into, drift_limit))


def _codebook(partition: Partition) -> Floats:
    pq = partition.new_index().pq
    centroids = faiss.vector_to_array(pq.centroids).reshape(pq.M, pq.ksub, pq.dsub)
    return np.asarray(centroids, dtype=np.float32)
