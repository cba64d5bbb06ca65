"""The matches of planted copies → the evidence, after real copies among them are set apart.

    matches of planted copies → likely copies among the collection's own images → those through a
    third image → evidence

A planted copy that is reported with a strange image is a false alarm, unless original and image
are copies of each other. So the two are compared without any edit, on the same workers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.candidates.pair_numbers import PairNumbers, read_pairs, write_work
from copydetect.edits.copies import COPIES
from copydetect.evaluation.planted import (
    LIKELY_SCORE,
    NEARLY_CERTAIN,
    LookAlikePair,
    PlantedCopy,
    PlantedEvidence,
)
from copydetect.storage.files import Storage
from copydetect.types import Candidate
from copydetect.verification.calibration import are_copies

KNOWN, THROUGH = "known", "known-through"
"""Folders of pairs of the collection's own images: likely ones, and those through a third."""

_LOOKED_AT = 0.1
"""A pair of a planted copy and another image, from this confidence up, is a reason to ask whether
that image is a copy of the original, too."""
_LIKELY = 0.5
_MOST_THROUGH = 4
"""Through how many known copies of an original another image is compared, at most."""
_PAIRS_TOGETHER = 8

_Pair = tuple[str, str]


@dataclass(frozen=True)
class PlantedPairs:
    """The pairs that planted copies are found in, and where they are.

    folder: of the check; copies: tables of what was made of what, by the mix of edits that did;
    candidates, matches: by part of the planted copies; numbers: of the originals; pile: whether the
    collection is searched for itself.
    """

    storage: Storage
    folder: str
    copies: Mapping[str, tuple[str, ...]]
    candidates: tuple[str, ...]
    matches: tuple[str, ...]
    numbers: Mapping[str, int]
    pile: bool

    @cached_property
    def made(self) -> dict[str, tuple[str, str]]:
        """The planted copies' image_ids, with their originals and their kinds of edits."""
        made = {}
        for mix, uris in self.copies.items():
            for row in tables.read_tables(self.storage, uris, COPIES).to_pylist():
                made[f"{mix}/{row['query_id']}"] = row["reference_id"], row["edits"]
        return made

    @cached_property
    def reported(self) -> list[tuple[str, str, float]]:
        """Planted copies, the images that they are found with, and how confident that is; 0 where
        no threshold makes copies of them."""
        matches = tables.read_tables(self.storage, self.matches, tables.MATCHES)
        names = "query_id", "reference_id", "confidence", "other_content"
        rows = zip(*(matches[name].to_pylist() for name in names), strict=True)
        return [
            (copy, other, sure if are_copies(sure, content or 0.0, 0.0) else 0.0)
            for copy, other, sure, content in rows
        ]

    @cached_property
    def met(self) -> list[LookAlikePair]:
        """Those with other images than their originals."""
        pairs = ((self.made[copy][0], other, sure) for copy, other, sure in self.reported)
        return [LookAlikePair(*pair) for pair in pairs if pair[0] != pair[1]]

    @cached_property
    def likely(self) -> list[_Pair]:
        """Originals, and images that a copy of them is likely to be a copy of, too."""
        near = (one for one in self.met if one.confidence >= _LOOKED_AT)
        return sorted({(one.original_id, one.reference_id) for one in near})

    @cached_property
    def known(self) -> dict[_Pair, float]:
        """Those that are copies by themselves, and how confident that is."""
        return self._copies(self._proofs(KNOWN))

    @cached_property
    def through(self) -> dict[_Pair, _Pair]:
        """Known copies of an original, each with another image that the original may be a copy of
        through it → original and image.

        Heavy edits of one picture have little in common, but each has more with one that is closer
        to it. A pile holds many of them, so that in it a likely copy is not held against a planted
        one.
        """
        copies: dict[str, list[str]] = defaultdict(list)
        for original, copy in sorted(self.known):
            copies[original].append(copy)
        return {
            (copy, other): (original, other)
            for original, other in self.likely
            if (original, other) not in self.known
            for copy in copies[original][:_MOST_THROUGH]
        }

    def evidence(self, digest: str, sketch: tuple[str, ...]) -> PlantedEvidence:
        """The evidence, once all pairs are proved. digest, sketch: of what it holds for."""
        chained = self._copies(self._proofs(THROUGH))
        known = self.known | {self.through[pair]: sure for pair, sure in chained.items()}
        sureness = [known.get((one.original_id, one.reference_id), 0.0) for one in self.met]
        judged = list(zip(self.met, sureness, strict=True))
        strangers = tuple(one for one, sure in judged if not sure)
        certain = tuple(one.confidence for one, sure in judged if sure >= NEARLY_CERTAIN)
        found = {copy: sure for copy, other, sure in self.reported if other == self.made[copy][0]}
        copies = tuple(
            PlantedCopy(original, tuple(kinds.split("+")), found.get(copy, 0.0))
            for copy, (original, kinds) in self.made.items()
        )
        left_out = len(judged) - len(strangers)
        likely = self._likely_shares(known)
        return PlantedEvidence(digest, sketch, copies, strangers, certain, left_out, *likely)

    def _likely_shares(self, known: Mapping[_Pair, float]) -> tuple[float, float]:
        """Of the planted copies: the share that the search takes for copies of their originals, and
        the share that it takes for copies of a stranger. Those in a crowd are not counted."""
        found = tables.read_tables(self.storage, self.candidates, tables.CANDIDATES)
        crowded = len(pc.unique(found.filter(found["crowded"])["query_id"]))
        counted = max(len(self.made) - crowded, 1)
        found = found.filter(pc.greater_equal(found["score"], LIKELY_SCORE))
        names = (found[name].to_pylist() for name in ("query_id", "reference_id"))
        pairs = [(copy, self.made[copy][0], other) for copy, other in zip(*names, strict=True)]
        copies = {copy for copy, original, other in pairs if other == original}
        strangers = {
            copy
            for copy, original, other in pairs
            if other != original and (original, other) not in known
        }
        return len(copies) / counted, len(strangers) / counted

    def _copies(self, proofs: Mapping[_Pair, float]) -> dict[_Pair, float]:
        least = _LIKELY if self.pile else NEARLY_CERTAIN
        return {pair: proof for pair, proof in proofs.items() if proof >= least}

    def _proofs(self, name: str) -> dict[_Pair, float]:
        """What pixels say of the pairs in a folder."""
        parts = self.storage.files_under(runs.join(self.folder, name, "matches"))
        uris = [part.uri for part in parts]
        matches = tables.read_tables(self.storage, uris, tables.MATCHES)
        names = "query_id", "reference_id", "confidence"
        rows = zip(*(matches[column].to_pylist() for column in names), strict=True)
        return {(one, other): proof for one, other, proof in rows}


