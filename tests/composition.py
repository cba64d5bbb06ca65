"""What the pipelines must give: the pure functions, one after the other, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from copydetect import tables
from copydetect.candidates.candidate_job import CandidateJob, Proposals
from copydetect.candidates.densities import DensityOptions
from copydetect.candidates.merging import write_candidates
from copydetect.description.describing import Describer, describe_part
from copydetect.description.keypoints import load_quantiser
from copydetect.description.views import VIEW_NAMES
from copydetect.grouping.groups import GroupOptions, group_copies, images_to_look_at
from copydetect.grouping.histories import histories_of
from copydetect.grouping.places import groups_table
from copydetect.index.building import IndexJob, build_index
from copydetect.index.channels import DescriptorReader, KeypointReader
from copydetect.inputs.finding import find_sources
from copydetect.inputs.listing import list_images
from copydetect.inputs.sources import read_source
from copydetect.options import RunOptions
from copydetect.parts import RoleParts, Sides
from copydetect.search.searching import SearchJob, search_index
from copydetect.search.vote_parts import vote_part, write_votes
from copydetect.search.votes import VoteOptions
from copydetect.settings import Settings
from copydetect.storage.files import LocalStorage
from copydetect.types import Role
from copydetect.verification.calibration import Task
from copydetect.verification.match_parts import PairImages, verify_part

STORAGE = LocalStorage()


def default_settings(task: Task = "dedup", **changes: Any) -> Settings:
    """The settings of a run that is told nothing but `changes`."""
    return Settings.of(RunOptions(**changes), task, STORAGE)


@dataclass(frozen=True)
class Described:
    """The tables of one role, all of it one part, and their files."""

    role: Role
    folder: Path

    @staticmethod
    def of(role: Role, photos: Path, folder: Path, describer: Describer) -> Described:
        (piece,) = find_sources(STORAGE, str(photos)).pieces
        listed = list_images(read_source(STORAGE, piece, role))
        described = describe_part(STORAGE, listed, describer)
        self = Described(role, folder)
        for name, table in vars(described).items():
            tables.write_table(STORAGE, self.uri(name), table)
        return self

    def uri(self, name: str) -> str:
        return str(self.folder / f"{self.role}-{name}.parquet")

    def table(self, name: str) -> pa.Table:
        return tables.read_table(STORAGE, self.uri(name))

    def files(self) -> RoleParts:
        rows = (len(self.table("images")),)
        images, descriptors, keypoints = map(self.uri, ("images", "descriptors", "keypoints"))
        return RoleParts((images,), rows, (descriptors,), (keypoints,))


@dataclass(frozen=True)
class Composition:
    """Queries searched in references; where both are one, a collection in itself."""

    queries: Described
    references: Described
    folder: Path

    @property
    def symmetric(self) -> bool:
        return self.queries == self.references

    @property
    def exclude(self) -> str:
        return "image" if self.symmetric else "none"

    def neighbors(self, settings: Settings, model: str) -> str:
        """Descriptors' neighbours."""
        asked = DescriptorReader(STORAGE, self.queries.files())
        read = DescriptorReader(STORAGE, self.references.files())
        count = len(self.references.table("descriptors"))
        folder = str(self.folder / "descriptors-index")
        index = settings.descriptor_index
        build_index(IndexJob(STORAGE, folder, read, count, index, model), read.numbered())
        search = settings.descriptor_search(self.symmetric)
        job = SearchJob(STORAGE, str(self.folder / "neighbors"), asked, folder, search)
        (uri,) = search_index(job, asked.numbered())
        return uri

    def votes(self, settings: Settings) -> str:
        """Local features' votes."""
        quantiser = load_quantiser()
        count = sum(map(len, self.references.table("keypoints")["x"].to_pylist()))
        folder = str(self.folder / "keypoints-index")
        index = settings.feature_index
        read = KeypointReader(STORAGE, self.references.files())
        build_index(
            IndexJob(STORAGE, folder, read, count, index, quantiser.identity, quantiser.centroids),
            read.numbered(),
        )
        found = []
        for mirrored in (False, True):
            asked = KeypointReader(STORAGE, self.queries.files(), mirrored)
            place = str(self.folder / f"hits-{mirrored}")
            job = SearchJob(STORAGE, place, asked, folder, settings.feature_search(self.symmetric))
            found += search_index(job, asked.numbered())
        uri = str(self.folder / "votes.npz")
        votes = vote_part(STORAGE, self.queries.files(), 0, *found, VoteOptions(), self.symmetric)
        write_votes(STORAGE, uri, votes)
        return uri

    def run(self, settings: Settings, model: str) -> dict[str, pa.Table]:
        """The tables of candidates, matches and groups."""
        sides = Sides(self.queries.files(), self.references.files())
        proposals = Proposals(
            (self.neighbors(settings, model),),
            (self.votes(settings),),
            sides,
            VIEW_NAMES,
        )
        folders = [str(self.folder / name) for name in ("candidates", "pairs", "scratch")]
        candidate_options = settings.candidates
        job = CandidateJob(STORAGE, proposals, candidate_options, DensityOptions(), *folders)
        (uri,) = write_candidates(job)
        verify = settings.verification.for_collection(sides.references.images)
        opened = [PairImages(STORAGE, side.numbers(STORAGE), verify) for side in sides]
        pairs = f"{folders[1]}/part-00000.npz"
        verified = verify_part(STORAGE, uri, pairs, (opened[0], opened[1]), verify)
        found = {"candidates": tables.read_table(STORAGE, uri), "matches": verified.matches}
        if self.symmetric:
            images = self.queries.table("images")
            refs = images_to_look_at(images, verified.matches)
            histories = histories_of(STORAGE, refs, verify.decoding)
            options = GroupOptions(keep=settings.keeping, neighbors=settings.k)
            members = group_copies(images, verified.matches, options, histories)
            found["groups"] = groups_table(members, images)
        return found
