"""What both channels found → candidates, part by part of the queries.

    neighbours, votes → pairs, sent to the blocks of both images → how crowded it is around images
    → pairs scored, those kept sent to the part of their query → candidates of a part

An image's best pairs can be told only where all its pairs are. So each pair of a collection
searched for itself is scored in the blocks (runs of parts) of both of its images, and kept where it
is among the best of one. No step holds more than the pairs of one block; the result is that of all
pairs at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pyarrow as pa

from copydetect import runs, tables
from copydetect.candidates.candidate_job import CandidateJob
from copydetect.candidates.densities import Densities
from copydetect.candidates.density_steps import (
    DensityScale,
    densities_of,
    nearness_of,
    sampled_lists,
)
from copydetect.candidates.descriptor_pairs import (
    joined,
    neighbor_pairs,
    of_full_lists,
    of_little_content,
    proposed_pairs,
)
from copydetect.candidates.fusion import (
    CandidatePairs,
    DescriptorPairs,
    LocalPairs,
    merge_pairs,
)
from copydetect.candidates.mapped_tables import (
    DescribedSide,
    ImageIds,
    load_described_side,
    write_described_part,
    write_described_side,
)
from copydetect.candidates.pair_numbers import PairNumbers, write_pairs
from copydetect.candidates.pair_spills import (
    FOUND,
    VOTED,
    PairRows,
    bundle,
    ends_of,
    is_sent,
    receive,
    send,
)
from copydetect.candidates.ranks import ranks_of
from copydetect.candidates.score_bounds import AGREEING, may_reach_least_score
from copydetect.index.spills import Records, read_arrays, write_arrays
from copydetect.parts import PART, PartNames
from copydetect.search.neighbors import read_neighbors
from copydetect.search.vote_parts import read_votes
from copydetect.search.votes import Votes
from copydetect.sorted_rows import begins_run
from copydetect.storage.files import Storage
from copydetect.types import Bools, Floats, Ints

_Pairs = TypeVar("_Pairs", DescriptorPairs, LocalPairs)

_EVERY_PAIR = 2**31
_NEAREST, _CENTRAL = 1, 1
"""So many of its best pairs, and of those with the middle of its family, are verified for an image
of a large family. The others are spare: they are looked at only where these do not hold it.
"""
_LOOKED_AT, _OF_SIMILARITY = -6.8, 0.1
"""The least score of a pair of pictures with little content that are alike, the more the better. It
is verified by default: laid on each other, such pictures show what they share."""
_ALIKE = 0.7
"""Pairs of this similarity whose features agree as well (`AGREEING`) are verified likewise: in a
family of edits the images are so crowded by each other that scores fall below those of strangers,
although the nearest of them are not near enough to be a crowd.
"""
_CROWDED_AT_MOST = -6.0
"""The most that a crowded pair scores, in log-odds: hardly more than a stranger, but enough to be
verified by default. What densities make of pages of one form is as high as what they make of a
family of copies."""
_NO_VIEW = -1
_SHOWN = ("similarity", "descriptor_score", "votes", "local_score", "score")
_KEPT = np.dtype(
    [
        ("query", "<i8"),
        ("reference", "<i8"),
        *((name, "<f4") for name in _SHOWN),
        ("crowded", "?"),
        ("spare", "?"),
        ("rank", "<i4"),
        ("views", "<i4", (2,)),
        ("points", "<i4"),
    ]
)


def described_step(job: CandidateJob, work: tuple[int, int]) -> int:
    """Write the vectors of one part of one side; returns how many."""
    number, part = work
    files = job.proposals.sides[number]
    return write_described_part(job.storage, files, part, job.side_folder(number))


def sides_step(job: CandidateJob, described: Sequence[tuple[tuple[int, int], int]]) -> None:
    """Gather what is looked up of any image; described: what `described_step` returned."""
    counts = dict(described)
    for number, side in enumerate(job.proposals.sides):
        folder = job.side_folder(number)
        ImageIds.write(job.storage, runs.join(folder, "images.arrow"), side.image_files)
        some = [counts[number, part] for part in range(side.parts) if (number, part) in counts]
        if some:
            write_described_side(job.storage, folder, some)


def found_step(job: CandidateJob, part: int) -> None:
    """Turn what was found for a part of the queries into pairs of images, and send these to the
    blocks that score them."""
    proposals = job.proposals
    sample = job.uri("sample", part)
    channels = [("found", proposals.described), ("voted", bool(proposals.votes))]
    sent = [job.uri(name, part, "spill") for name, on in channels if on]
    if all(is_sent(job.storage, uri) for uri in sent) and job.storage.is_whole(sample):
        return
    votes = read_votes(job.storage, proposals.votes[part]) if proposals.votes else None
    columns: dict[str, Ints | Floats] = {}
    capped = 0
    if proposals.described:
        found = PairRows(_described_pairs(job, part, votes), np.empty((0, 4), np.float32))
        to = ends_of(job, found.records, "score")
        send(job.storage, job.uri("found", part, "spill"), found, to[:2])
        capped += to.capped
        searched = found.records[found.records["searched"]]
        columns |= sampled_lists(job, "found", searched["query"], searched["score"])
    if votes is not None:
        voted = _voted(votes)
        to = ends_of(job, voted.records, "votes")
        send(job.storage, job.uri("voted", part, "spill"), voted, to[:2])
        capped += to.capped
        columns |= sampled_lists(job, "voted", votes.query, votes.votes)
    write_arrays(job.storage, sample, part, **columns, capped=np.array(capped))


def capped_pairs(storage: Storage, scratch: str, parts: int) -> int:
    """How many pairs were not scored where their reference is: it resembles too many. scratch: of
    the merging."""
    samples = PartNames(runs.join(scratch, "sample"), PART, parts, "npz")
    return sum(int(read_arrays(storage, uri)[1].get("capped", 0)) for uri in samples)


def _sides(job: CandidateJob) -> tuple[DescribedSide, DescribedSide]:
    folders = (job.side_folder(number) for number in range(2))
    queries, references = (load_described_side(job.storage, folder) for folder in folders)
    return queries, references


def _described_pairs(job: CandidateJob, part: int, votes: Votes | None) -> Records:
    """`FOUND` records: what the search of descriptors found, and what only votes propose."""
    neighbors = read_neighbors(job.storage, job.proposals.neighbors[part])
    sides = _sides(job)
    found = neighbor_pairs(neighbors, *sides)
    searched = len(found[1])
    if votes is not None:
        proposed = proposed_pairs((votes.query, votes.reference), found[0], *sides)
        found = joined(found, proposed)
    records = np.zeros(len(found[1]), FOUND)
    for name in ("query", "reference", "similarity", "score"):
        records[name] = getattr(found[0], name)
    records["views"] = found[1]
    # Only what the search returned tells how crowded it is around an image.
    records["crowd"][:searched] = of_full_lists(found[0], searched)
    records["searched"][:searched] = ~records["crowd"][:searched]
    records["little"] = of_little_content(found, *sides)
    return records


def _voted(votes: Votes) -> PairRows:
    records = np.zeros(len(votes.query), VOTED)
    records["query"], records["reference"] = votes.query, votes.reference
    records["votes"], records["points"] = votes.votes, np.diff(votes.starts)
    return PairRows(records, votes.points)


def score_step(job: CandidateJob, block: int, scale: DensityScale) -> None:
    """Score every pair of a block's images, and send those that are kept to their query's part."""
    uri = job.uri("kept", block, "spill")
    if is_sent(job.storage, uri):
        return
    proposals = job.proposals
    # From other parts come the pairs that these found.
    channels = ("found", FOUND, proposals.described), ("voted", VOTED, bool(proposals.votes))
    found, voted = (
        receive(job.storage, job.found_for(name, block), block, dtype) if is_on else None
        for name, dtype, is_on in channels
    )
    densities = densities_of(job, scale)
    if proposals.symmetric and job.options.least_score > -np.inf:
        found, voted = may_reach_least_score(found, voted, densities, job.options)
    columns = _columns(DescriptorPairs, found), _columns(LocalPairs, voted)
    everything = replace(job.options, k=_EVERY_PAIR)
    pairs = merge_pairs(*columns, densities, everything, symmetric=proposals.symmetric)
    alike = _of_little_content(pairs, found)
    alike |= (pairs.similarity >= _ALIKE) & (pairs.votes >= AGREEING)
    least = _LOOKED_AT + _OF_SIMILARITY * (pairs.similarity[alike] - 1)
    pairs.score[alike] = np.maximum(pairs.score[alike], least)
    ranks = _ranks_inside(job, block, pairs.query, pairs.reference, (pairs.score, pairs.score))
    crowds = densities[0] or densities[1]
    ends = _crowded_ends(job, crowds, pairs)
    wanted = job.options.keeps(ranks, pairs.score, np.asarray(ends.any(axis=0) | alike))
    spare = np.zeros(len(ranks), np.bool_)
    if crowds is not None and proposals.symmetric:
        spare = crowds.in_large_families(pairs.query, pairs.reference, job.options.family)
    spare[ranks <= _NEAREST] = False
    for held in (_connecting(job, block, pairs), _to_the_middle(job, block, pairs, spare)):
        wanted[held], spare[held] = True, False
    rows = np.flatnonzero(wanted)
    kept = _kept(pairs, ranks, rows, found, voted)
    crowded = np.asarray(ends.all(axis=0))[rows]
    kept.records["crowded"] = crowded
    kept.records["score"][crowded] = np.minimum(kept.records["score"][crowded], _CROWDED_AT_MOST)
    kept.records["spare"] = spare[rows]
    parts = proposals.queries.parts_of(kept.records["query"])
    send(job.storage, uri, kept, (np.arange(len(rows)), parts))


def _of_little_content(pairs: CandidatePairs, found: PairRows | None) -> Bools:
    """(n,) bool: which pairs are alike, of pictures with little content."""
    little = np.zeros(len(pairs.query), np.bool_)
    if found is not None:
        described = np.flatnonzero(pairs.descriptor_row >= 0)
        little[described] = found.records["little"][pairs.descriptor_row[described]]
    return little


def _crowded_ends(job: CandidateJob, densities: Densities | None, pairs: CandidatePairs) -> Bools:
    """(ends, n) bool: which images of pairs have so many near neighbours that only proof tells
    copies among them; of `match` only the queries' are known."""
    ends = [pairs.query, pairs.reference] if job.proposals.symmetric else [pairs.query]
    if densities is None:
        return np.zeros((len(ends), len(pairs.query)), np.bool_)
    return np.stack([densities.crowded[end] for end in ends])


