"""The indexes of a generation, searched for single images: only the visited lists are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.candidates.mapped_tables import DescribedSide
from copydetect.catalog.generations import Generation, part_uris, refuse_damaged
from copydetect.catalog.readable import numbers_of
from copydetect.description.views import VIEW_NAMES
from copydetect.index.channels import IMAGE_SHIFT
from copydetect.index.partitions import Vectors
from copydetect.index.shards import INDEX, ShardReader, list_of
from copydetect.index.spills import Records
from copydetect.search.feature_join import is_exact
from copydetect.search.neighbors import (
    RESULT,
    Neighbors,
    merge_results,
    result_records,
    search_shard,
)
from copydetect.search.queries import SearchOptions, query_records, travelling
from copydetect.sorted_rows import is_among
from copydetect.storage.files import Storage
from copydetect.types import Bools, Floats, Ints


@dataclass(frozen=True)
class BankIndex:
    """One channel of a generation. living: (numbers,) bool, whether an image is still there."""

    storage: Storage
    folder: str
    living: Bools

    @cached_property
    def reader(self) -> ShardReader:
        """Its shards, each mapped when it is first visited."""
        return ShardReader(self.storage, self.folder)

    def nearest(self, vectors: Vectors, ids: Ints, options: SearchOptions) -> Neighbors:
        """What vectors are near to, by their ids, without images that are gone."""
        reader, partition = self.reader, self.reader.partition
        if not len(ids):
            return Neighbors.of(np.empty(0, RESULT), 0)
        probes = partition.nearest_lists(vectors, options.probes_in(partition))
        pieces = [np.empty(0, RESULT)]
        for shard, rows in reader.index.shards_of(probes):
            if is_exact(reader.shard(shard)):
                asked = vectors[rows], probes[rows], ids[rows]
                pieces.append(_looked_up(reader, shard, *asked, options.k))
            else:
                sent = travelling(vectors[rows], partition)
                records = query_records(sent, ids[rows], probes[rows])
                pieces.append(search_shard(reader, shard, records, options)[1])
        results = np.concatenate(pieces[1:] or pieces)
        results = results[self.living[results["id"] >> IMAGE_SHIFT]]
        return merge_results(results, options)


def _looked_up(
    reader: ShardReader, shard: int, vectors: Vectors, probes: Ints, queries: Ints, k: int
) -> Records:
    """`RESULT` records of the k nearest of features by FAISS, which adds up distances from a table:
    of the few of one picture quicker than to decode the lists, and as exact, for the codebook is on
    a grid. Which of equal ones are the last differs, and these count for nothing in a vote."""
    held, ends = reader.shard(shard), reader.index.shards[shard]
    outside = (probes < ends.first_list) | (probes > ends.last_list)
    held.nprobe = probes.shape[1]
    floats = reader.partition.decode(vectors)
    distances, ids = held.search_preassigned(floats, k, np.where(outside, -1, probes), None)
    rows, columns = np.nonzero(ids >= 0)
    return result_records(queries[rows], ids[rows, columns], -distances[rows, columns])


@dataclass(frozen=True)
class IndexedSide(DescribedSide):
    """The descriptors of a generation, whose vectors are in the shards of its index.

    places: (n, 3) int64, shard, list and position of each of `ids`.
    """

    reader: ShardReader | None = None
    places: Ints | None = None

    @classmethod
    def of(
        cls, storage: Storage, catalog: str, generation: Generation, reader: ShardReader
    ) -> IndexedSide:
        """Where every vector is, and its weight."""
        ids, places = _places(reader)
        order = np.argsort(ids)
        ids, places = ids[order], places[order]
        known, weights = _weights(storage, part_uris(catalog, generation.parts, "descriptors"))
        there = is_among(ids, known)
        ids, places = ids[there], places[there]
        unasked, start = np.zeros(len(ids), np.bool_), np.zeros(1, np.int64)
        described = ids, weights[np.searchsorted(known, ids)], unasked
        return cls(storage, "", *described, start, reader, places)

    def vectors(self, rows: Ints) -> Floats:
        """(n, d) float32 of some rows, as they are coded."""
        assert self.reader is not None
        assert self.places is not None
        return np.stack([_decoded(self.reader, *map(int, self.places[row])) for row in rows])


def _places(reader: ShardReader) -> tuple[Ints, Ints]:
    ids, places = [np.empty(0, np.int64)], [np.empty((0, 3), np.int64)]
    for number, shard in enumerate(reader.index.shards):
        held = reader.shard(number)
        for one in range(shard.first_list, shard.last_list + 1):
            ids.append(list_of(held, one)[0].copy())
            place = np.empty((len(ids[-1]), 3), np.int64)
            place[:] = number, one, 0
            place[:, 2] = np.arange(len(place))
            places.append(place)
    return np.concatenate(ids), np.concatenate(places)


def _decoded(reader: ShardReader, shard: int, one: int, position: int) -> Floats:
    _, codes = list_of(reader.shard(shard), one)
    vector: Floats = reader.partition.decode(codes[position : position + 1].copy())[0]
    return vector


def _weights(storage: Storage, uris: Sequence[str]) -> tuple[Ints, Floats]:
    """Ids, ascending, and weights of all descriptors; vectors are not read."""
    ids, weights = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for uri in uris:
        table = tables.read_table(storage, uri, ["image_id", "view", "weight"])
        views = pc.index_in(table["view"], value_set=pa.array(VIEW_NAMES)).to_numpy()
        ids.append(numbers_of(table["image_id"]) << IMAGE_SHIFT | views.astype(np.int64))
        weights.append(table["weight"].to_numpy().astype(np.float32))
    together = np.concatenate(ids)
    order = np.argsort(together)
    return together[order], np.concatenate(weights)[order]


def index_folder(storage: Storage, catalog: str, generation: Generation, channel: str) -> str:
    """Where the index of a channel is; RunError where its list of shards is damaged. Each shard is
    checked when it is first visited."""
    folder = runs.join(catalog, generation.name, "index", channel)
    listed = f"{folder}/{INDEX}"[len(catalog.rstrip("/")) + 1 :]
    entries = [entry for entry in generation.tables["index"] if entry.path == listed]
    refuse_damaged(storage, catalog, entries)
    return folder
