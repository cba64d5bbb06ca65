"""pixels → the pictures inside: in a screenshot, a collage, under a caption, on another picture.

What is pasted or framed ends at straight lines along rows and columns, where the colour steps at
nearly every pixel. All rectangles between the strongest such lines are weighed together, by sums
along the lines. Those whose sides are lines throughout, and that no line cuts in two, are pictures
inside, once plain margins are taken off. It takes about 3 ms on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from copydetect.types import Bools, Doubles, Floats, Ints, Pixels

SMALLEST_PX = 32
"""Images with a shorter side have no frames."""
_SEARCHED_PX = 192
_STEP = 15
"""Steps of the strongest channel over two px from which there is an edge."""
_BESIDE_PX = 2
_APART_PX = 3
_MOST_LINES = 12
_MOST_TRIED = 64
_MIN_SIDE = 0.1
_MIN_AREA, _MAX_AREA = 0.02, 0.9
_MAX_SHAPE = 4.0
_MEDIUM_SHARE = 0.5
_MIN_SHARE = 0.75
_MIN_LONE_SHARE = 0.9
"""Share of edge that a line needs which alone divides an image: horizons are lines, too."""
_LINE_WORTH = 0.1
_CUT_COST = 1.0
_SAME = 0.6
_MARGIN_SPREAD = 6.0
_MIN_CONTRAST = 8.0


@dataclass(frozen=True)
class Frame:
    """A rectangle of an image, in px: columns left … right − 1, rows top … bottom − 1."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """In px, 0 where it is empty."""
        return max(self.right - self.left, 0) * max(self.bottom - self.top, 0)

    def overlap(self, other: Frame) -> float:
        """The shared area over that of both together, 0 … 1."""
        shared = Frame(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area
        return shared / max(self.area + other.area - shared, 1)

    def scaled(self, across: float, down: float) -> Frame:
        """The same part of the image at another size."""
        return Frame(
            round(self.left * across),
            round(self.top * down),
            round(self.right * across),
            round(self.bottom * down),
        )

    def cut(self, pixels: Pixels) -> Pixels:
        """What it shows, contiguous."""
        return np.ascontiguousarray(pixels[self.top : self.bottom, self.left : self.right])


def find_frames(pixels: Pixels, count: int) -> list[Frame]:
    """At most `count` pictures inside, the surest first; none in most photos.

    pixels: (h, w, 3) uint8 of any size.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST_PX:
        return []
    factor = min(1.0, _SEARCHED_PX / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    sums = _Sums.of(small)
    whole = Frame(0, 0, *size)
    tried: list[Frame] = []
    found: list[Frame] = []
    for frame in (whole, *_rectangles(small)):
        if any(frame.overlap(other) > _SAME for other in tried):
            continue
        inner = sums.without_margins(frame)
        if frame is not whole:
            tried.append(frame)
        if (
            _MIN_AREA * whole.area <= inner.area <= _MAX_AREA * whole.area
            and all(inner.overlap(other) < _SAME for other in found)
            and sums.contrast(inner) > _MIN_CONTRAST
        ):
            found.append(inner)
        if len(found) == count:
            break
    return [frame.scaled(width / size[0], height / size[1]) for frame in found]


def _rectangles(small: Pixels) -> Iterator[Frame]:
    """Rectangles between lines, the surest first, with everything that nearly repeats them."""
    height, width = small.shape[:2]
    if min(height, width) < SMALLEST_PX // 2:
        return
    across = _edges(small)  # between columns
    down = _edges(np.ascontiguousarray(small.transpose(1, 0, 2)))
    columns, rows = _strongest_lines(across), _strongest_lines(down)
    left, right = _pairs(columns, _MIN_SIDE * width)
    top, bottom = _pairs(rows, _MIN_SIDE * height)
    by_column = _shares(across, columns, rows[top], rows[bottom])
    by_row = _shares(down, rows, columns[left], columns[right])
    # (4, column pairs, row pairs); the image's own borders are no evidence.
    sides = np.stack([by_column[left], by_column[right], by_row[top].T, by_row[bottom].T])
    known = ~np.isnan(sides)
    lines = known.sum(axis=0)
    least = np.where(known, sides, np.float32(1)).min(axis=0)
    cuts = np.maximum(_most_between(by_column, left, right), _most_between(by_row, top, bottom).T)
    shape = (columns[right] - columns[left])[:, None] / (rows[bottom] - rows[top])[None, :]
    fits = least > np.where(lines == 1, _MIN_LONE_SHARE, _MIN_SHARE)
    fits &= (lines > 0) & (np.abs(np.log(shape)) < np.log(_MAX_SHAPE))
    worth = least + _LINE_WORTH * lines - _CUT_COST * np.maximum(cuts - 0.5, 0)
    worth = np.where(fits, worth, -np.inf)
    for place in np.argsort(-worth, axis=None, kind="stable")[: min(_MOST_TRIED, int(fits.sum()))]:
        i, j = divmod(int(place), len(top))
        box = columns[left[i]], rows[top[j]], columns[right[i]], rows[bottom[j]]
        yield Frame(*(int(side) for side in box))


def _edges(pixels: Pixels) -> Floats:
    """(h, w) 1 where the colour steps between columns, at most one px off, else 0.

    A step counts where it is at least as large as those right beside it.
    """
    steps = np.zeros(pixels.shape[:2], np.uint8)
    red, green, blue = cv2.split(cv2.absdiff(pixels[:, 2:], pixels[:, :-2]))
    steps[:, 1:-1] = cv2.max(cv2.max(red, green), blue)
    peaks = cv2.dilate(steps, np.ones((1, 2 * _BESIDE_PX + 1), np.uint8))
    edges = ((steps > _STEP) & (steps == peaks)).astype(np.uint8)
    return cv2.dilate(edges, np.ones((1, 3), np.uint8)).astype(np.float32)


def _strongest_lines(edges: Floats) -> Ints:
    """(n,) columns with the longest lines, and the image's two borders, sorted."""
    height, width = edges.shape
    sums = np.zeros((height + 1, width), np.float32)
    np.cumsum(edges - np.float32(_MEDIUM_SHARE), axis=0, out=sums[1:])
    # The heaviest stretch of each column (Kadane's algorithm, by sums).
    strength = (sums - np.minimum.accumulate(sums, axis=0)).max(axis=0) / height
    strength[:_APART_PX] = strength[-_APART_PX:] = 0
    chosen = [0, width]
    while len(chosen) < _MOST_LINES + 2:
        place = int(strength.argmax())
        if strength[place] < 0.4 * _MIN_SIDE:
            break
        chosen.append(place)
        strength[max(place - _APART_PX, 0) : place + _APART_PX + 1] = 0
    return np.sort(np.array(chosen, np.int64))


def _pairs(places: Ints, least: float) -> tuple[Ints, Ints]:
    """Numbers of two places that are at least so far apart, and 8 px."""
    first, second = np.triu_indices(len(places), 1)
    apart = places[second] - places[first] >= max(least, 8)
    return first[apart].astype(np.int64), second[apart].astype(np.int64)


def _shares(edges: Floats, lines: Ints, starts: Ints, ends: Ints) -> Floats:
    """(lines, stretches): which share of each stretch of a line is edge; NaN for the borders."""
    sums = np.zeros((len(edges) + 1, len(lines)), np.float32)
    sums[1:, 1:-1] = np.cumsum(edges[:, lines[1:-1]], axis=0)
    shares = (sums[ends] - sums[starts]).T / (ends - starts).astype(np.float32)
    shares[[0, -1]] = np.nan
    return np.asarray(shares, np.float32)


def _most_between(shares: Floats, first: Ints, second: Ints) -> Floats:
    """(pairs, stretches): the most that any line between the two of a pair has, 0 for none."""
    most = np.zeros((len(first), shares.shape[1]), np.float32)
    for low in np.unique(first):
        running = np.maximum.accumulate(shares[low + 1 : -1], axis=0)
        pairs = (first == low) & (second > low + 1)
        most[pairs] = running[second[pairs] - low - 2]
    return most


@dataclass(frozen=True, eq=False)
class _Sums:
    """(h + 1, w + 1, 3) sums of an image's colours and of their squares above and to the left."""

    colours: Doubles
    squares: Doubles

    @classmethod
    def of(cls, small: Pixels) -> _Sums:
        colours, squares = cv2.integral2(small)
        return cls(np.asarray(colours, np.float64), np.asarray(squares, np.float64))

    def contrast(self, frame: Frame) -> float:
        """Standard deviation inside a frame, of the strongest channel."""
        mean, square = (
            (
                sums[frame.bottom, frame.right]
                - sums[frame.top, frame.right]
                - sums[frame.bottom, frame.left]
                + sums[frame.top, frame.left]
            )
            / max(frame.area, 1)
            for sums in (self.colours, self.squares)
        )
        return float(np.sqrt(np.maximum(square - mean**2, 0).max()))

    def without_margins(self, frame: Frame) -> Frame:
        """A frame less the rows, then the columns, of one colour at its ends."""
        left, top, right, bottom = frame.left, frame.top, frame.right, frame.bottom
        colours, squares = (
            np.diff(sums[top : bottom + 1, right] - sums[top : bottom + 1, left], axis=0)
            for sums in (self.colours, self.squares)
        )
        first, last = _busy(colours, squares, right - left)
        top, bottom = top + first, top + last
        if top == bottom:
            return Frame(left, top, left, bottom)
        colours, squares = (
            np.diff(sums[bottom, left : right + 1] - sums[top, left : right + 1], axis=0)
            for sums in (self.colours, self.squares)
        )
        first, last = _busy(colours, squares, bottom - top)
        return Frame(left + first, top, left + last, bottom)


def _busy(colours: Doubles, squares: Doubles, length: int) -> tuple[int, int]:
    """First and past-the-last stripe that is not of one colour with the end that it is at.

    colours, squares: (n, 3) sums over each stripe of `length` px.
    """
    means = colours / length
    plain = np.sqrt(np.maximum(squares / length - means**2, 0)).max(axis=1) < _MARGIN_SPREAD
    first, last = (
        _first_other(plain[::step], np.abs(means[::step] - means[::step][0]).max(axis=1))
        for step in (1, -1)
    )
    return first, max(len(means) - last, first)


def _first_other(plain: Bools, away: Doubles) -> int:
    other = ~plain | (away > 2 * _MARGIN_SPREAD)
    return int(other.argmax()) if other.any() else len(other)
