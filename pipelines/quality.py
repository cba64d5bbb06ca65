"""What a run's own search loses: a few of its queries are answered exactly, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np

from copydetect import runs
from copydetect.index.channels import DescriptorReader
from copydetect.index.partitions import Floats, Integers, Partition, load_partition
from copydetect.index.routing import Part, sample_part
from copydetect.index.shards import PARTITION
from copydetect.index.spills import read_arrays, write_arrays
from copydetect.search.neighbors import Neighbors, merge_results, read_neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.recall import Recall, exact_in_part, recall_of
from copydetect.storage import Storage
from pipelines.lost_copies import NEAREST, write_nearest
from pipelines.stages import Search, Workplace, part_files

_QUERIES = 300
_RANKS = (1, 10)


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
    read: DescriptorReader
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
    read: DescriptorReader
    queries: tuple[Floats, Integers]
    partition: Partition
    options: SearchOptions

    def __call__(self, part: Part) -> str:
        results = exact_in_part(self.read, part, self.queries, self.partition, self.options)
        uri = runs.join(self.folder, "exact", runs.part_name(part[0], "npz"))
        write_arrays(self.storage, uri, part[1], results=results)
        return uri


def search_quality(
    place: Workplace, search: Search, neighbors: Sequence[str], options: SearchOptions
) -> dict[str, float]:
    """The recall of the descriptor search against exact search, for the manifest.

    neighbors: the files that the search wrote, by part. 1 without a look where a query visits
    every list; nothing where nothing was searched.
    """
    if not neighbors:
        return {}
    index = runs.join(place.folder, "index", "descriptors")
    partition = load_partition(place.storage, f"{index}/{PARTITION}")
    if options.probes_in(partition) >= partition.lists:
        return {f"search_recall_at_{k}": 1.0 for k in _RANKS} | {"search_copies_lost": 0.0}
    folder = runs.join(place.folder, "search", "quality")
    sample = _sample(place, search, neighbors, partition, folder)
    exact = _exact(place, search, sample, partition, options, folder)
    write_nearest(place.storage, runs.join(folder, NEAREST), exact, sample.found, max(_RANKS))
    recalls = {k: recall_of(sample.found, exact, k) for k in _RANKS}
    return _figures(recalls)


def _figures(recalls: dict[int, Recall]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for k, recall in recalls.items():
        low, high = recall.interval
        figures[f"search_recall_at_{k}"] = recall.value
        figures[f"search_recall_at_{k}_low"] = low
        figures[f"search_recall_at_{k}_high"] = high
        figures["search_recall_queries"] = float(recall.queries)
    return figures


def _sample(
    place: Workplace, search: Search, neighbors: Sequence[str], partition: Partition, folder: str
) -> _Sample:
    files = part_files(place, search.queries, "descriptors", search.query_parts)
    total = sum(place.rows(uri) for uri in files.channel)
    read = DescriptorReader(place.storage, files, "half_query" if search.symmetric else "query")
    share = min(1.0, _QUERIES / max(total, 1))
    work = _SampleQueries(place.storage, folder, read, tuple(neighbors), partition, share)
    place.engine.run(
        "recall",
        lambda p: p | beam.Create(files.parts()) | beam.Reshuffle() | beam.Map(work),
    )
    pieces = [read_arrays(place.storage, uri)[1] for uri in place.files(folder, "sample")]
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    order = np.lexsort((-columns["found_scores"], columns["found_queries"]))
    names = ("found_queries", "found_ids", "found_scores")
    queries, ids, scores = (columns[name][order] for name in names)
    found = Neighbors(queries, ids, scores)
    return _Sample(columns["vectors"], columns["ids"], found)


def _exact(
    place: Workplace,
    search: Search,
    sample: _Sample,
    partition: Partition,
    options: SearchOptions,
    folder: str,
) -> Neighbors:
    files = part_files(place, search.references, "descriptors", search.reference_parts)
    read = DescriptorReader(
        place.storage, files, "half_reference" if search.symmetric else "reference"
    )
    queries = (sample.vectors, sample.ids)
    work = _SearchExactly(place.storage, folder, read, queries, partition, options)
    place.engine.run(
        "recall",
        lambda p: p | beam.Create(files.parts()) | beam.Reshuffle() | beam.Map(work),
    )
    pieces = [read_arrays(place.storage, uri)[1] for uri in place.files(folder, "exact")]
    return merge_results(np.concatenate([piece["results"] for piece in pieces]), options)
