"""A part of a component → groups, each around its kept image, with the path of every member to
it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.grouping.agglomeration import Verdict, Verdicts
from copydetect.grouping.pairs import VerifiedPairs, inverse_or_unknown

Floats = npt.NDArray[np.float64]

_FAVOURITES = 16
"""How many of the most preferred images of a part are tried as the kept one."""
_NEAR, _FAR_CONFIDENCE = 2, 0.95
"""Members up to this many steps away need `min_path_confidence`; farther ones need this
confidence."""
_LIKELY = 0.5
"""Of the path of a member to the kept image through the centre of their group."""
_SHARED = 0.1
"""Share of the smaller picture: one that has less in common with the kept image is no copy of
it."""


@dataclass(frozen=True)
class Path:
    """How a member is connected with the kept image: by the accepted pairs `steps`, in their order.

    steps: rows of the pairs, from the kept image on, none for itself; through: the image before
    the member, None where the two were matched; confidence: 0…1 that they are copies, by all
    accepted pairs that speak for it; similarity: the least on the way; to_kept: (3, 3) px of the
    member → px of the kept image, NaN where unknown.
    """

    steps: tuple[int, ...] = ()
    through: int | None = None
    confidence: float = 1.0
    similarity: float = 1.0
    to_kept: Floats = field(default_factory=lambda: np.eye(3))


@dataclass(frozen=True)
class Sizes:
    """(images,) widths and heights in px, 0 where unknown."""

    widths: npt.NDArray[np.int64]
    heights: npt.NDArray[np.int64]

    def frame(self, image: int) -> Floats:
        """(4, 2) corners."""
        width, height = float(self.widths[image]), float(self.heights[image])
        return np.array([[0, 0], [width, 0], [width, height], [0, height]])


def hold_together(
    part: Sequence[int],
    verdicts: Verdicts,
    pairs: VerifiedPairs,
    sizes: Sizes,
    order: Callable[[Sequence[int]], list[int]],
    min_path_confidence: float,
) -> Iterator[tuple[int, dict[int, Path]]]:
    """Groups of `part`, each as the kept image and every member's path to it (itself included).

    order: sorts images, the one to keep first. A group is built around the image that most others
    are connected with; the 16 most preferred ones and the one with most matches are tried. The most
    preferred member that shows something of all others is kept. An image that is connected with no
    such centre is left out.
    """
    remaining = set(part)
    while len(remaining) > 1:
        preferred = order(sorted(remaining))
        hub = max(preferred, key=lambda image: len(_copies(image, remaining, verdicts)))
        centre, best = hub, dict[int, Path]()
        for image in [*preferred[:_FAVOURITES], hub]:
            paths = paths_to(image, remaining, verdicts, pairs, sizes, min_path_confidence)
            if len(paths) > len(best):
                centre, best = image, paths
            if len(best) == len(remaining):
                break
        if len(best) < 2:
            return
        first = [image for image in preferred if image in best][:_FAVOURITES]
        for image in [*first, centre]:
            own = paths_to(image, set(best), verdicts, pairs, sizes, min_path_confidence)
            if _reach_all(own, image, best, centre, sizes):
                yield image, own
                break
        remaining -= best.keys()


def _reach_all(
    own: dict[int, Path], kept: int, paths: dict[int, Path], centre: int, sizes: Sizes
) -> bool:
    """Add to the paths to `kept` those that lead to it through the centre, as long as each member
    is likely to be a copy and shows something of it; returns whether all are."""
    back = paths[kept]
    for image in sorted(paths.keys() - own.keys()):
        path = paths[image]
        confidence = back.confidence * path.confidence
        to_kept = inverse_or_unknown(back.to_kept) @ path.to_kept
        if confidence < _LIKELY or not shows_some(to_kept, sizes.frame(image), sizes.frame(kept)):
            return False
        own[image] = Path(
            (*back.steps[::-1], *path.steps),
            centre if path.through is None else path.through,
            confidence,
            min(back.similarity, path.similarity),
            to_kept,
        )
    return True


def paths_to(
    kept: int,
    among: set[int],
    verdicts: Verdicts,
    pairs: VerifiedPairs,
    sizes: Sizes,
    min_path_confidence: float,
) -> dict[int, Path]:
    """The surest path to `kept` from each image that belongs to it; `kept` is among them.

    An image belongs to the kept one with the probability that one of its accepted pairs with those
    that belong to it is right and these do belong: 1 − Π(1 − belief · confidence), the surest
    first. It must show something of what the kept image shows, by the transforms on the way: two
    halves of a panorama have the whole in common and no pixel.
    """
    paths = {kept: Path()}
    outside: set[int] = set()
    doubts: dict[int, float] = {}
    queue: list[tuple[float, int]] = []

    def go_on_from(image: int) -> None:
        for other, verdict in _copies(image, among, verdicts):
            if other not in paths and other not in outside:
                doubts[other] = doubts.get(other, 1.0) * (
                    1.0 - paths[image].confidence * verdict.confidence
                )
                heapq.heappush(queue, (doubts[other], other))

    go_on_from(kept)
    while queue:
        doubt, image = heapq.heappop(queue)
        if image in paths or image in outside or doubt > doubts[image]:
            continue
        direct = verdicts[kept].get(image)
        if 1.0 - doubt < min_path_confidence and not (direct and direct.is_copy):
            continue
        path = _surest_path(image, kept, paths, verdicts, pairs, sizes)
        if path is None:
            outside.add(image)
            continue
        if len(path.steps) > _NEAR and 1.0 - doubt < _FAR_CONFIDENCE:
            continue
        paths[image] = replace(path, confidence=1.0 - doubt)
        go_on_from(image)
    return paths


def _surest_path(
    image: int,
    kept: int,
    paths: dict[int, Path],
    verdicts: Verdicts,
    pairs: VerifiedPairs,
    sizes: Sizes,
) -> Path | None:
    """The pair with the kept image itself, else the path through the surest of `paths` that shows
    something of it; None where there is none."""
    ways = [
        (
            middle != kept,
            -paths[middle].confidence * verdict.confidence,
            len(paths[middle].steps),
            middle,
        )
        for middle, verdict in verdicts[image].items()
        if verdict.is_copy and middle in paths
    ]
    for *_, middle in sorted(ways):
        verdict, before = verdicts[image][middle], paths[middle]
        path = Path(
            (*before.steps, verdict.row),
            None if middle == kept else middle,
            verdict.confidence,
            min(before.similarity, verdict.similarity),
            before.to_kept @ pairs.transform(verdict.row, image),
        )
        if middle == kept or shows_some(path.to_kept, sizes.frame(image), sizes.frame(kept)):
            return path
    return None


def shows_some(to_kept: Floats, member: Floats, kept: Floats) -> bool:
    """Whether a picture shows something of the kept one; where the transform is unknown it may."""
    shared, own, other = shared_area(to_kept, member, kept)
    return bool(np.isnan(shared)) or shared >= _SHARED * min(own, other)


def shared_area(to_kept: Floats, member: Floats, kept: Floats) -> tuple[float, float, float]:
    """Px of the kept image that both pictures fill, that the member would fill, and of all of it.

    member, kept: (4, 2) corners; NaN where the transform is unknown or turns a frame inside out.
    """
    corners = np.column_stack([member, np.ones(4)]) @ to_kept.T
    if not np.isfinite(corners).all() or corners[:, 2].min() <= 1e-9 * abs(corners[:, 2]).max():
        return np.nan, np.nan, np.nan
    laid = (corners[:, :2] / corners[:, 2:]).astype(np.float32)
    frame = kept.astype(np.float32)
    area, _ = cv2.intersectConvexConvex(laid, frame)
    return float(area), float(cv2.contourArea(laid)), float(cv2.contourArea(frame))


def _copies(image: int, among: set[int], verdicts: Verdicts) -> list[tuple[int, Verdict]]:
    return [
        (b, verdict) for b, verdict in verdicts[image].items() if verdict.is_copy and b in among
    ]
