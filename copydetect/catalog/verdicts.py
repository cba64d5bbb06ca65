"""Candidates of tonight, and the verdicts of earlier nights on the same pairs.

A verdict is what the pixels of two images say, and these do not change. What may change is the
score of the search, as a list grows: then the confidence is that of the same proof with the new
score. So a pair is verified once. A verdict that the new score overturns is made once more, so that
its evidence is described as that of a copy, or of no copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import tables
from copydetect.candidates.pair_numbers import PairNumbers
from copydetect.catalog.files import CatalogFile
from copydetect.types import COPY_RELATIONS, Candidate
from copydetect.verification.match_parts import VerifyOptions
from copydetect.verification.proved_families import Prior, in_proved_families

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def pair_keys(table: pa.Table) -> pa.Array:
    """One text per pair of the columns query_id and reference_id, whichever way round it is."""
    ends = [table["query_id"], table["reference_id"]]
    joined = pc.binary_join_element_wise(
        pc.min_element_wise(*ends), pc.max_element_wise(*ends), " "
    )
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def wanted(candidates: pa.Table, options: VerifyOptions) -> pa.Table:
    """The candidates that are verified."""
    return candidates.filter(pc.greater_equal(candidates["score"], options.min_score))


def without_verdict(candidates: pa.Table, known: pa.Table, options: VerifyOptions) -> Ints:
    """Rows of the candidates that are to be verified and of which no verdict is known."""
    new = pc.invert(pc.is_in(pair_keys(candidates), value_set=pair_keys(known)))
    chosen = pc.and_(new, pc.greater_equal(candidates["score"], options.min_score))
    return np.flatnonzero(chosen.to_numpy(zero_copy_only=False)).astype(np.int64)


def chosen_pairs(pairs: PairNumbers, rows: Ints) -> PairNumbers:
    """Some rows of a part's pairs, with their correspondences."""
    points = [pairs.correspondences(int(row)) for row in rows]
    starts = np.cumsum([0, *map(len, points)]).astype(np.int64)
    together = np.concatenate([np.empty((0, 4), np.float32), *points])
    return PairNumbers(pairs.query[rows], pairs.reference[rows], starts, together)


def oriented(
    candidates: pa.Table, pairs: PairNumbers, files: Mapping[int, CatalogFile]
) -> tuple[pa.Table, PairNumbers]:
    """The same pairs, each with the image of the smaller SHA-256 as its query.

    files: by number. Numbers tell the night an image came in, and a
    verdict must not depend on that.
    """
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
        for name, values in (
            (one, pc.if_else(mask, theirs, ours)),
            (other, pc.if_else(mask, ours, theirs)),
        ):
            number = candidates.schema.get_field_index(name)
            candidates = candidates.set_column(number, candidates.schema.field(name), values)
    rows = np.repeat(turned, np.diff(pairs.starts))
    points = np.where(rows[:, None], pairs.points[:, [2, 3, 0, 1]], pairs.points)
    query = np.where(turned, pairs.reference, pairs.query)
    reference = np.where(turned, pairs.query, pairs.reference)
    return candidates, PairNumbers(query, reference, pairs.starts, points)


@dataclass(frozen=True)
class Judged:
    """Verdicts by what is known tonight: rows of `matches`; overturned: (n,) bool, where the
    evidence is described as that of a copy and the pair is none any more, or the other way
    round."""

    matches: pa.Table
    overturned: Bools


def judged(candidates: pa.Table, verdicts: pa.Table, options: VerifyOptions) -> Judged:
    """The verdicts on all candidates that have one, by tonight's scores.

    candidates: of the whole catalogue, those that are verified; verdicts: `matches` rows, each pair
    once. The decisions are those of `verify_part` on all of them together.
    """
    at = pc.index_in(pair_keys(candidates), value_set=pair_keys(verdicts))
    there = pc.is_valid(at)
    candidates, at = candidates.filter(there), at.filter(there)
    verdicts = verdicts.take(at)
    rows = candidates.to_pylist()
    proofs = verdicts["proof"].to_pylist()
    priors = [Prior.before_proof(_candidate(row)) for row in rows]
    least = options.matching.min_confidence
    copies = _copies(priors, proofs, least, options)
    families = in_proved_families([_candidate(row) for row in rows], copies.tolist())
    for row in np.flatnonzero(families).tolist():
        priors[row] = Prior.in_family(_candidate(rows[row]))
    copies = _copies(priors, proofs, least, options)
    sure = [
        prior.confidence(proof, options.calibration)
        for prior, proof in zip(priors, proofs, strict=True)
    ]
    before = verdicts["is_copy"].to_numpy(zero_copy_only=False)
    overturned = np.asarray(copies != before)
    columns = {
        "similarity": candidates["similarity"],
        "score": candidates["score"],
        "confidence": pa.array(sure, pa.float32()),
        "is_copy": pa.array(copies),
        "relation": pa.array(_relations(verdicts["relation"].to_pylist(), copies), pa.string()),
    }
    return Judged(_with(verdicts, columns), overturned)


def _candidate(row: Mapping[str, object]) -> Candidate:
    return Candidate(**row)  # type: ignore[arg-type]


def _copies(
    priors: Sequence[Prior], proofs: Sequence[float], least: float, options: VerifyOptions
) -> Bools:
    found = [
        proof >= prior.needed(least, options.calibration)
        for prior, proof in zip(priors, proofs, strict=True)
    ]
    return np.array(found, np.bool_)


def _relations(relations: Sequence[str], copies: Bools) -> list[str]:
    """Relations that fit the decisions. A pair that a new score makes a copy has not been looked at
    again, so its relation is the most general one."""
    return [
        relation if (relation in COPY_RELATIONS) == is_copy else "edited" if is_copy else "none"
        for relation, is_copy in zip(relations, copies.tolist(), strict=True)
    ]


def _with(table: pa.Table, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    for name, values in columns.items():
        number = table.schema.get_field_index(name)
        table = table.set_column(number, tables.MATCHES.field(name), values)
    return table


def as_if_proved(candidates: pa.Table) -> pa.Table:
    """The same candidates with their score taken as certain, for a second look at the pairs that it
    overturns."""
    number = candidates.schema.get_field_index("crowded")
    plain = pa.array(np.zeros(candidates.num_rows, np.bool_))
    return candidates.set_column(number, candidates.schema.field("crowded"), plain)


def newest(verdicts: Sequence[pa.Table]) -> pa.Table:
    """Verdicts of several tables, each pair once: that of the last table."""
    together = pa.concat_tables([tables.MATCHES.empty_table(), *verdicts])
    keys = pair_keys(together).to_numpy(zero_copy_only=False)
    _, first = np.unique(keys[::-1], return_index=True)
    kept = np.sort(len(keys) - 1 - first)
    return together.take(pa.array(kept))


def without(verdicts: pa.Table, keys: set[str]) -> pa.Table:
    """Verdicts on pairs of none of these images."""
    gone = pa.array(sorted(keys), pa.string())
    of_gone = pc.or_(
        pc.is_in(verdicts["query_id"], value_set=gone),
        pc.is_in(verdicts["reference_id"], value_set=gone),
    )
    return verdicts.filter(pc.invert(of_gone))


def for_size(options: VerifyOptions, images: int) -> tuple[VerifyOptions, bool]:
    """What is verified in a catalogue of this size, and whether the catalogue is too small for
    scores to mean anything. If so, its verdicts are made anew when it has grown."""
    resolved = options.for_collection(images)
    return resolved, resolved != options