def _to_the_middle(job: CandidateJob, block: int, pairs: CandidatePairs, among: Bools) -> Ints:
    """Rows of the pairs that the images of the block have with the middle of their family.

    Each image has them with those of its partners that are nearest to their own neighbours: most
    images of a family with the same few, of which each has them with others again. They are the
    density peaks of Rodriguez and Laio (Science 2014). among: (n,) bool, pairs of families.
    """
    rows = np.flatnonzero(among)
    if not len(rows):
        return rows
    query, reference = pairs.query[rows], pairs.reference[rows]
    near = nearness_of(job)
    ranks = _ranks_inside(job, block, query, reference, (near[reference], near[query]))
    return rows[ranks <= _CENTRAL]


def _columns(kind: type[_Pairs], received: PairRows | None) -> _Pairs | None:
    if received is None:
        return None
    names = kind.__dataclass_fields__
    return kind(**{name: np.ascontiguousarray(received.records[name]) for name in names})


def _ranks_inside(
    job: CandidateJob, block: int, query: Ints, reference: Ints, scores: tuple[Floats, Floats]
) -> Ints:
    """The rank of each pair among those of an image of the block: of its better image there.

    scores: of each pair for its query and for its reference.
    """
    if not job.proposals.symmetric:
        return ranks_of(query, reference, scores[0])
    image, other = np.concatenate([query, reference]), np.concatenate([reference, query])
    ranks = ranks_of(image, other, np.concatenate(scores))
    ranks[job.blocks_of(image) != block] = _EVERY_PAIR + 1
    return np.minimum(ranks[: len(query)], ranks[len(query) :])


