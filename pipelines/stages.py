"""The stages that `dedup` and `match` share; each is one Beam pipeline from files to files."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
from pyarrow import parquet

from copydetect import runs, tables
from copydetect.channels import PartFiles
from copydetect.index import IndexJob, SearchJob
from copydetect.inputs import find_sources
from copydetect.partitions import IndexOptions
from copydetect.parts import LISTING, content_digest, part_count, refuse_duplicate_ids
from copydetect.queries import SearchOptions
from copydetect.storage import Storage
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from copydetect.transforms.images_to_refs import ImagesToRefs
from copydetect.transforms.refs_to_descriptions import (
    DescriberSetup,
    RefsToDescriptions,
    part_uri,
)
from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors
from copydetect.types import Role
from pipelines.engine import Engine


@dataclass(frozen=True)
class Listing:
    """The images of one role: how many, a digest of their content, and the listing files."""

    role: Role
    images: int
    digest: str
    uris: tuple[str, ...]


@dataclass(frozen=True)
class Workplace:
    """Where a job works: its engine, its storage, and the folder of the run."""

    engine: Engine
    storage: Storage
    folder: str

    def part_uris(self, table: str, role: Role, parts: int) -> tuple[str, ...]:
        """The files of a table, one a part."""
        return tuple(part_uri(self.folder, table, role, part) for part in range(parts))

    def rows(self, uri: str) -> int:
        """How many rows a part file has."""
        with self.storage.open(uri) as file:
            return int(parquet.read_metadata(file).num_rows)


def list_images(
    engine: Engine, storage: Storage, source: str, role: Role, folder: str
) -> Listing:
    """List an input and hash its images; InputError where there are none."""
    sources = find_sources(storage, source)
    engine.run(
        f"list {role}s",
        lambda pipeline: pipeline | ImagesToRefs(storage, sources, role, folder),
    )
    prefix = runs.join(folder, role)
    found = [f.uri for f in storage.files_under(folder) if f.uri.startswith(prefix)]
    listing = tables.read_tables(storage, found, LISTING)
    refuse_duplicate_ids(listing)
    return Listing(role, listing.num_rows, content_digest(listing), tuple(found))


def describe(place: Workplace, listing: Listing, setup: DescriberSetup) -> int:
    """Describe the listed images in parts; returns how many parts. Parts that are done stay."""
    parts = part_count(listing.images)
    images = place.part_uris("images", listing.role, parts)
    done = {part for part, uri in enumerate(images) if place.storage.exists(uri)}
    transform = RefsToDescriptions(
        place.storage,
        setup,
        listing.role,
        place.folder,
        parts,
        set(range(parts)) - done,
    )
    place.engine.run(
        f"describe {listing.role}s",
        lambda pipeline: pipeline | beam.Create(listing.uris) | transform,
        total=listing.images,
        done=lambda: sum(map(place.storage.exists, images)) * listing.images // parts,
    )
    return parts


def part_files(place: Workplace, role: Role, table: str, parts: int) -> PartFiles:
    """The part files of one channel of a described role, with its image numbers."""
    images = place.part_uris("images", role, parts)
    counts = [place.rows(uri) for uri in images]
    starts = tuple(int(n) for n in np.cumsum([0, *counts[:-1]]))
    return PartFiles(images, place.part_uris(table, role, parts), starts)


@dataclass(frozen=True)
class Channel:
    """One channel of a search: how references are read and indexed, and queries are asked.

    searches: by name, one for each way to ask.
    """

    name: str
    references: PartFiles
    queries: PartFiles
    read: Read
    searches: dict[str, Read]
    index: IndexOptions
    search: SearchOptions
    model: str
    codebook: Floats | None = None


def search(place: Workplace, channel: Channel) -> dict[str, list[str]]:
    """Index the references of a channel and search it; neighbours files, one a part, by search."""
    index_folder = runs.join(place.folder, "index", channel.name)
    job = IndexJob(
        storage=place.storage,
        folder=index_folder,
        read=channel.read,
        vectors=sum(place.values(uri) for uri in channel.references.channel),
        options=channel.index,
        model=channel.model,
        codebook=channel.codebook,
    )
    place.engine.run(
        f"index {channel.name}",
        lambda pipeline: pipeline
        | beam.Create(channel.references.parts())
        | DescriptorsToShards(job),
    )

    def ask(pipeline: beam.Pipeline) -> None:
        for name, read in channel.searches.items():
            folder = place.search_folder(name)
            search_job = SearchJob(place.storage, folder, read, index_folder, channel.search)
            parts = pipeline | f"{name} parts" >> beam.Create(channel.queries.parts())
            _ = parts | f"search {name}" >> ShardsToNeighbors(search_job)

    place.engine.run(f"search {channel.name}", ask)
    return {
        name: [neighbors_uri(place.search_folder(name), part) for part, _ in channel.queries.parts()]
        for name in channel.searches
    }
