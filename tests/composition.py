"""What the pipelines must give: the pure functions, one after the other, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from copydetect import tables
from copydetect.candidates.candidate_job import CandidateJob, Proposals
from copydetect.candidates.fusion import CandidateOptions
from copydetect.description.describing import Describer, DescriberOptions, describe_part
from copydetect.description.keypoints import KeypointOptions, load_quantiser
from copydetect.description.views import VIEW_NAMES, ViewOptions
from copydetect.grouping.groups import GroupOptions, group_copies, images_to_look_at
from copydetect.grouping.histories import histories_of
from copydetect.grouping.keepers import KeepOptions
from copydetect.grouping.places import groups_table
from copydetect.images.decoding import DecodeOptions
from copydetect.index.building import IndexJob
from copydetect.index.channels import DescriptorReader, KeypointReader
from copydetect.index.partitions import IndexOptions
from copydetect.inputs.finding import find_sources
from copydetect.inputs.listing import list_images
from copydetect.inputs.sources import read_source
from copydetect.options import RunOptions
from copydetect.parts import RoleParts, Sides
from copydetect.search.queries import SearchOptions
from copydetect.search.searching import SearchJob
from copydetect.search.vote_parts import vote_part, write_votes
from copydetect.settings import Settings
from copydetect.storage.files import LocalStorage
from copydetect.transforms.refs_to_descriptions import DescriberSetup
from copydetect.types import Role
from copydetect.verification.calibration import Task, bundled_calibration
from copydetect.verification.match_parts import PairImages, VerifyOptions, verify_part
from copydetect.verification.matches import MatchOptions
from tests.steps_in_turn import build_index, search_index, write_candidates

STORAGE = LocalStorage()


def default_settings(task: Task = "dedup", **changes: Any) -> Settings:
    """The settings of a run that is told nothing but `changes`."""
    return Settings.of(RunOptions(**changes), task, STORAGE)


@dataclass(frozen=True)
class StageOptions:
    """What each stage is told where a run is told nothing.

    Written out, and not asked of the code that is checked: a setting that is lost on its way to a
    stage shows in the tables.
    """

    task: Task

    @property
    def setup(self) -> DescriberSetup:
        """What makes descriptions."""
        views = ViewOptions.parse("whole,frames" if self.task == "match" else "whole")
        features = KeypointOptions(thumbnail_px=224, max_keypoints=200)
        options = DescriberOptions(views, features, decoding=DecodeOptions(200.0))
        return DescriberSetup(options, "descriptor-lite0", "", "cpu", local=True)

    @property
    def descriptor_search(self) -> SearchOptions:
        if self.task == "match":
            return SearchOptions(k=50, capped_score=0.8)
        return SearchOptions(k=50, exclude="image", connect_score=0.8, capped_score=0.8)

    @property
    def feature_search(self) -> SearchOptions:
        return SearchOptions(k=8 if self.task == "match" else 9, task_queries=65_536)

    @property
    def verification(self) -> VerifyOptions:
        """At the threshold that is to be 0.97 precise, but no odds below even."""
        calibration = bundled_calibration(("descriptor", "local"), self.task, "standard")
        return VerifyOptions(
            min_score=-6.9,
            matching=MatchOptions(
                min_confidence=max(0.5, calibration.threshold_for(0.97)),
                match_score=-4.0,
                features=KeypointOptions(thumbnail_px=256, max_keypoints=300),
            ),
            decoding=DecodeOptions(200.0),
            calibration=calibration,
        )


DESCRIPTOR_INDEX = IndexOptions(codes="SQfp16")
FEATURE_INDEX = IndexOptions(codes="PQ16", metric="l2", probes=4, training_per_list=20)
CANDIDATES = CandidateOptions(k=10, min_score=float("inf"), connect_similarity=0.8)
GROUPS = GroupOptions(keep=KeepOptions(("original",), (), (), "same_picture"), neighbors=10)


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

    def neighbors(self, options: StageOptions, model: str) -> str:
        """Descriptors' neighbours."""
        asked = DescriptorReader(STORAGE, self.queries.files())
        read = DescriptorReader(STORAGE, self.references.files())
        count = len(self.references.table("descriptors"))
        folder = str(self.folder / "descriptors-index")
        build_index(
            IndexJob(STORAGE, folder, read, count, DESCRIPTOR_INDEX, model), read.numbered()
        )
        found = str(self.folder / "neighbors")
        job = SearchJob(STORAGE, found, asked, folder, options.descriptor_search)
        (uri,) = search_index(job, asked.numbered())
        return uri

    def votes(self, options: StageOptions) -> str:
        """Local features' votes."""
        quantiser = load_quantiser()
        count = sum(map(len, self.references.table("keypoints")["x"].to_pylist()))
        folder = str(self.folder / "keypoints-index")
        index = FEATURE_INDEX
        read = KeypointReader(STORAGE, self.references.files())
        build_index(
            IndexJob(STORAGE, folder, read, count, index, quantiser.identity, quantiser.centroids),
            read.numbered(),
        )
        asked = KeypointReader(STORAGE, self.queries.files(), both=True)
        job = SearchJob(STORAGE, str(self.folder / "hits"), asked, folder, options.feature_search)
        (found,) = search_index(job, asked.numbered())
        uri = str(self.folder / "votes.npz")
        votes = vote_part(STORAGE, self.queries.files(), 0, found, self.symmetric)
        write_votes(STORAGE, uri, votes)
        return uri

    def run(self, options: StageOptions, model: str) -> dict[str, pa.Table]:
        """The tables of candidates, matches and groups."""
        sides = Sides(self.queries.files(), self.references.files())
        proposals = Proposals(
            (self.neighbors(options, model),),
            (self.votes(options),),
            sides,
            VIEW_NAMES,
        )
        folders = [str(self.folder / name) for name in ("candidates", "pairs", "scratch")]
        job = CandidateJob(STORAGE, proposals, CANDIDATES, *folders)
        (uri,) = write_candidates(job)
        verify = options.verification.for_collection(sides.references.images)
        opened = [PairImages(STORAGE, side.numbers(STORAGE), verify) for side in sides]
        pairs = f"{folders[1]}/part-00000.npz"
        verified = verify_part(STORAGE, uri, pairs, (opened[0], opened[1]), verify)
        found = {"candidates": tables.read_table(STORAGE, uri), "matches": verified.matches}
        if self.symmetric:
            images = self.queries.table("images")
            refs = images_to_look_at(images, verified.matches)
            histories = histories_of(STORAGE, refs, verify.decoding)
            members = group_copies(images, verified.matches, GROUPS, histories)
            found["groups"] = groups_table(members, images)
        return found
