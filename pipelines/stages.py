"""The stages that `dedup` and `match` share; each is one Beam pipeline from files to files."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
import numpy as np
from pyarrow import parquet

from copydetect import runs, tables
from copydetect.channels import DescriptorReader, KeypointReader, PartFiles, Side
from copydetect.index import IndexJob, SearchJob
from copydetect.inputs import find_sources
from copydetect.keypoints import load_quantiser
from copydetect.partitions import IndexOptions
from copydetect.parts import LISTING, content_digest, part_count, refuse_duplicate_ids
from copydetect.queries import SearchOptions
from copydetect.storage import Storage
from copydetect.transforms.descriptors_to_shards import DescriptorsToShards
from copydetect.transforms.images_to_refs import ImagesToRefs
from copydetect.transforms.neighbors_to_votes import NeighborsToVotes
from copydetect.transforms.refs_to_descriptions import (
    DescriberSetup,
    RefsToDescriptions,
    part_uri,
)
from copydetect.transforms.shards_to_neighbors import ShardsToNeighbors
from copydetect.types import Role
from copydetect.votes import VoteOptions
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

    def leaves(self, uri: str, column: str) -> int:
        """How many values the lists of a column hold together, about: empty lists count as one."""
        with self.storage.open(uri) as file:
            metadata = parquet.read_metadata(file)
        at = [field.path.split(".")[0] for field in metadata.schema].index(column)
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        return sum(group.column(at).num_values for group in groups)

    def files(self, *folder: str) -> list[str]:
        """The files of a folder, in the order of their parts."""
        return [file.uri for file in self.storage.files_under(runs.join(*folder))]


def list_images(engine: Engine, storage: Storage, source: str, role: Role, folder: str) -> Listing:
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
class Search:
    """What is searched in what: the described roles, with the number of their parts."""

    queries: Role
    query_parts: int
    references: Role
    reference_parts: int

    @property
    def symmetric(self) -> bool:
        """Whether a collection is searched for itself."""
        return self.queries == self.references


def search_descriptors(
    place: Workplace, search: Search, index: IndexOptions, options: SearchOptions, model: str
) -> list[str]:
    """Index the descriptors of the references and search them; neighbours files, by part."""
    references = part_files(place, search.references, "descriptors", search.reference_parts)
    queries = part_files(place, search.queries, "descriptors", search.query_parts)
    folder = runs.join(place.folder, "index", "descriptors")
    sides: tuple[Side, Side] = (
        ("half_query", "half_reference") if search.symmetric else ("query", "reference")
    )
    asked, searched = (
        DescriptorReader(place.storage, files, side)
        for files, side in zip((queries, references), sides, strict=True)
    )
    vectors = sum(place.rows(uri) for uri in references.channel)
    index_job = IndexJob(place.storage, folder, searched, vectors, index, model)
    found = runs.join(place.folder, "search", "descriptors")
    search_job = SearchJob(place.storage, found, asked, folder, options)

    def build(pipeline: beam.Pipeline) -> None:
        built = (
            pipeline
            | "references" >> beam.Create(references.parts())
            | DescriptorsToShards(index_job)
        )
        _ = (
            pipeline
            | "queries" >> beam.Create(queries.parts())
            | ShardsToNeighbors(search_job, built)
        )

    place.engine.run("search descriptors", build)
    return place.files(found, "neighbors")


def search_keypoints(
    place: Workplace, search: Search, index: IndexOptions, options: SearchOptions
) -> list[str]:
    """Index the local features of the references, search them and vote; votes files, by part."""
    quantiser = load_quantiser()
    references = part_files(place, search.references, "keypoints", search.reference_parts)
    queries = part_files(place, search.queries, "keypoints", search.query_parts)
    folder = runs.join(place.folder, "index", "keypoints")
    index_job = IndexJob(
        storage=place.storage,
        folder=folder,
        read=KeypointReader(place.storage, references),
        vectors=sum(place.leaves(uri, "x") for uri in references.channel),
        options=index,
        model=quantiser.identity,
        codebook=quantiser.centroids,
    )
    found = runs.join(place.folder, "search", "keypoints")

    def build(pipeline: beam.Pipeline) -> None:
        built = (
            pipeline
            | "references" >> beam.Create(references.parts())
            | DescriptorsToShards(index_job)
        )
        parts = pipeline | "queries" >> beam.Create(queries.parts())
        neighbors = tuple(
            parts
            | name
            >> ShardsToNeighbors(
                SearchJob(
                    place.storage,
                    runs.join(found, name),
                    KeypointReader(place.storage, queries, name == "mirrored"),
                    folder,
                    options,
                ),
                built,
            )
            for name in ("upright", "mirrored")
        )
        _ = neighbors | NeighborsToVotes(
            place.storage, queries, VoteOptions(), search.symmetric, runs.join(found, "votes")
        )

    place.engine.run("search keypoints", build)
    return place.files(found, "votes")