def pairs_to_prove(pairs: PlantedPairs, name: str) -> list[tuple[int, str, str]]:
    """Write the pairs that belong into a folder, `KNOWN` or `THROUGH`, as parts of candidates: the
    number of each part, its table, and its pair numbers."""
    wanted = pairs.likely if name == KNOWN else sorted(pairs.through)
    numbers = {**pairs.numbers, **_found_numbers(pairs)} if wanted else {}
    folder = runs.join(pairs.folder, name)
    work = []
    for part, start in enumerate(range(0, len(wanted), _PAIRS_TOGETHER)):
        some = wanted[start : start + _PAIRS_TOGETHER]
        ends = np.array([[numbers[one], numbers[other]] for one, other in some], np.int64)
        rows = tables.rows_to_table([Candidate.unscored(*pair) for pair in some], tables.CANDIDATES)
        work.append(write_work(pairs.storage, folder, part, rows, PairNumbers.unproposed(*ends.T)))
    return work


def _found_numbers(pairs: PlantedPairs) -> dict[str, int]:
    """image_id → image_no of the images among candidates."""
    numbers: dict[str, int] = {}
    for part, uri in enumerate(pairs.candidates):
        ids = tables.read_table(pairs.storage, uri, ["reference_id"])["reference_id"].to_pylist()
        uri = runs.join(pairs.folder, "pairs", runs.part_name(part, "npz"))
        found = read_pairs(pairs.storage, uri).reference.tolist()
        numbers |= dict(zip(ids, found, strict=True))
    return numbers
