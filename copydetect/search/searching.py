"""A search of an index, and its first step: which lists each query visits."""

from __future__ import annotations

from dataclasses import dataclass

from copydetect.index.routing import Part, Read, probes_uri
from copydetect.index.shards import ShardReader
from copydetect.search.queries import (
    SearchOptions,
    route_queries,
)
from copydetect.storage.files import Storage
from copydetect.workers.threads import limit_threads


@dataclass(frozen=True)
class SearchJob:
    """One search of an index: its queries, its options and its folder.

    folder: of the search; same_parts: the parts are those of the index and were routed into it
    with `self_probes`, so that the lists to visit are known.
    """

    storage: Storage
    folder: str
    read: Read
    index_folder: str
    options: SearchOptions
    same_parts: bool = False


def query_step(job: SearchJob, reader: ShardReader, part: Part) -> str:
    """Route one part of queries."""
    limit_threads(job.options.threads)
    # Routing into a single list leaves nothing to know.
    same_lists = job.same_parts and reader.partition.lists > 1
    known = probes_uri(job.index_folder, part[0]) if same_lists else ""
    return route_queries(
        job.storage, job.folder, job.read, part, reader.partition, reader.index, job.options, known
    )
