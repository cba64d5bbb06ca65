"""The steps in which matches become groups; `MatchesToGroups` spreads them over workers.

    what pairs say of each other → pairs that connect → histories of copies → comparisons with the
    kept, in rounds → groups

Each step reads what the steps before have left in files. Only edges and rows of copies are held.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.grouping.comparisons import (
    comparisons_name,
    spare_candidates,
    write_comparisons,
)
from copydetect.grouping.groups import (
    COMPARISONS,
    GroupOptions,
    group_copies,
    images_to_look_at,
    pairs_to_compare,
    pairs_to_connect,
)
from copydetect.grouping.involved import involved
from copydetect.grouping.places import groups_table
from copydetect.images.decoding import DecodeOptions
from copydetect.parts import RowCounts, unfinished
from copydetect.storage.files import Storage
from copydetect.types import Candidate, ImageRef
from copydetect.verification.match_parts import VerifyOptions
from copydetect.verification.overturned import (
    PartFiles,
    judged_matches,
    overturned_pairs,
)
from copydetect.verification.priors import Standing

CONNECTED = "connected"
ROUNDS = (CONNECTED, *(f"compared-{number}" for number in range(COMPARISONS)))
"""Rounds of comparisons: of pairs that connect families, then of kept images with members."""

_MOST_TOGETHER, _BATCHES = 64, 16
"""Copies whose files are read together, at most, and into how many batches few copies are spread: a
large photo takes a tenth of a second."""
_ROWS_TOGETHER = 65_536
"""Rows of groups that are read at once: a part of any other table has fewer."""
_JUDGED = "judged"
_INVOLVED = ("images", "matches", "spare")

_Work = tuple[int, str, str]


@dataclass(frozen=True)
class GroupJob:
    """The grouping of one run: its inputs, its options and its folder.

    folder: of the run; image_files, candidates, pairs, matches: by part, of what was verified;
    failures: of each stage before; verifying: as all pairs were.
    """

    storage: Storage
    folder: str
    image_files: Sequence[str]
    candidates: Sequence[str]
    pairs: Sequence[str]
    matches: Sequence[str]
    failures: tuple[Sequence[str], ...]
    options: GroupOptions
    decoding: DecodeOptions
    verifying: VerifyOptions

    @property
    def again_folder(self) -> str:
        """For pairs that are verified again, since other pairs overturn their verdict."""
        return runs.join(self.folder, "search", "again")

    @property
    def histories_folder(self) -> str:
        """For what files of copies tell of their past."""
        return runs.join(self.folder, "histories")

    @property
    def groups_uri(self) -> str:
        """Where the groups are, in the end."""
        return runs.join(self.folder, "groups", runs.part_name(0))

    def round_folder(self, name: str) -> str:
        """For the verdicts of a round of comparisons."""
        return runs.join(self.folder, "comparisons", name)

    @property
    def verifying_all(self) -> VerifyOptions:
        """The options of verification, for as many images as there are."""
        return self.verifying.for_collection(sum(RowCounts(self.storage, self.image_files)))

    def parts(self) -> list[PartFiles]:
        """What was verified, by part."""
        files = zip(self.candidates, self.pairs, self.matches, strict=True)
        return [PartFiles(part, *uris) for part, uris in enumerate(files)]

    def judged_uri(self, part: int) -> str:
        """Where the matches of a part are that other pairs have a say in."""
        return runs.join(self.folder, _JUDGED, runs.part_name(part))

    def involved_uri(self, name: str) -> str:
        """Where rows are that grouping has to do with: of images, matches or spare candidates."""
        return runs.join(self.folder, "search", "involved", f"{name}.parquet")

    def judged(self) -> list[str]:
        """The matches tables, by part, with what other pairs say of theirs."""
        parts = enumerate(self.matches)
        judged = [(self.judged_uri(part), uri) for part, uri in parts]
        return [one if self.storage.exists(one) else uri for one, uri in judged]

    def compared(self, name: str, table: str) -> list[str]:
        """The tables of a round of comparisons: of `matches`, or of `verify-failures`."""
        count = _Batches(self.storage, self.asked_folder(name)).count
        folder = runs.join(self.round_folder(name), table)
        return [runs.join(folder, runs.part_name(part)) for part in range(count)]

    def histories(self) -> list[str]:
        """The tables of histories."""
        count = _Batches(self.storage, self.asked_folder("histories")).count
        return [runs.join(self.histories_folder, runs.part_name(part)) for part in range(count)]

    def asked_folder(self, name: str) -> str:
        """For the work of a round."""
        return runs.join(self.folder, "search", "comparisons", name)

    def tables(self) -> dict[str, list[str]]:
        """The files of all tables that are new or longer, once everything is done."""
        matches, failures = self.judged(), list(chain.from_iterable(self.failures))
        for name in ROUNDS:
            matches += self.compared(name, "matches")
            failures += self.compared(name, "verify-failures")
        return {
            "histories": self.histories(),
            "groups": [self.groups_uri],
            "matches": matches,
            "failures": failures,
        }


def pairs_to_judge_again(job: GroupJob, standing: Standing) -> list[_Work]:
    """The pairs of this standing that are verified again: a part's number and its files."""
    options = job.verifying_all
    parts = overturned_pairs(job.storage, job.again_folder, job.parts(), options, standing)
    return [one[:3] for one in parts]


