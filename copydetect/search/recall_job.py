"""The steps in which a run measures the recall of its own search.

parts of queries → a sample → its exact neighbours in each part of the references → figures
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from copydetect import runs
from copydetect.index.channels import IMAGE_SHIFT, DescriptorReader, KeypointReader
from copydetect.index.partitions import Partition, load_partition
from copydetect.index.routing import Part, sample_part
from copydetect.index.shards import PARTITION
from copydetect.index.spills import read_arrays, write_arrays
from copydetect.search.neighbors import Neighbors, merge_results, neighbors_uri, read_neighbors
from copydetect.search.queries import SearchOptions
from copydetect.search.recall import Recall, exact_in_part, recall_of
from copydetect.sorted_rows import place_in_run
from copydetect.storage.files import Storage

_QUERIES = 300


@dataclass(frozen=True)
class RecallJob:
    """The measurement of a finished search's recall on a sample of its queries.

    asked, sought: readers of the queries and of the references; queries: counts those; searched,
    index_folder: of what was found, and of the index; ranks: k of each recall; folder: for the
    result and what leads to it.
    """

    storage: Storage
    asked: DescriptorReader | KeypointReader
    sought: DescriptorReader | KeypointReader
    queries: Callable[[], int]
    searched: str
    index_folder: str
    options: SearchOptions
    ranks: tuple[int, ...]
    folder: str

    @property
    def uri(self) -> str:
        """Where the figures are."""
        return runs.join(self.folder, "recall.json")

    @property
    def nearest_uri(self) -> str:
        """Where the images are that are exactly nearest to sampled queries."""
        return runs.join(self.folder, "nearest.npz")

    def partition(self) -> Partition:
        """That of the index."""
        return load_partition(self.storage, runs.join(self.index_folder, PARTITION))

    def is_exact(self) -> bool:
        """Whether queries visit every list, so that there is nothing to measure. Local features are
        codes, whose distances are never exact."""
        if isinstance(self.asked, KeypointReader):
            return False
        partition = self.partition()
        return self.options.probes_in(partition) >= partition.lists

    def piece_uri(self, kind: str, part: int) -> str:
        """Where what is found in one part is."""
        return runs.join(self.folder, kind, runs.part_name(part, "npz"))

    @property
    def sample_uri(self) -> str:
        """Where the sample of all parts is."""
        return runs.join(self.folder, "sample.npz")


def parts_to_sample(job: RecallJob) -> list[Part]:
    """The parts of the queries; none where nothing is to be measured."""
    return [] if job.is_exact() else job.asked.numbered()


def sample_step(job: RecallJob, partition: Partition, part: Part) -> None:
    """Write the sampled queries of a part, and what the search found for them."""
    share = min(1.0, _QUERIES / max(job.queries(), 1))
    vectors, ids = sample_part(job.asked, part, share)
    found = read_neighbors(job.storage, neighbors_uri(job.searched, part[0]))
    rows = np.isin(found.queries, ids)
    write_arrays(
        job.storage,
        job.piece_uri("sample", part[0]),
        part[1],
        vectors=partition.decode(vectors),
        ids=ids,
        found_queries=found.queries[rows],
        found_ids=found.ids[rows],
        found_scores=found.scores[rows],
    )


def parts_to_search(job: RecallJob) -> list[Part]:
    """Write the sample of all parts; the parts of the references, where it is to be searched."""
    asked = parts_to_sample(job)
    if not asked:
        return []
    uris = [job.piece_uri("sample", number) for number, _ in asked]
    pieces = [read_arrays(job.storage, uri)[1] for uri in uris]
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    order = np.lexsort((-columns["found_scores"], columns["found_queries"]))
    for name in ("found_queries", "found_ids", "found_scores"):
        columns[name] = columns[name][order]
    write_arrays(job.storage, job.sample_uri, "", **columns)
    return job.sought.numbered()


def exact_step(job: RecallJob, partition: Partition, part: Part) -> None:
    """Write the exact neighbours that the sample has in one part."""
    sample = read_arrays(job.storage, job.sample_uri)[1]
    queries = sample["vectors"], sample["ids"]
    results = exact_in_part(job.sought, part, queries, partition, job.options)
    write_arrays(job.storage, job.piece_uri("exact", part[0]), part[1], results=results)


def recall_step(job: RecallJob) -> None:
    """Write how many of the exact neighbours were found, by k, and which images they are."""
    recalls: list[list[int]] = []
    if not job.is_exact():
        sample = read_arrays(job.storage, job.sample_uri)[1]
        found = Neighbors(sample["found_queries"], sample["found_ids"], sample["found_scores"])
        uris = [job.piece_uri("exact", number) for number, _ in job.sought.numbered()]
        pieces = [read_arrays(job.storage, uri)[1]["results"] for uri in uris]
        exact = merge_results(np.concatenate(pieces), job.options)
        write_nearest(job.storage, job.nearest_uri, exact, found, max(job.ranks))
        for k in job.ranks:
            one = recall_of(found, exact, k)
            recalls.append([one.found, one.wanted, len(sample["ids"]), k])
    job.storage.write(job.uri, json.dumps(recalls).encode())


def read_recalls(job: RecallJob) -> dict[int, Recall]:
    """The measured recalls by k; none where the search is exact."""
    rows = json.loads(job.storage.read(job.uri))
    return {row[-1]: Recall(*row) for row in rows}


def write_nearest(storage: Storage, uri: str, exact: Neighbors, found: Neighbors, k: int) -> None:
    """Write down which images the exact k nearest of a few queries belong to, and which of these
    were not found."""
    wanted = exact.take(place_in_run(exact.queries) < k)
    nearest, seen = (np.stack([one.queries, one.ids], 1) >> IMAGE_SHIFT for one in (wanted, found))
    nearest = np.unique(nearest, axis=0)
    known = {(query, reference) for query, reference in seen.tolist()}
    lost = np.array([tuple(pair) not in known for pair in nearest.tolist()], bool)
    write_arrays(storage, uri, "", nearest=nearest, lost=lost)
