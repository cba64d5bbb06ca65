"""How well a network finds the originals of edited copies that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from copydetect.description.normalization import fit_whitening, unit_rows
from copydetect.evaluation import metrics
from copydetect.training.options import TrainingOptions
from copydetect.training.targets import ENOUGH, embed_views
from copydetect.training.views import Numbers, square, validation_views
from copydetect.types import Floats, Pixels

POWERS = (0.0, 0.05, 0.1, 0.15, 0.2)
"""Powers of the whitening that a finished model is tried with; 0 leaves it as it is."""

_CANDIDATES = 10
_DENSITY_RANKS = (5, 30)


@dataclass(frozen=True)
class ValidationFigures:
    """recall_at_1; micro_ap of cosines; normalized_micro_ap, after the mean of the query's own
    similarities of ranks 5–30 is taken off."""

    recall_at_1: float
    micro_ap: float
    normalized_micro_ap: float

    def __str__(self) -> str:
        return " ".join(f"{name} {value:.4f}" for name, value in asdict(self).items())


@dataclass(frozen=True)
class ValidationSet:
    """Pictures held out, and two copies of each.

    references, queries, familiar: (n, s, s, 3) uint8; query i is a copy of reference i by kinds
    of edits that training does not draw, familiar i by those that it does.
    """

    references: npt.NDArray[np.uint8]
    queries: npt.NDArray[np.uint8]
    familiar: npt.NDArray[np.uint8]

    def embed(
        self, embed: Callable[[Tensor], Tensor], device: torch.device
    ) -> tuple[Floats, Floats, Floats]:
        """Unit vectors (n, d) of references, queries and familiar copies."""
        views = (self.references, self.queries, self.familiar)
        first, second, third = (embed_views(embed, v, device).cpu().numpy() for v in views)
        return first, second, third


def found_among(
    references: Floats, vectors: tuple[Floats, Floats, Floats]
) -> tuple[ValidationFigures, ValidationFigures]:
    """Search the originals of all queries, then of all familiar copies. vectors: what
    `ValidationSet.embed` returns; references: those of the originals, of another model perhaps."""
    _, queries, familiar = vectors
    return figures(queries @ references.T), figures(familiar @ references.T)


def validation_set(
    pictures: Sequence[Pixels], numbers: Numbers, options: TrainingOptions
) -> ValidationSet:
    """The pictures `numbers`, which are held out, and their copies, at the size of search."""
    side, seed = options.search_px, options.seed
    return ValidationSet(
        np.stack([square(pictures[int(i)], side) for i in numbers]),
        validation_views(pictures, numbers, [options.judging_mix], side, seed),
        validation_views(pictures, numbers, options.training_mixes, side, seed),
    )


@dataclass(frozen=True)
class TriedWhitening:
    """A whitening and its figures.

    matrix: (d, d) float32 that vectors are multiplied by; validation: of copies by edits that are
    held out; familiar: of the others.
    """

    power: float
    matrix: Floats
    validation: ValidationFigures
    familiar: ValidationFigures


def best_whitening(
    vectors: tuple[Floats, Floats, Floats], fitted: Floats, powers: Sequence[float] = POWERS
) -> TriedWhitening:
    """The whitening that finds most of both kinds of copies; the first of equally good ones.

    vectors: what `ValidationSet.embed` returns; fitted: (n, d) vectors of pictures to train on.
    """
    width, tried = fitted.shape[1], []
    for power in powers:
        matrix = np.eye(width, dtype=np.float32)
        if power and len(fitted) >= ENOUGH * width:
            matrix = fit_whitening(fitted, width, power).matrix
        first, second, third = (unit_rows(values @ matrix) for values in vectors)
        tried.append(TriedWhitening(power, matrix, *found_among(first, (first, second, third))))
    return max(tried, key=lambda whitening: together(whitening.validation, whitening.familiar))


def together(validation: ValidationFigures, familiar: ValidationFigures) -> float:
    """The figure that checkpoints and whitenings are chosen by: edits held out and others count the
    same.

    By the edits held out alone, nothing would beat a model that had been trained on them before.
    """
    return (validation.normalized_micro_ap + familiar.normalized_micro_ap) / 2


def figures(similarities: Floats) -> ValidationFigures:
    """Of (n, n) similarities, where the copies are on the diagonal."""
    count = len(similarities)
    ordered = -np.sort(-similarities, axis=1)
    first, last = _DENSITY_RANKS
    crowd = ordered[:, min(first - 1, count - 1) : last].mean(axis=1, keepdims=True)
    recall = float(np.mean(similarities.argmax(axis=1) == np.arange(count)))
    return ValidationFigures(recall, _micro_ap(similarities), _micro_ap(similarities - crowd))


def _micro_ap(scores: Floats) -> float:
    count = len(scores)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_CANDIDATES]
    labels = (best == np.arange(count)[:, None]).ravel()
    kept = np.take_along_axis(scores, best, axis=1).ravel()
    return metrics.micro_average_precision(metrics.precision_recall_curve(kept, labels, count))