def judge_step(job: GroupJob) -> None:
    """Write the matches of parts that other pairs have a say in, in place of an earlier run's; then
    what all later steps read: the rows that they have to do with."""
    options = job.verifying_all
    job.storage.delete(runs.join(job.folder, _JUDGED))
    judged = judged_matches(job.storage, job.again_folder, job.parts(), options)
    for part, table in judged.items():
        tables.write_table(job.storage, job.judged_uri(part), table)
    _write_involved(job)


def _write_involved(job: GroupJob) -> None:
    spare, judged = spare_candidates(job.storage, job.candidates), job.judged()
    images, matches = involved(
        lambda: (tables.read_table(job.storage, uri) for uri in job.image_files),
        lambda columns: (tables.read_table(job.storage, uri, columns) for uri in judged),
        spare,
    )
    for name, table in zip(_INVOLVED, (images, matches, spare), strict=True):
        tables.write_table(job.storage, job.involved_uri(name), table)


def pairs_of_round(job: GroupJob, name: str) -> list[_Work]:
    """Write the pairs of a round; those parts of them that have no verdicts yet.

    Once a round of comparisons has nothing to ask, neither have those after it.
    """
    folder = job.asked_folder(name)
    batches = _Batches(job.storage, folder)
    pairs: list[Candidate] = []
    work: list[_Work] = []
    if name not in ROUNDS[2:] or _Batches(job.storage, job.asked_folder(_before(name))).count:
        known = _Known.before(job, name)
        pairs = _pairs_of(known, job.options, name)
        work = write_comparisons(job.storage, folder, pairs, known.images)
    batches.note(len(work), comparisons_name(pairs), job.round_folder(name))
    names = "matches", "verify-failures"
    matches, failures = (job.compared(name, table) for table in names)
    wanted = unfinished(job.storage, list(zip(matches, failures, strict=True)), failures)
    return [one for one in work if one[0] in wanted]


def _before(name: str) -> str:
    return ROUNDS[ROUNDS.index(name) - 1]


def _pairs_of(known: _Known, options: GroupOptions, name: str) -> list[Candidate]:
    if name != CONNECTED:
        return pairs_to_compare(*known.of_kept(options))
    arguments = known.images, known.matches, known.spare, options, known.unreadable
    return pairs_to_connect(*arguments) if len(known.spare) else []


