"""The merging of both channels into candidates: its input, its options and its folders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from copydetect import runs
from copydetect.candidates.fusion import CandidateOptions
from copydetect.index.spills import BUNDLED, is_bundled
from copydetect.parts import RoleParts, Sides
from copydetect.storage.files import Storage
from copydetect.types import Ints

_BLOCK_IMAGES, _LEAST_BLOCKS, _LEAST_BLOCK_IMAGES = 8192, 16, 1024
_MANY_BLOCKS, _LARGE_BLOCK_IMAGES = 4096, 20_480


@dataclass(frozen=True)
class Proposals:
    """What both channels found, one file per part of the queries; none for a channel that is off.

    neighbors: files of descriptors' neighbours; votes: of local features' votes; views: names of
    the views, in their order; gathered: where another merging has gathered what is looked up of the
    same references, "" for nowhere.
    """

    neighbors: Sequence[str]
    votes: Sequence[str]
    sides: Sides
    views: tuple[str, ...]
    gathered: str = ""

    @property
    def queries(self) -> RoleParts:
        """What is searched for."""
        return self.sides.queries

    @property
    def symmetric(self) -> bool:
        """Whether a collection is searched for itself."""
        return self.sides.symmetric

    @property
    def described(self) -> bool:
        """Whether descriptors were searched."""
        return bool(self.queries.descriptors and self.neighbors)


@dataclass(frozen=True)
class CandidateJob:
    """One merging of both channels. folder, pairs_folder, scratch: for the tables, their
    `PairNumbers`, and temporary files.

    scale: fields of `DensityScale` where they are known, else they are measured.
    """

    storage: Storage
    proposals: Proposals
    options: CandidateOptions
    folder: str
    pairs_folder: str
    scratch: str
    scale: Mapping[str, float] | None = None

    def uri(self, kind: str, part: int, suffix: str = "npz") -> str:
        """A scratch file of one part."""
        return runs.join(self.scratch, kind, runs.part_name(part, suffix))

    def uris(self, kind: str, suffix: str = "npz") -> list[str]:
        """A scratch file of each part."""
        return [self.uri(kind, part, suffix) for part in range(self.proposals.queries.parts)]

    @property
    def blocks(self) -> int:
        """How many blocks, runs of parts, are scored: of 1,024 images or more up to 16 of them,
        then of 8,192, and above 33 million of up to 20,480. More would only add files, since every
        block reads from every part."""
        side = self.proposals.queries
        return blocks_of(side.images, side.parts)

    def block_of(self, parts: Ints | int) -> Any:
        """The block of each part."""
        return parts * self.blocks // self.proposals.queries.parts

    def blocks_of(self, numbers: Ints) -> Ints:
        """The block of each image_no of the queries."""
        blocks: Ints = self.block_of(self.proposals.queries.parts_of(numbers))
        return blocks

    def parts_in(self, block: int) -> list[int]:
        """The parts of a block."""
        parts = range(self.proposals.queries.parts)
        return [part for part in parts if self.block_of(part) == block]

    @property
    def may_be_bundled(self) -> bool:
        """Whether there are so many parts that spills are bundled; blocks are never more."""
        return self.proposals.symmetric and is_bundled(self.proposals.queries.parts)

    def bundles(self, kind: str) -> list[tuple[str, int]]:
        """Spills that are bundled before they are read: of what kind, and the number of the bundle;
        none where there are few, or a block reads only its own parts."""
        if not self.may_be_bundled or not is_bundled(self._sources(kind)):
            return []
        return [(kind, number) for number in range(math.ceil(self._sources(kind) / BUNDLED))]

    def bundled(self, kind: str, number: int) -> list[str]:
        """The spills of a bundle."""
        sources = range(self._sources(kind))[number * BUNDLED : (number + 1) * BUNDLED]
        return [self.uri(kind, source, "spill") for source in sources]

    def bundle_uri(self, kind: str, number: int) -> str:
        """Where a bundle is."""
        return self.uri(f"{kind}-bundles", number, "spill")

    def found_for(self, kind: str, block: int) -> list[str]:
        """Where the pairs of a block are."""
        own = self.parts_in(block)
        return self._spills(kind, range(self._sources(kind)) if self.proposals.symmetric else own)

    def kept_for(self, part: int) -> list[str]:
        """Where the pairs of a part are that blocks have kept."""
        own = [self.block_of(part)]
        return self._spills("kept", range(self.blocks) if self.proposals.symmetric else own)

    def _spills(self, kind: str, sources: Sequence[int]) -> list[str]:
        bundles = [self.bundle_uri(*one) for one in self.bundles(kind)]
        return bundles or [self.uri(kind, source, "spill") for source in sources]

    def _sources(self, kind: str) -> int:
        """How many write spills of a kind: parts what they found, blocks what they have kept."""
        return self.blocks if kind == "kept" else self.proposals.queries.parts

    def side_folder(self, side: int) -> str:
        """Where the side tables are: of queries (0) or references (1)."""
        if side == 1 and self.proposals.gathered:
            return self.proposals.gathered
        name = "queries" if side == 0 or self.proposals.symmetric else "references"
        return runs.join(self.scratch, name)

    def described_parts(self) -> list[tuple[int, int]]:
        """(side, part) of every file of descriptors."""
        if not self.proposals.described:
            return []
        sides = self.proposals.sides[: 1 if self.proposals.symmetric else 2]
        return [(number, part) for number, side in enumerate(sides) for part in range(side.parts)]


def blocks_of(images: int, parts: int) -> int:
    """How many blocks the pairs of so many images, in so many parts, are scored in."""
    spread = min(images // _LEAST_BLOCK_IMAGES, _LEAST_BLOCKS)
    large = max(_MANY_BLOCKS, math.ceil(images / _LARGE_BLOCK_IMAGES))
    wanted = min(math.ceil(images / _BLOCK_IMAGES), large)
    return max(1, min(parts, max(wanted, spread)))
