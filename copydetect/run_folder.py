"""The folder of a run: the files of each stage, and the jobs that read and write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from copydetect import runs
from copydetect.candidates.candidate_job import CandidateJob, Proposals
from copydetect.candidates.fusion import CandidateOptions
from copydetect.description.views import VIEW_NAMES
from copydetect.grouping.group_job import GroupJob
from copydetect.grouping.groups import GroupOptions
from copydetect.options import Channel
from copydetect.parts import PART, PartNames, RoleParts, RowCounts, Sides
from copydetect.search.neighbors import neighbors_uris
from copydetect.search.vote_parts import votes_uris
from copydetect.settings import Settings
from copydetect.storage.files import Storage
from copydetect.types import Role
from copydetect.verification.match_parts import VerifyOptions


@dataclass(frozen=True)
class RunFolder:
    """The folder in which the stages of a run write."""

    storage: Storage
    folder: str

    @property
    def index(self) -> str:
        """The folder of the indexes."""
        return runs.join(self.folder, "index")

    @property
    def index_is_there(self) -> bool:
        """Whether they are finished already, for other images."""
        return False

    def searched(self, channel: str) -> str:
        """The folder of what the search of "descriptors" or "keypoints" finds."""
        return runs.join(self.folder, "search", channel)

    def part_uris(self, table: str, role: Role, parts: int) -> PartNames:
        """The files of a table of described images, one per part."""
        return PartNames(runs.join(self.folder, table), role, parts)

    def parts_of(self, table: str, parts: int, suffix: str = "parquet") -> PartNames:
        """The files of a table that has no roles, one per part."""
        return PartNames(runs.join(self.folder, table), PART, parts, suffix)

    def described(self, role: Role, parts: int, channels: Sequence[Channel]) -> RoleParts:
        """The files of a role whose images are described; rows are counted once they exist."""
        images, noted = self.part_uris("images", role, parts), self.counts_uri(role)
        by_descriptor, by_features = "descriptor" in channels, "local" in channels
        return RoleParts(
            image_files=images,
            image_counts=RowCounts(self.storage, images, noted),
            descriptors=self.part_uris("descriptors", role, parts) if by_descriptor else (),
            keypoints=self.part_uris("keypoints", role, parts) if by_features else (),
            failures=self.part_uris("failures", role, parts),
            noted=noted,
        )

    def counts_uri(self, name: str) -> str:
        """Where it is noted how many rows the parts of some tables have."""
        return runs.join(self.folder, "search", "counts", f"{name}.json")

    @property
    def merging_folder(self) -> str:
        """The scratch of the merging of both channels."""
        return runs.join(self.folder, "search", "candidates")

    def proposals(self, sides: Sides, channels: Sequence[Channel]) -> Proposals:
        """What the searches of both channels find."""
        parts = sides.queries.parts
        neighbors = neighbors_uris(self.searched("descriptors"), parts)
        votes = votes_uris(self.searched("keypoints"), parts)
        return Proposals(
            neighbors=neighbors if "descriptor" in channels else (),
            votes=votes if "local" in channels else (),
            sides=sides,
            views=VIEW_NAMES,
        )

    def candidate_job(
        self,
        proposals: Proposals,
        options: CandidateOptions,
        scale: Mapping[str, float] | None = None,
    ) -> CandidateJob:
        """The merging of both channels."""
        return CandidateJob(
            storage=self.storage,
            proposals=proposals,
            options=options,
            folder=runs.join(self.folder, "candidates"),
            pairs_folder=runs.join(self.folder, "pairs"),
            scratch=self.merging_folder,
            scale=scale,
        )

    def match_work(self, candidates: Sequence[str]) -> list[tuple[int, str, str]]:
        """The parts to verify: number, candidates and pair numbers of each."""
        parts = len(candidates)
        return list(
            zip(range(parts), candidates, self.parts_of("pairs", parts, "npz"), strict=True)
        )

    def group_job(
        self, described: RoleParts, settings: Settings, verifying: VerifyOptions
    ) -> GroupJob:
        """The grouping of the matches; described: the collection; verifying: as all pairs were."""
        candidates, matches, failures = (
            self.parts_of(table, described.parts)
            for table in ("candidates", "matches", "verify-failures")
        )
        return GroupJob(
            storage=self.storage,
            folder=self.folder,
            image_files=described.image_files,
            candidates=candidates,
            pairs=self.parts_of("pairs", described.parts, "npz"),
            matches=matches,
            failures=(described.failures, failures),
            options=GroupOptions(keep=settings.keeping, neighbors=settings.k),
            decoding=settings.decoding,
            verifying=verifying,
        )
