"""`copydetect benchmark score`: what score normalisation is worth, on the descriptors of a truth.

Descriptors only and exact search, so that nothing else is compared: bare cosines, what is left of
them when the background is taken off, or the density of the collection, or both, as runs do.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from copydetect.candidates.densities import Densities, similarity_densities
from copydetect.candidates.fusion import (
    CandidateOptions,
    DescriptorPairs,
    merge_pairs,
)
from copydetect.description.descriptors import Embedder, load_model
from copydetect.description.normalization import normalize_vectors
from copydetect.errors import InputError
from copydetect.evaluation.ground_truth import GroupTruth, PairTruth, read_truth
from copydetect.evaluation.rankings import rank_pairs, ranking_figures
from copydetect.inputs.finding import find_sources
from copydetect.options import EngineOptions
from copydetect.storage.files import LocalStorage
from copydetect.types import Floats

from .vectors import decoded

_NEIGHBORS = 50
_TOGETHER = 16
_STORAGE = LocalStorage()

FORMS = {
    "cosine": (False, False),
    "less the background": (True, False),
    "less the density": (False, True),
    "less both": (True, True),
}
"""By name, whether the background and the density of the collection are taken off."""


@dataclass(frozen=True)
class Described:
    """image_ids and unit vectors (n, d) of an input, the background (b, d) of their model, and the
    CPU seconds that they took."""

    image_ids: list[str]
    vectors: Floats
    background: Floats
    seconds: float

    @classmethod
    def of(cls, spec: str, model: Embedder) -> Described:
        """Describe an input."""
        start = time.process_time()
        image_ids, vectors = [], [np.empty((0, model.dimension), np.float32)]
        pictures = decoded(_STORAGE, find_sources(_STORAGE, spec))
        while batch := list(islice(pictures, _TOGETHER)):
            image_ids += [ref.image_id for ref, _ in batch]
            vectors.append(model.embed([pixels for _, pixels in batch]))
        seconds = time.process_time() - start
        return cls(image_ids, np.concatenate(vectors), model.background(), seconds)

    def weighed(self, less_background: bool) -> Floats:
        """Vectors (n, d) as long as their weights: their inner products are scores."""
        background = self.background if less_background else self.background[:0]
        vectors, weights = normalize_vectors(self.vectors, background)
        return vectors * weights[:, None]


def run(arguments: Namespace, engine: EngineOptions) -> None:
    """Measure, and print a table and JSON."""
    truth = read_truth(_STORAGE, arguments.truth)
    if isinstance(truth, GroupTruth) != (arguments.references is None):
        raise InputError("--references goes with a truth of pairs, and only with that")
    model = load_model(arguments.model, trust_model=arguments.trust_model)
    queries = Described.of(arguments.queries, model)
    references = Described.of(arguments.references, model) if arguments.references else None
    figures = {name: figures_of(queries, references, truth, *form) for name, form in FORMS.items()}
    print(_table(figures))
    print(json.dumps(figures, indent=1))


def figures_of(
    queries: Described,
    references: Described | None,
    truth: PairTruth | GroupTruth,
    background: bool = True,
    density: bool = True,
) -> dict[str, Any]:
    """Figures with the best 10 candidates of a query, and what normalisation costs.

    background, density: which of both is taken off.
    """
    symmetric = references is None
    others = references or queries
    start = time.process_time()
    left = right = queries.weighed(background)
    if references is not None:
        right = references.weighed(background)
    seconds = time.process_time() - start
    pairs = _neighbors(left @ right.T, symmetric)
    start = time.process_time()
    densities = _densities(pairs, len(queries.image_ids), density)
    seconds += time.process_time() - start
    found = _merged(pairs, densities, symmetric)
    ranking = rank_pairs(
        [queries.image_ids[number] for number in found.query],
        [others.image_ids[number] for number in found.reference],
        found.descriptor_score,
        truth,
        originals_only=symmetric,
    )
    described = queries.seconds + (references.seconds if references else 0)
    cost = {"seconds": seconds, "share_of_describe": seconds / described}
    return {"normalization": cost, **ranking_figures(ranking)}


def _densities(pairs: DescriptorPairs, count: int, measured: bool) -> Densities:
    if measured:
        return similarity_densities(pairs.query, pairs.score, count)
    nothing = np.zeros(count, np.float32)
    return Densities(nothing, nothing, 1.0, nothing)


def _merged(pairs: DescriptorPairs, densities: Densities, symmetric: bool) -> Any:
    options = CandidateOptions(k=10)
    return merge_pairs(pairs, None, (densities, None), options, symmetric=symmetric)


def _neighbors(scores: Floats, symmetric: bool) -> DescriptorPairs:
    """The nearest _NEIGHBORS of each row, without itself."""
    if symmetric:
        np.fill_diagonal(scores, -np.inf)
    wanted = min(_NEIGHBORS, scores.shape[1] - symmetric)
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :wanted].astype(np.int64)
    values = np.take_along_axis(scores, nearest, axis=1).ravel().astype(np.float32)
    rows = np.repeat(np.arange(len(scores), dtype=np.int64), wanted)
    return DescriptorPairs(rows, nearest.ravel(), values, values)


def _table(figures: dict[str, dict[str, Any]]) -> str:
    lines = ["| form | micro-AP | R at P .9 | cost, of describe |", "|---|---|---|---|"]
    for name, values in figures.items():
        recall = values["recall_at_precision"]["0.9"]["recall"]
        share = values["normalization"]["share_of_describe"]
        lines.append(f"| {name} | {values['micro_ap']:.3f} | {recall:.3f} | {share:.1%} |")
    return "\n".join(lines)
