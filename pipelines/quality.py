"""How much a run's own search misses: a few of its queries are also answered exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np

from copydetect import runs
from copydetect.index.channels import DescriptorReader, KeypointReader
from copydetect.index.partitions import Floats, Integers, Partition, load_partition
from copydetect.index.routing import Part, sample_part
from copydetect.index.shards import PARTITION
from copydetect.index.spills import read_arrays, write_arrays
from copydetect.parts import RowCounts, Sides, feature_count
from copydetect.search.neighbors import Neighbors, merge_results, read_neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.recall import Recall, exact_in_part, recall_of
from copydetect.storage.files import Storage
from copydetect.transforms.work_on_parts import WorkOnParts

from .lost_copies import NEAREST, write_nearest
from .stages import Workplace

_QUERIES = 300
_RANKS = (1, 10)


Reader = DescriptorReader | KeypointReader


@dataclass(frozen=True)
class _Searched:
    """A finished search: what was asked, in what, and the files of what was found, by part."""

    name: str
    asked: Reader
    sought: Reader
    neighbors: tuple[str, ...]

    def partition(self, place: Workplace) -> Partition:
        """That of its index."""
        return load_partition(place.storage, runs.join(place.folder, "index", self.name, PARTITION))

    def scratch(self, place: Workplace) -> str:
        """A folder for what is searched again."""
        return runs.join(place.folder, "search", "quality", self.name)


@dataclass(frozen=True)
class _Sample:
    """A few queries, and what the search found for them."""

    vectors: Floats
    ids: Integers
    found: Neighbors


@dataclass(frozen=True)
class _SampleQueries:
    """A part of the queries → the file of its sample."""

    storage: Storage
    folder: str
    read: Reader
    neighbors: tuple[str, ...]
    partition: Partition
    share: float

    def __call__(self, part: Part) -> str:
        vectors, ids = sample_part(self.read, part, self.share)
        found = read_neighbors(self.storage, self.neighbors[part[0]])
        rows = np.isin(found.queries, ids)
        uri = runs.join(self.folder, "sample", runs.part_name(part[0], "npz"))
        write_arrays(
            self.storage,
            uri,
            part[1],
            vectors=self.partition.decode(vectors),
            ids=ids,
            found_queries=found.queries[rows],
            found_ids=found.ids[rows],
            found_scores=found.scores[rows],
        )
        return uri


@dataclass(frozen=True)
class _SearchExactly:
    """A part of the references → the file of the sample's exact neighbours in it."""

    storage: Storage
    folder: str
    read: Reader
    queries: tuple[Floats, Integers]
    partition: Partition
    options: SearchOptions

    def __call__(self, part: Part) -> str:
        results = exact_in_part(self.read, part, self.queries, self.partition, self.options)
        uri = runs.join(self.folder, "exact", runs.part_name(part[0], "npz"))
        write_arrays(self.storage, uri, part[1], results=results)
        return uri


def search_quality(
    place: Workplace, sides: Sides, neighbors: Sequence[str], options: SearchOptions
) -> dict[str, float]:
    """The recall of the descriptor search against exact search, for the manifest.

    neighbors: the files that the search wrote, by part. The recall is 1, without measuring, where a
    query visits every list; nothing is returned where nothing was searched.
    """
    if not neighbors:
        return {}
    asked, sought = (DescriptorReader(place.storage, side) for side in sides)
    channel = _Searched("descriptors", asked, sought, tuple(neighbors))
    partition = channel.partition(place)
    if options.probes_in(partition) >= partition.lists:
        return {f"search_recall_at_{k}": 1.0 for k in _RANKS} | {"search_copies_lost": 0.0}
    total = sum(RowCounts(place.storage, asked.uris))
    sample = _sample(place, channel, partition, min(1.0, _QUERIES / max(total, 1)))
    exact = _exact(place, channel, sample, partition, options)
    folder = runs.join(place.folder, "search", "quality")
    write_nearest(place.storage, runs.join(folder, NEAREST), exact, sample.found, max(_RANKS))
    figures = {"search_recall_queries": float(len(sample.ids))}
    for k in _RANKS:
        figures |= _figures(f"search_recall_at_{k}", recall_of(sample.found, exact, k))
    return figures


def feature_quality(place: Workplace, sides: Sides, options: SearchOptions) -> dict[str, float]:
    """The recall of the search of local features, of as many as vote, for the manifest.

    A copy has many features, and is found by a few.
    """
    neighbors = place.files(place.folder, "search", "keypoints", "upright", "neighbors")
    if not neighbors:
        return {}
    asked, sought = (KeypointReader(place.storage, side) for side in sides)
    channel = _Searched("keypoints", asked, sought, tuple(neighbors))
    partition = channel.partition(place)
    total = feature_count(place.storage, asked.uris)
    sample = _sample(place, channel, partition, min(1.0, _QUERIES / max(total, 1)))
    exact = _exact(place, channel, sample, partition, options)
    return _figures("feature_recall", recall_of(sample.found, exact, options.k))


def _figures(name: str, recall: Recall) -> dict[str, float]:
    low, high = recall.interval
    return {name: recall.value, f"{name}_low": low, f"{name}_high": high}


def _sample(place: Workplace, channel: _Searched, partition: Partition, share: float) -> _Sample:
    folder = channel.scratch(place)
    work = _SampleQueries(place.storage, folder, channel.asked, channel.neighbors, partition, share)
    parts = channel.asked.numbered()
    _on_parts(place, parts, work)
    pieces = [read_arrays(place.storage, uri)[1] for uri in place.files(folder, "sample")]
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    order = np.lexsort((-columns["found_scores"], columns["found_queries"]))
    names = ("found_queries", "found_ids", "found_scores")
    queries, ids, scores = (columns[name][order] for name in names)
    return _Sample(columns["vectors"], columns["ids"], Neighbors(queries, ids, scores))


def _exact(
    place: Workplace,
    channel: _Searched,
    sample: _Sample,
    partition: Partition,
    options: SearchOptions,
) -> Neighbors:
    folder = channel.scratch(place)
    queries = (sample.vectors, sample.ids)
    work = _SearchExactly(place.storage, folder, channel.sought, queries, partition, options)
    parts = channel.sought.numbered()
    _on_parts(place, parts, work)
    pieces = [read_arrays(place.storage, uri)[1] for uri in place.files(folder, "exact")]
    return merge_results(np.concatenate([piece["results"] for piece in pieces]), options)


def _on_parts(place: Workplace, parts: Sequence[Part], work: Callable[[Part], str]) -> None:
    done = WorkOnParts(work, place.started)
    place.engine.run("recall", lambda p: p | beam.Create(parts) | beam.ParDo(done))
