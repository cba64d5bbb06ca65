"""Candidates of tonight, and the verdicts of earlier nights on the same pairs.

A verdict is what the pixels of two images say, looked at as the search tells: where their features
agree, and whether its score is worth a long look. As a catalogue grows both may change, and so may
the verdict; that of a pair that is looked at as before stands, and so does proof. With the score of
tonight then comes its confidence. So what a night says of a pair depends on what is there, not on
what was there before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import tables
from copydetect.candidates.pair_numbers import PairNumbers
from copydetect.catalog.files import CatalogFile
from copydetect.catalog.readable import numbers_of
from copydetect.index.routing import mixed
from copydetect.types import COPY_RELATIONS, Bools, Ints
from copydetect.verification.calibration import are_copies
from copydetect.verification.match_parts import VerifyOptions
from copydetect.verification.standings import ComparedPairs, standings_of

_KEPT = [
    pa.field("inputs", pa.int64(), nullable=False),
    pa.field("proposed", pa.bool_(), nullable=False),
]
VERDICTS = pa.schema([*tables.MATCHES, *_KEPT])
"""Rows of `matches` as a catalogue keeps them, by keys. inputs: hash of what verification was told;
proposed: whether the search of the last night proposes the pair,
else it is only remembered."""

_SCORE_STEP = 0.25
_SURE_SCORE = 8.0
"""From so much log-odds on a pair is looked at in the same way, whatever its score."""


def pair_keys(table: pa.Table) -> pa.Array:
    """One text per pair of the columns query_id and reference_id, whichever way round it is."""
    ends = [table["query_id"], table["reference_id"]]
    joined = pc.binary_join_element_wise(
        pc.min_element_wise(*ends), pc.max_element_wise(*ends), " "
    )
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


@dataclass(frozen=True)
class PairsToVerify:
    """Candidate pairs that may need to be verified.

    candidates: rows of that table, by keys, each with the image of the smaller SHA-256 as its
    query; pairs: the same as numbers; inputs: (n,) int64, hash of what verification is told.
    """

    candidates: pa.Table
    pairs: PairNumbers
    inputs: Ints

    @classmethod
    def of(
        cls, candidates: pa.Table, pairs: PairNumbers, files: Mapping[int, CatalogFile]
    ) -> PairsToVerify:
        """files: by number. Numbers tell the night an image came in, and a verdict must not depend
        on that."""
        candidates, pairs = _oriented(candidates, pairs, files)
        return cls(candidates, pairs, _inputs(_told(candidates), pairs))

    @staticmethod
    def joined(parts: Sequence[PairsToVerify]) -> PairsToVerify:
        """All of several parts."""
        counts = [np.empty(0, np.int64), *(np.diff(part.pairs.starts) for part in parts)]
        points = [np.empty((0, 4), np.float32), *(part.pairs.points for part in parts)]
        nothing = np.empty(0, np.int64)
        pairs = PairNumbers(
            np.concatenate([nothing, *(part.pairs.query for part in parts)]),
            np.concatenate([nothing, *(part.pairs.reference for part in parts)]),
            np.r_[0, np.cumsum(np.concatenate(counts))].astype(np.int64),
            np.concatenate(points),
        )
        candidates = [tables.CANDIDATES.empty_table(), *(part.candidates for part in parts)]
        inputs = np.concatenate([nothing, *(part.inputs for part in parts)])
        return PairsToVerify(pa.concat_tables(candidates), pairs, inputs)

    def take(self, rows: Ints) -> PairsToVerify:
        """Some of the pairs."""
        pairs = self.pairs.take(rows)
        return PairsToVerify(self.candidates.take(pa.array(rows)), pairs, self.inputs[rows])

    @property
    def spare(self) -> Bools:
        """(n,) bool: which are spare, see `types.Candidate`."""
        return _bools(self.candidates["spare"])

    def rounded(self) -> pa.Table:
        """The candidates with rounded scores, as verification sees them."""
        return _told(self.candidates)

    def to_verify(self, known: pa.Table, strictly: bool) -> Bools:
        """(n,) bool: pairs of which no verdict is known; strictly: or one that was found when they
        were looked at in another way.

        Even proof does not stand then: of what was looked at longer for a higher score, a run over
        everything may see nothing.
        """
        at = pc.index_in(pair_keys(self.candidates), value_set=pair_keys(known))
        new = _bools(pc.is_null(at))
        if not strictly or not len(known):
            return new
        inputs = known["inputs"].to_numpy()[pc.fill_null(at, 0).to_numpy()]
        return np.asarray(new | (inputs != self.inputs), np.bool_)

    def verdicts(self, matches: pa.Table) -> pa.Table:
        """Rows of `matches` on some of the pairs as rows of `VERDICTS`."""
        at = pc.index_in(pair_keys(matches), value_set=pair_keys(self.candidates))
        inputs = pa.array(self.inputs[at.to_numpy()], pa.int64())
        proposed = pa.array(np.zeros(len(matches), np.bool_))
        columns = [*matches.cast(tables.MATCHES).columns, inputs, proposed]
        return pa.table(dict(zip(VERDICTS.names, columns, strict=True)), schema=VERDICTS)


def wanted(candidates: pa.Table, options: VerifyOptions) -> Ints:
    """Rows of the candidates that are verified."""
    chosen = pc.greater_equal(candidates["score"], options.min_score)
    return np.flatnonzero(_bools(chosen)).astype(np.int64)


def _oriented(
    candidates: pa.Table, pairs: PairNumbers, files: Mapping[int, CatalogFile]
) -> tuple[pa.Table, PairNumbers]:
    """The same pairs, each with the image of the smaller SHA-256 as its query."""
    turned = np.array(
        [
            files[query].sha256 > files[reference].sha256
            for query, reference in zip(pairs.query.tolist(), pairs.reference.tolist(), strict=True)
        ],
        np.bool_,
    )
    mask = pa.array(turned)
    for one, other in (("query_id", "reference_id"), ("query_view", "reference_view")):
        ours, theirs = candidates[one], candidates[other]
        ends = {one: pc.if_else(mask, theirs, ours), other: pc.if_else(mask, ours, theirs)}
        candidates = tables.with_columns(candidates, ends)
    rows = np.repeat(turned, np.diff(pairs.starts))
    points = np.where(rows[:, None], pairs.points[:, [2, 3, 0, 1]], pairs.points)
    query = np.where(turned, pairs.reference, pairs.query)
    reference = np.where(turned, pairs.query, pairs.reference)
    return candidates, PairNumbers(query, reference, pairs.starts, points)


def _told(candidates: pa.Table) -> pa.Table:
    """Candidates with rounded scores: a score moves a little whenever anything is added, and what
    is looked at must not depend on the last of its digits. None is spare: that was decided."""
    scores = candidates["score"].to_numpy()
    rounded = np.minimum(np.round(scores / _SCORE_STEP) * _SCORE_STEP, _SURE_SCORE)
    none = np.zeros(len(scores), np.bool_)
    columns = {"score": pa.array(rounded.astype(np.float32)), "spare": pa.array(none)}
    return tables.with_columns(candidates, columns)


def _inputs(told: pa.Table, pairs: PairNumbers) -> Ints:
    """(n,) a hash of what a look at each pair depends on: its score, whether that tells, which
    channels propose it, and its correspondences."""
    counts = np.diff(pairs.starts)
    row = np.repeat(np.arange(len(counts)), counts)
    place = (np.arange(len(row)) - pairs.starts[row] + 1).astype(np.uint64)
    words = np.ascontiguousarray(pairs.points).view(np.uint64)
    hashed = mixed(mixed(words[:, 0] ^ place) ^ words[:, 1])
    # Sums of what was mixed with its place, which wrap around.
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashed)])
    own = sums[pairs.starts[1:]] - sums[pairs.starts[:-1]]
    scores = told["score"].to_numpy().astype(np.float64).view(np.uint64)
    silent = [_bools(pc.is_null(told[name], nan_is_null=True)) for name in ("similarity", "votes")]
    flags = np.stack([_bools(told["crowded"]), *silent]).astype(np.uint64)
    signs = flags[0] | flags[1] << np.uint64(1) | flags[2] << np.uint64(2)
    return np.ascontiguousarray(mixed(mixed(mixed(own) ^ scores) ^ signs)).view(np.int64)


def spare_wanted(asked: PairsToVerify, verdicts: pa.Table, options: VerifyOptions) -> Bools:
    """(n,) bool: the spare pairs of images of which too few copies are proved by other pairs.

    verdicts: on the pairs that are not spare. Which they are depends on no order, unlike in
    `verify_part`, which stops once there are enough.
    """
    spare = asked.spare
    others = asked.candidates.filter(pa.array(~spare))
    found = judged(others, verdicts, options).matches
    proved = pc.value_counts(found.filter(found["is_copy"])["query_id"]).to_pylist()
    enough = [one["values"] for one in proved if one["counts"] >= options.enough]
    settled = pc.is_in(asked.candidates["query_id"], value_set=pa.array(enough, pa.string()))
    return np.asarray(spare & ~_bools(settled), np.bool_)


@dataclass(frozen=True)
class Judged:
    """Verdicts by what is known tonight: rows of `VERDICTS`; overturned: (n,) bool, those whose
    evidence tells of a copy where there is none now, or the other way round; standings: (n,) int64,
    `Standing` of each."""

    matches: pa.Table
    overturned: Bools
    standings: Ints


def judged(candidates: pa.Table, verdicts: pa.Table, options: VerifyOptions) -> Judged:
    """The verdicts on all candidates that have one, by tonight's scores.

    candidates: those of the whole catalogue that are verified; verdicts: `VERDICTS` rows, each pair
    once. The decisions are those of `verify_part` on all of them together.
    """
    at = pc.index_in(pair_keys(candidates), value_set=pair_keys(verdicts))
    there = pc.is_valid(at)
    candidates, at = candidates.filter(there), at.filter(there)
    verdicts = verdicts.take(at)
    names = [numbers_of(candidates[name]) for name in ("query_id", "reference_id")]
    ends = np.unique(np.stack(names), return_inverse=True)[1].reshape(2, -1)
    proofs, other_content = (
        verdicts[name].to_numpy().astype(np.float64) for name in ("proof", "other_content")
    )
    scores = candidates["score"].to_numpy().astype(np.float64)
    pairs = ComparedPairs(ends, scores, _bools(candidates["crowded"]), proofs, other_content)
    least = options.matching.min_confidence
    standings, sure = standings_of(pairs, least, options.calibration)
    counted = pa.array(list(options.matching.counted), pa.string())
    copies = are_copies(sure, other_content, least) | _bools(
        pc.is_in(verdicts["relation"], value_set=counted)
    )
    before = _bools(verdicts["is_copy"])
    columns = {
        "similarity": candidates["similarity"],
        "score": candidates["score"],
        "confidence": pa.array(sure, pa.float32()),
        "is_copy": pa.array(copies),
        "relation": _relations(verdicts["relation"], copies, counted),
    }
    overturned = np.asarray(copies != before, np.bool_)
    return Judged(tables.with_columns(verdicts, columns), overturned, standings)


def _relations(
    relations: pa.ChunkedArray, copies: Bools, counted: pa.Array
) -> pa.ChunkedArray | pa.Array:
    """Relations that fit the decisions: of what is a copy by a new score it is known no better."""
    of_copies = pa.concat_arrays([pa.array(list(COPY_RELATIONS), pa.string()), counted])
    fits = pc.equal(pc.is_in(relations, value_set=of_copies), pa.array(copies))
    return pc.if_else(fits, relations, pc.if_else(pa.array(copies), "edited", "none"))


def _bools(column: pa.Array | pa.ChunkedArray) -> Bools:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.bool_)


def newest(verdicts: Sequence[pa.Table], schema: pa.Schema = VERDICTS) -> pa.Table:
    """Verdicts of several tables, each pair once: that of the last table."""
    together = pa.concat_tables([schema.empty_table(), *verdicts])
    keys = pair_keys(together).to_numpy(zero_copy_only=False)
    _, first = np.unique(keys[::-1], return_index=True)
    kept = np.sort(len(keys) - 1 - first)
    return together.take(pa.array(kept))


def with_proposed(verdicts: pa.Table, found: pa.Table) -> pa.Table:
    """Verdicts, of which those of `found` are what the last night says."""
    verdicts = newest([verdicts, found])
    proposed = pc.is_in(pair_keys(verdicts), value_set=pair_keys(found))
    return tables.with_columns(verdicts, {"proposed": proposed})


def as_matches(verdicts: pa.Table) -> pa.Table:
    """The verdicts that the last night says, as rows of `matches`, by keys."""
    return verdicts.filter(verdicts["proposed"]).select(tables.MATCHES.names)


def without(verdicts: pa.Table, keys: set[str]) -> pa.Table:
    """Verdicts on pairs of none of these images."""
    gone = pa.array(sorted(keys), pa.string())
    of_gone = pc.or_(
        pc.is_in(verdicts["query_id"], value_set=gone),
        pc.is_in(verdicts["reference_id"], value_set=gone),
    )
    return verdicts.filter(pc.invert(of_gone))


def for_size(options: VerifyOptions, images: int) -> tuple[VerifyOptions, bool]:
    """What is verified in a catalogue of this size, and whether it is too small for scores to
    mean anything: its pairs are looked at again when it has grown."""
    resolved = options.for_collection(images)
    return resolved, resolved != options
