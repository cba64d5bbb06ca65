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

    folder: of the search; routed: the folder of an index of the same partition, into which the
    parts were routed with `self_probes`, so that the lists to visit are known; "" for none.
    """

    storage: Storage
    folder: str
    read: Read
    index_folder: str
    options: SearchOptions
    routed: str = ""


def query_step(job: SearchJob, reader: ShardReader, part: Part) -> str:
    """Route one part of queries."""
    limit_threads(job.options.threads)
    # Routing into a single list leaves nothing to know.
    known = probes_uri(job.routed, part[0]) if job.routed and reader.partition.lists > 1 else ""
    return route_queries(
        job.storage, job.folder, job.read, part, reader.partition, reader.index, job.options, known
    )