def _connecting(job: CandidateJob, block: int, pairs: CandidatePairs) -> Ints:
    """Rows of the pairs that hold crowds together, of the images of the block."""
    if not job.proposals.symmetric:
        return np.empty(0, np.int64)
    near = np.flatnonzero(pairs.similarity >= job.options.connect_similarity)
    image = np.concatenate([pairs.query[near], pairs.reference[near]])
    other = np.concatenate([pairs.reference[near], pairs.query[near]])
    order = np.lexsort((other, image))
    images, first, counts = np.unique(image[order], return_index=True, return_counts=True)
    crowded = (counts > job.options.k) & (job.blocks_of(images) == block)
    rows: Ints = np.tile(near, 2)[order[first[crowded]]]
    return rows


def _kept(
    pairs: CandidatePairs, ranks: Ints, rows: Ints, found: PairRows | None, voted: PairRows | None
) -> PairRows:
    """The records of kept pairs, with their views and their points."""
    records = np.zeros(len(rows), _KEPT)
    for name in ("query", "reference", *_SHOWN):
        records[name] = getattr(pairs, name)[rows]
    # No two pairs of an image have one rank, so that the ranks of kept pairs fit int32.
    records["rank"] = np.minimum(ranks[rows], np.iinfo(np.int32).max)
    records["views"] = _NO_VIEW
    described = np.flatnonzero(pairs.descriptor_row[rows] >= 0)
    if found is not None:
        records["views"][described] = found.records["views"][pairs.descriptor_row[rows[described]]]
    local = np.flatnonzero(pairs.local_row[rows] >= 0)
    if voted is None:
        return PairRows(records, np.empty((0, 4), np.float32))
    mine = voted.take(pairs.local_row[rows[local]])
    records["points"][local] = mine.records["points"]
    turned = np.repeat(mine.records["query"] != records["query"][local], mine.records["points"])
    points = np.where(turned[:, None], mine.points[:, [2, 3, 0, 1]], mine.points)
    return PairRows(records, points)


