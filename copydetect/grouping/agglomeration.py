"""The verified pairs of a component → parts that hold together, without strangers.

Connected components chain strangers: one wrong pair joins two families, one collage all whose
pictures it holds. Here a component is built up again from its accepted pairs, the best supported
first, and two parts join only where the pairs between them, accepted or not, speak for it
together. A pair that is not accepted counts as much as its two images usually succeed: that two
heavy edits of a photo don't match is no surprise, that two originals with many copies each don't
match says that they are strangers.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from typing import NamedTuple


class Verdict(NamedTuple):
    """What verification said of one pair; row: of the pair, in `VerifiedPairs`."""

    confidence: float
    similarity: float
    is_copy: bool
    row: int = -1


_SUCCESS_OF_ANY = 0.4
"""The share of its copies that an image matches, assumed where nothing is known of the image. With
1/3, one more wrong pair joins two of the families that `tests/test_groups.py` plants. Recall is the
same up to 0.5."""

Verdicts = dict[int, dict[int, Verdict]]
"""The verified pairs among some images, both ways: image → partner → verdict."""


def agglomerate(
    verdicts: Verdicts, neighbors: int, sampled: Container[int] = ()
) -> list[list[int]]:
    """Split a component into parts that hold together, sorted; an image alone is a part too.

    Accepted pairs are taken in the order of the partners that their images share, then of
    confidence, and join the parts of their images where the log-odds of all pairs between the
    two parts sum to more than 0 (greedy additive edge contraction, Keuper et al., ICCV 2015).
    An accepted pair gives log(c / (1 − c)). Any other gives −r·r′ ≈ log(1 − r·r′), whether it was
    refused or never proposed, where r is the share of its own part that an image matched, smoothed.
    Of an image alone no r is known: a heavy edit that matches one of ten is no stranger to the
    other nine. There all of its misses together give −log(1 + m Σ r′), the mean of exp(−r Σ r′)
    over r of exponential distribution and mean m (`_SUCCESS_OF_ANY`).

    neighbors: the least number of candidates of an image. Where two images have as many copies
    each, it says nothing that they were not proposed: their lists were full. sampled: images of
    which only some pairs were verified; that two of them have no verdict says nothing either.
    """
    parts = _Parts(verdicts, neighbors, sampled)
    partners = {
        a: {b for b, verdict in of.items() if verdict.is_copy} for a, of in verdicts.items()
    }
    pairs = sorted(
        ((a, b) for a in partners for b in partners[a] if a < b),
        key=lambda ab: (
            -len(partners[ab[0]] & partners[ab[1]]),
            -verdicts[ab[0]][ab[1]].confidence,
            ab,
        ),
    )
    joined = True
    while joined:
        joined = False
        apart = [(a, b) for a, b in pairs if parts.number[a] != parts.number[b]]
        for a, b in apart:
            if parts.number[a] != parts.number[b] and parts.evidence(a, b) > 0.0:
                parts.join(a, b)
                joined = True
        pairs = apart
    return sorted(sorted(part) for part in parts.members.values())


class _Parts:
    """The parts of a component while they grow."""

    def __init__(self, verdicts: Verdicts, neighbors: int, sampled: Container[int]) -> None:
        self.verdicts = verdicts
        self.number = {image: image for image in verdicts}
        self.members = {image: [image] for image in verdicts}
        self._accepted = dict.fromkeys(verdicts, 0)
        copies = {a: sum(one.is_copy for one in of.values()) for a, of in verdicts.items()}
        self._full = {
            image for image, count in copies.items() if count >= neighbors or image in sampled
        }
        # Of each part: accepted pairs inside counted from both ends, and of images with full lists.
        self._total = dict.fromkeys(verdicts, 0)
        self._full_total = dict.fromkeys(verdicts, 0)
        self._full_count = {image: int(image in self._full) for image in verdicts}

    def evidence(self, a: int, b: int) -> float:
        """Log-odds that the parts of images a and b are one, from all pairs between them."""
        large, small = self._by_size(a, b)
        alone = len(self.members[small]) == 1
        missed = self._missed(large, small, alone)
        total = 0.0
        for image, other, verdict in self._between(a, b):
            success = self._success(other) * (1.0 if alone else self._success(image))
            counted = image not in self._full or other not in self._full
            if verdict.is_copy:
                odds = verdict.confidence / max(1.0 - verdict.confidence, 0.01)
                total += max(math.log(max(odds, 1e-9)), 0.1)
                missed -= success if counted else 0.0
            elif not counted:
                missed += success
        return total - (math.log1p(max(missed, 0.0) * _SUCCESS_OF_ANY) if alone else missed)

    def join(self, a: int, b: int) -> None:
        """Make the parts of a and b one."""
        large, small = self._by_size(a, b)
        for sums in (self._total, self._full_total, self._full_count):
            sums[large] += sums.pop(small)
        for image, other, verdict in self._between(a, b):
            if verdict.is_copy:
                for end in (image, other):
                    self._accepted[end] += 1
                    self._total[large] += 1
                    self._full_total[large] += end in self._full
        for image in self.members[small]:
            self.number[image] = large
        self.members[large] += self.members.pop(small)

    def _missed(self, large: int, small: int, alone: bool) -> float:
        """The evidence of all pairs between two parts if none were accepted, without pairs of two
        images whose lists are full."""
        every, full = self._successes(large, False), self._successes(large, True)
        if alone:
            return every - (full if self._full_count[small] else 0.0)
        return every * self._successes(small, False) - full * self._successes(small, True)

    def _success(self, image: int) -> float:
        return (self._accepted[image] + 1.0) / (len(self.members[self.number[image]]) + 2.0)

    def _successes(self, part: int, full: bool) -> float:
        """The sum of `_success` over a part, or over those of its images with full lists."""
        size = len(self.members[part])
        total = self._full_total[part] if full else self._total[part]
        return (total + (self._full_count[part] if full else size)) / (size + 2.0)

    def _by_size(self, a: int, b: int) -> tuple[int, int]:
        first, second = sorted((self.number[a], self.number[b]))
        larger_first = len(self.members[first]) >= len(self.members[second])
        return (first, second) if larger_first else (second, first)

    def _between(self, a: int, b: int) -> Iterator[tuple[int, int, Verdict]]:
        """The verified pairs between the parts of a and b."""
        large, small = self._by_size(a, b)
        for image in self.members[small]:
            for other, verdict in self.verdicts[image].items():
                if self.number[other] == large:
                    yield image, other, verdict