def copies_to_look_at(job: GroupJob) -> list[tuple[int, list[ImageRef]]]:
    """Copies in batches, those without a table of histories yet."""
    known = _Known.before(job, ROUNDS[1])
    refs = images_to_look_at(known.images, known.matches)
    work = batches_of(refs)
    named = hashlib.sha256("\0".join(ref.image_id for ref in refs).encode("utf-8", "surrogatepass"))
    batches = _Batches(job.storage, job.asked_folder("histories"))
    batches.note(len(work), named.hexdigest(), job.histories_folder)
    wanted = unfinished(job.storage, [[uri] for uri in job.histories()])
    return [one for one in enumerate(work) if one[0] in wanted]


def batches_of(refs: Sequence[ImageRef]) -> list[list[ImageRef]]:
    """Copies whose files are read together."""
    together = min(-(-len(refs) // _BATCHES), _MOST_TOGETHER)
    starts = range(0, len(refs), max(together, 1))
    return [list(refs[start : start + together]) for start in starts]


def group_step(job: GroupJob) -> None:
    """Write the groups."""
    known = _Known.before(job, "")
    members = group_copies(*known.of_kept(job.options))
    groups = groups_table(members, known.images)
    tables.write_table(job.storage, job.groups_uri, groups, _ROWS_TOGETHER)


@dataclass(frozen=True)
class _Batches:
    """How many batches of work a step has, noted in its folder."""

    storage: Storage
    folder: str

    @property
    def _uri(self) -> str:
        return runs.join(self.folder, "batches.json")

    @property
    def count(self) -> int:
        """How many."""
        return int(json.loads(self.storage.read(self._uri))["count"])

    def note(self, count: int, digest: str, results: str) -> None:
        """Note how many, and a digest of what they hold. Results of other work, which an
        interrupted run has left, are removed."""
        noted = json.dumps({"count": count, "digest": digest}).encode()
        if not self.storage.exists(self._uri) or self.storage.read(self._uri) != noted:
            self.storage.delete(results)
            self.storage.write(self._uri, noted)


@dataclass(frozen=True)
class _Known:
    """What is known before a round: rows of tables, and the image_ids that cannot be read.

    matches: of all searched pairs and those that connect families; compared: of later rounds.
    """

    images: pa.Table
    matches: pa.Table
    spare: pa.Table
    unreadable: list[str]
    compared: pa.Table
    histories: pa.Table

    @classmethod
    def before(cls, job: GroupJob, name: str) -> _Known:
        """Before the round of this name; after all, where there is none."""
        storage = job.storage
        done = ROUNDS[: ROUNDS.index(name)] if name in ROUNDS else ROUNDS
        images, matches, spare = (
            tables.read_table(storage, job.involved_uri(name)) for name in _INVOLVED
        )
        failures = list(chain.from_iterable(job.failures))
        found = {one: tables.MATCHES.empty_table() for one in ROUNDS}
        for one in done:
            failures += job.compared(one, "verify-failures")
            found[one] = tables.read_tables(storage, job.compared(one, "matches"), tables.MATCHES)
        looked = job.histories() if len(done) > 1 else []
        return cls(
            images,
            pa.concat_tables([matches, found[CONNECTED]]),
            spare,
            _named_in(storage, failures, images),
            pa.concat_tables([found[one] for one in ROUNDS[1:]]),
            tables.read_tables(storage, looked, tables.HISTORIES),
        )

    def of_kept(self, options: GroupOptions) -> tuple[Any, ...]:
        """The arguments of `pairs_to_compare` and of `group_copies`."""
        known = self.images, self.matches, options, self.histories, self.unreadable
        return (*known, self.spare, self.compared)


def _named_in(storage: Storage, failures: Sequence[str], images: pa.Table) -> list[str]:
    """Those of some images that tables of failures name."""
    found: list[str] = []
    for uri in failures:
        named = tables.read_table(storage, uri, ["image_id"])["image_id"]
        found += named.filter(pc.is_in(named, images["image_id"])).to_pylist()
    return found
