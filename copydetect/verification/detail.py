"""Two pictures that lie on each other → which of them has lost or gained detail.

Resampling softens: laid on each other, the finest detail of a warped copy is weaker than that of
its original, and the more so the finer it is. A sharpened copy has more, from middle detail on, and
nothing of its own. Noise is of all sizes, also where the picture is quiet, and says nothing of it.
"""

from __future__ import annotations

import numpy as np

from copydetect.verification.laid_blocks import POSITIONS, LaidBlocks
from copydetect.verification.pair_images import Floats

_COARSE, _MIDDLE, _FINE = range(3)
_BANDS = np.array([[(sum(place) - 1) // 2 == band for place in POSITIONS] for band in range(3)])
_OF_BANDS = (_BANDS / _BANDS.sum(axis=1, keepdims=True)).astype(np.float32)
_ROUNDING = 0.3
"""Energy of what rounding to whole levels leaves."""
_QUIET = 0.3
"""Share of the blocks, those of least contrast."""
_MOST_RESIZED = 1.43
_PLAIN = 0.1
"""In logarithms of energy, as all that follows: smaller differences tell nothing."""
_COHERENT = 0.8
"""Correlation of the fine detail of both: little was drawn, and little is noise."""
_SHARPENED, _OF_FINE, _ONE_SIZE, _EVENLY = 0.25, 0.55, -1.35, -0.7
"""By how much a sharpened copy has more middle detail, also as a share of what it has more of fine
detail; how much fine detail the difference has beside coarse; and the sum of the gains on both
grids: all at least."""
_RESAMPLED, _LESS_OF_FINE = (0.12, 1.2), 0.5
"""How much fine detail a warped copy has lost, at least and at most; and as which share of it, at
most, middle detail."""
_NOISE_IN_QUIET, _WHITE, _NOISY, _NOT_BLURRED = -0.5, 0.6, (0.4, 0.96), 4.3
"""Of noise: the difference in quiet blocks beside that in all; how far its fine and coarse detail
are from equal; the correlation that it leaves; and how steep the picture is, at most."""
_BLURRED, _MUCH_LOST = 4.5, 0.3
"""How steep a blurred picture is, and how much fine detail it has lost, at least. These limits were
chosen on groups made by `copydetect edits`."""


def changed_detail(on_query: LaidBlocks, on_reference: LaidBlocks) -> float:
    """1 where the detail of the query shows that it is the copy, −1 where that of the reference
    does, 0 where neither does."""
    scale = on_query.window.scale
    if not 1 / _MOST_RESIZED < scale < _MOST_RESIZED:
        return 0.0
    ours, theirs = _Detail(on_query), _Detail(on_reference)
    more = np.asarray(ours.more - theirs.more, np.float32) / np.float32(2)
    if abs(more[_FINE]) < _PLAIN:
        return 0.0
    if more[_FINE] > 0:  # the reference has more detail than the query
        return -_sharper_is_copy(ours, theirs, more, on_query.window.whole)
    return _sharper_is_copy(theirs, ours, -more, on_query.window.whole)


class _Detail:
    """Of a picture and of another one laid onto it, each (bands,): more: how much more energy the
    other one has; coherence: correlation; away: energy of the difference; in_quiet: the same in
    quiet blocks; steepness: by how much less energy the finest detail of the picture has."""

    def __init__(self, laid: LaidBlocks) -> None:
        ours, theirs = laid.ours, laid.theirs
        away = ours - theirs
        size = np.einsum("ij,ij->i", ours, ours) + np.einsum("ij,ij->i", theirs, theirs)
        quiet = away[size <= np.quantile(size, _QUIET)]
        own, other, both = _energy(ours, ours), _energy(theirs, theirs), _energy(ours, theirs)
        self.coherence = both / np.sqrt(own * other + 1e-6)
        self.more = _log(other) - _log(own)
        self.away, self.in_quiet = _log(_energy(away, away)), _log(_energy(quiet, quiet))
        self.steepness = float(_log(own)[_COARSE] - _log(own)[_FINE])


def _energy(one: Floats, other: Floats) -> Floats:
    """(bands,) mean product of coefficients."""
    return np.asarray(_OF_BANDS @ np.einsum("ij,ij->j", one, other) / len(one), np.float32)


def _log(energy: Floats) -> Floats:
    return np.asarray(np.log(energy + _ROUNDING), np.float32)


def _sharper_is_copy(soft: _Detail, sharp: _Detail, more: Floats, whole: bool) -> float:
    """1 where the sharper one is the copy, −1 where the softer one is, 0 where it is unclear.

    more: (bands,) by how much more detail the sharper one has; whole: whether pixels lie on pixels.
    """
    coherence = float(soft.coherence[_FINE] + sharp.coherence[_FINE]) / 2
    white = float(soft.away[_FINE] - soft.away[_COARSE])
    if coherence >= _COHERENT and more[_MIDDLE] >= max(_SHARPENED, _OF_FINE * more[_FINE]):
        evenly = soft.more[_FINE] + sharp.more[_FINE] >= _EVENLY
        return float(white >= _ONE_SIZE and evenly)
    if not whole:
        little, much = _RESAMPLED
        softened = coherence >= _COHERENT and more[_MIDDLE] <= _LESS_OF_FINE * more[_FINE]
        return -float(softened and little <= more[_FINE] <= much)
    in_quiet = soft.in_quiet[_FINE] - soft.away[_FINE] >= _NOISE_IN_QUIET and abs(white) < _WHITE
    if in_quiet and _NOISY[0] <= coherence <= _NOISY[1] and soft.steepness <= _NOT_BLURRED:
        return 1.0
    blurred = soft.steepness >= _BLURRED and coherence < _NOISY[1]
    return -float(blurred and more[_FINE] >= _MUCH_LOST and more[_MIDDLE] > 0)
