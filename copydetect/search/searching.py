"""A search of an index: its input, its options and its files; and its first step: which lists each
query visits."""

from __future__ import annotations

from dataclasses import dataclass

from copydetect.index.routing import Part, Read, probes_uri
from copydetect.index.shards import ShardReader
from copydetect.index.spills import BUNDLED, is_bundled
from copydetect.search.queries import SearchOptions, queries_uri, route_queries
from copydetect.storage.files import Storage
from copydetect.workers.threads import limit_threads


@dataclass(frozen=True)
class SearchJob:
    """One search of an index: its queries, its options and its folder.

    folder: of the search; routed: the folder of an index of the same partition, into which the
    parts were routed with `self_probes`, so that the lists to visit are known, "" for none; parts:
    of the queries, where there may be many; rounds: 2 where what a query finds in the shard of its
    nearest list tells the others what is worth a look, which costs a step, 1 where they would make
    nothing of it.
    """

    storage: Storage
    folder: str
    read: Read
    index_folder: str
    options: SearchOptions
    routed: str = ""
    parts: int = 0
    rounds: int = 2

    @property
    def bundled(self) -> bool:
        """Whether there are so many parts that what they exchange with shards is bundled."""
        return is_bundled(self.parts)

    @property
    def group(self) -> int:
        """How many parts make a group, whose queries a shard reads together."""
        return BUNDLED if self.bundled else 1

    def parts_of(self, group: int) -> range:
        """The parts of a group."""
        last = (group + 1) * self.group
        return range(group * self.group, min(last, self.parts) if self.bundled else last)

    def queries_for(self, group: int, destination: int) -> str:
        """Where the queries of a group are that go to one destination."""
        if self.bundled:
            return self.bundle_uri("queries", group, destination // BUNDLED)
        return queries_uri(self.folder, group)

    def bundle_uri(self, kind: str, group: int, section: int) -> str:
        """Where what a group sends to a section of destinations, or gets from one, is."""
        return f"{self.folder}/{kind}-bundles/group-{group:05d}-section-{section:05d}.spill"


def query_step(job: SearchJob, reader: ShardReader, part: Part) -> str:
    """Route one part of queries."""
    limit_threads(job.options.threads)
    # Routing into a single list leaves nothing to know.
    known = probes_uri(job.routed, part[0]) if job.routed and reader.partition.lists > 1 else ""
    return route_queries(
        job.storage,
        job.folder,
        job.read,
        part,
        reader.partition,
        reader.index,
        job.options,
        job.rounds,
        known,
    )
