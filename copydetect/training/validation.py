"""How well a network finds the originals of edited copies that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from copydetect.edits import mix_named
from copydetect.evaluation import metrics
from copydetect.training.options import TrainingOptions
from copydetect.training.targets import embed_views
from copydetect.training.views import Numbers, square, validation_views
from copydetect.types import Pixels

_CANDIDATES = 10
_DENSITY_RANKS = (5, 30)


@dataclass(frozen=True)
class Figures:
    """recall_at_1; micro_ap of cosines; normalized_micro_ap, after the mean of the query's own
    similarities of ranks 5–30 is taken off."""

    recall_at_1: float
    micro_ap: float
    normalized_micro_ap: float

    def __str__(self) -> str:
        return " ".join(f"{name} {value:.4f}" for name, value in asdict(self).items())


@dataclass(frozen=True)
class ValidationSet:
    """references, queries: (n, s, s, 3) uint8; query i is an edited copy of reference i."""

    references: npt.NDArray[np.uint8]
    queries: npt.NDArray[np.uint8]

    def measure(self, embed: Callable[[Tensor], Tensor], device: torch.device) -> Figures:
        """Search the originals of all queries."""
        references = embed_views(embed, self.references, device).cpu().numpy()
        queries = embed_views(embed, self.queries, device).cpu().numpy()
        return figures(queries @ references.T)


def validation_set(
    pictures: Sequence[Pixels], numbers: Numbers, options: TrainingOptions
) -> ValidationSet:
    """The pictures held out, and a copy of each by edits that training does not draw."""
    mix, side = mix_named(options.validation_mix), options.image_px
    return ValidationSet(
        np.stack([square(pictures[int(i)], side) for i in numbers]),
        validation_views(pictures, numbers, mix, side, options.seed),
    )


def figures(similarities: npt.NDArray[np.float32]) -> Figures:
    """Of (n, n) similarities, where the copies are on the diagonal."""
    count = len(similarities)
    ordered = -np.sort(-similarities, axis=1)
    first, last = _DENSITY_RANKS
    crowd = ordered[:, min(first - 1, count - 1) : last].mean(axis=1, keepdims=True)
    recall = float(np.mean(similarities.argmax(axis=1) == np.arange(count)))
    return Figures(recall, _micro_ap(similarities), _micro_ap(similarities - crowd))


def _micro_ap(scores: npt.NDArray[np.float32]) -> float:
    count = len(scores)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_CANDIDATES]
    labels = (best == np.arange(count)[:, None]).ravel()
    kept = np.take_along_axis(scores, best, axis=1).ravel()
    return metrics.micro_average_precision(metrics.precision_recall_curve(kept, labels, count))
