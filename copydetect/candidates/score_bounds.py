"""All pairs that were found → those that can reach the least score, before anything is sorted.

Most pairs are chance neighbours, which only tell how crowded it is around an image. Where what is
kept needs a least score, a bound of each pair's score leaves these out. The two channels meet in
tables of hashed pairs: two pairs that share a place only make the bound of both looser, so that no
pair is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copydetect.candidates.densities import Densities
from copydetect.candidates.fusion import FUSION, CandidateOptions
from copydetect.candidates.pair_spills import PairRows
from copydetect.types import Floats, Ints

AGREEING = 0.6
"""Votes of pairs that are not left out for their score: strangers have .1 to .3."""
_ROUNDING = 1e-3
_PLACES_PER_PAIR = 4
_MIXER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class _Channel:
    """The pairs of one channel. query, reference: (n,) int64; scores: (n,) float32, in the unit of
    the densities; weight: in the sum of both channels."""

    query: Ints
    reference: Ints
    scores: Floats
    densities: Densities
    weight: float

    @classmethod
    def of(cls, rows: PairRows, densities: Densities, column: str, weight: float) -> _Channel:
        query, reference, scores = (
            np.ascontiguousarray(rows.records[name]) for name in ("query", "reference", column)
        )
        return cls(query, reference, densities.evidence(scores), densities, weight)

    def places(self, count: int) -> Ints:
        """(n,) the place of each pair, whichever way round it is, in a table of 2^k ones."""
        smaller = np.minimum(self.query, self.reference).astype(np.uint64)
        larger = np.maximum(self.query, self.reference).astype(np.uint64)
        mixed = (smaller * _MIXER ^ larger) * _MIXER
        places: Ints = (mixed >> np.uint64(65 - count.bit_length())).astype(np.int64)
        return places

    @property
    def worth(self) -> Floats:
        """(n,) float32: what each row adds to a score, at most."""
        return self._weighed(self.scores, self.query, self.reference)

    def silent(self, other: _Channel) -> Floats:
        """(n,) float32: what this channel adds, at most, for rows of another channel whose pair it
        has not found."""
        floors = self.densities.floors
        most = np.minimum(floors[other.query], floors[other.reference])
        return self._weighed(most, other.query, other.reference)

    def _weighed(self, scores: Floats, query: Ints, reference: Ints) -> Floats:
        surplus = (scores - self.densities.of_pairs(query, reference)) / self.densities.spread
        return np.asarray(self.weight * np.logaddexp(0, surplus), np.float32)


def may_reach_least_score(
    found: PairRows | None,
    voted: PairRows | None,
    densities: tuple[Densities | None, Densities | None],
    options: CandidateOptions,
) -> tuple[PairRows | None, PairRows | None]:
    """The rows of pairs of a collection searched for itself that may score `options.least_score`.

    found, voted: of the descriptor and the local channel, None for one that is off. Pairs of large
    families stay, as do those that hold crowds together: what is kept of them depends on all. So do
    pairs of pictures with little content and those with many votes, which are looked at whatever
    their score.
    """
    channels: dict[int, _Channel] = {}
    crowds = densities[0] or densities[1]
    if found is not None and densities[0] is not None:
        channels[0] = _Channel.of(found, densities[0], "score", FUSION.descriptor)
    if voted is not None and densities[1] is not None:
        channels[1] = _Channel.of(voted, densities[1], "votes", FUSION.local)
    pairs = sum(len(channel.query) for channel in channels.values())
    count = 1 << max(1, _PLACES_PER_PAIR * pairs).bit_length()
    places = {number: channel.places(count) for number, channel in channels.items()}
    wanted = np.zeros(count, np.bool_)
    for number, channel in channels.items():
        most = FUSION.intercept + channel.worth
        for other, another in channels.items():
            if other != number:
                best = np.zeros(count, np.float32)
                np.maximum.at(best, places[other], another.worth)
                most = most + np.maximum(another.silent(channel), best[places[number]])
        kept = ~(most < options.least_score - _ROUNDING)
        if crowds is not None:
            kept |= crowds.in_large_families(channel.query, channel.reference, options.family)
        if number == 0 and found is not None:
            kept |= found.records["similarity"] >= options.connect_similarity
            kept |= found.records["little"]
        if number == 1 and voted is not None:
            kept |= voted.records["votes"] >= AGREEING
        wanted[places[number][kept]] = True
    rows = {number: np.flatnonzero(wanted[places[number]]) for number in channels}
    return (
        found.take(rows[0]) if found is not None and 0 in rows else found,
        voted.take(rows[1]) if voted is not None and 1 in rows else voted,
    )