def bundle_step(job: CandidateJob, work: tuple[str, int]) -> None:
    """Merge the spills of a bundle of parts or of blocks."""
    bundle(job.storage, job.bundled(*work), job.bundle_uri(*work))


def bundles_of_found(job: CandidateJob) -> list[tuple[str, int]]:
    """The bundles of what parts found."""
    channels = (("found", job.proposals.described), ("voted", bool(job.proposals.votes)))
    return [one for kind, on in channels if on for one in job.bundles(kind)]


def bundles_of_kept(job: CandidateJob) -> list[tuple[str, int]]:
    """The bundles of what blocks have kept."""
    return job.bundles("kept")


def collect_step(job: CandidateJob, part: int) -> str:
    """Write the candidates of a part of the queries: the table, whose URI it returns, and pairs."""
    kept = receive(job.storage, job.kept_for(part), part, _KEPT)
    records = kept.records
    # A pair may come from the blocks of both of its images, with its rank there.
    order = np.lexsort((records["rank"], records["reference"], records["query"]))
    first = begins_run(records["query"][order], records["reference"][order])
    if len(order):
        # A pair is spare where the blocks of both of its images say so.
        every = np.logical_and.reduceat(records["spare"][order], np.flatnonzero(first))
        records["spare"][order[first]] = every
    order = order[first]
    best = records[order]
    order = order[np.lexsort((best["reference"], -best["score"], best["query"]))]
    kept = kept.take(order)
    starts = np.r_[0, np.cumsum(kept.records["points"])].astype(np.int64)
    query, reference = (np.ascontiguousarray(kept.records[n]) for n in ("query", "reference"))
    pairs = PairNumbers(query, reference, starts, kept.points)
    write_pairs(job.storage, runs.join(job.pairs_folder, runs.part_name(part, "npz")), pairs)
    uri = runs.join(job.folder, runs.part_name(part))
    tables.write_table(job.storage, uri, _table(job, kept.records))
    return uri


def _table(job: CandidateJob, kept: Records) -> pa.Table:
    """Rows of the candidates table; a channel that is silent is null."""
    names: dict[str, pa.Array] = {}
    for number, column in enumerate(("query", "reference")):
        side = job.proposals.sides[number]
        ids = ImageIds(job.storage, runs.join(job.side_folder(number), "images.arrow"), side.starts)
        names[f"{column}_id"] = ids.of(kept[column])
        views = kept["views"][:, number]
        at = pa.array(views, mask=views == _NO_VIEW)
        names[f"{column}_view"] = pa.array(job.proposals.views, pa.string()).take(at)
    columns = {name: pa.array(kept[name], from_pandas=True) for name in _SHOWN}
    columns |= {name: pa.array(kept[name]) for name in ("crowded", "spare")}
    return (
        pa.table({**names, **columns, "rank": kept["rank"]})
        .select(tables.CANDIDATES.names)
        .cast(tables.CANDIDATES)
    )
