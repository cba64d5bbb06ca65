"""`copydetect benchmark score`: every form of score normalisation, on the descriptors of a truth.

Descriptors only and exact search, so that the forms are compared and nothing else.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from copydetect.candidates.densities import Densities, DensityOptions, Floats, similarity_densities
from copydetect.candidates.fusion import (
    CandidateOptions,
    DescriptorPairs,
    merge_duplicates,
    merge_matches,
)
from copydetect.description.descriptors import BATCH_SIZE, DEFAULT_MODEL, Embedder, load_model
from copydetect.description.normalization import (
    BackgroundOptions,
    background_biases,
    normalize_vectors,
)
from copydetect.errors import ImageError, InputError
from copydetect.evaluation.ground_truth import GroupTruth, PairTruth, read_truth
from copydetect.evaluation.rankings import rank_pairs, ranking_figures
from copydetect.images import decode
from copydetect.inputs.sources import find_sources, read_source
from copydetect.storage import LocalStorage
from copydetect.types import Failure, Pixels
from pipelines.engine import exit_code_of, parser_of

_NEIGHBORS = 50
_SIDE_PX = 448
_STORAGE = LocalStorage()


@dataclass(frozen=True)
class Form:
    """One way to normalise: against the background, and then against the collection or not."""

    name: str
    background: BackgroundOptions
    density: DensityOptions | None


def _plain(first: int, last: int) -> DensityOptions:
    """The mean of ranks, however far copies raise it."""
    return DensityOptions(first, last, last + 1, last + 5, slack=100)


_NOTHING = BackgroundOptions("none")
FORMS = (
    Form("raw cosine", _NOTHING, None),
    Form("background, ranks 1–3", BackgroundOptions("bias"), None),
    Form("negatives, β .35", BackgroundOptions("negatives", 0.35, 1, 10), None),
    Form("stretching", BackgroundOptions("stretch"), None),
    Form("collection, mean of ranks 2–4", _NOTHING, _plain(2, 4)),
    Form("collection, mean of ranks 2–6", _NOTHING, _plain(2, 6)),
    Form("collection, mean of ranks 5–30", _NOTHING, _plain(5, 30)),
    Form("collection, under the tail's line", _NOTHING, DensityOptions()),
    Form("background and collection (default)", BackgroundOptions("bias"), DensityOptions()),
)


@dataclass(frozen=True)
class _Described:
    """image_ids and unit vectors (n, d) of an input."""

    image_ids: list[str]
    vectors: Floats


def main(argv: list[str]) -> int:
    """Run the command line; prints a table and JSON; returns the exit code."""
    parser = parser_of("benchmark score", "Compare the forms of score normalisation.")
    parser.add_argument("--truth", required=True, help="pairs or groups; tells match from dedup")
    parser.add_argument("--queries", required=True, help="any input; for groups, all images")
    parser.add_argument("--references", help="any input; not for groups")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or path of a descriptor model")
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)

    def measure() -> int:
        truth = read_truth(_STORAGE, arguments.truth)
        if isinstance(truth, GroupTruth) != (arguments.references is None):
            raise InputError("--references goes with a truth of pairs, and only with that")
        model = load_model(arguments.model)
        queries = _describe(arguments.queries, model)
        references = _describe(arguments.references, model) if arguments.references else None
        figures = {
            form.name: _figures(form, queries, references, truth, model.background())
            for form in FORMS
        }
        print(_table(figures))
        print(json.dumps(figures, indent=1))
        return 0

    return exit_code_of(measure, False)


def _describe(spec: str, model: Embedder) -> _Described:
    image_ids, vectors = [], [np.empty((0, model.dimension), np.float32)]
    pictures = _pictures(spec)
    while batch := list(islice(pictures, 4 * BATCH_SIZE)):
        image_ids += [image_id for image_id, _ in batch]
        vectors.append(model.embed([pixels for _, pixels in batch]))
    return _Described(image_ids, np.concatenate(vectors))


def _pictures(spec: str) -> Iterator[tuple[str, Pixels]]:
    for source in find_sources(_STORAGE, spec).pieces:
        for ref, content in read_source(_STORAGE, source):
            if not isinstance(content, Failure):
                with contextlib.suppress(ImageError):
                    yield ref.image_id, decode(content, _SIDE_PX).pixels


def _figures(
    form: Form,
    queries: _Described,
    references: _Described | None,
    truth: PairTruth | GroupTruth,
    background: Floats,
) -> dict[str, Any]:
    """Figures of one form, with the best 10 candidates of a query."""
    symmetric = references is None
    others = references or queries
    left = normalize_vectors(queries.vectors, background, form.background)
    # A stretched query has all its similarities stretched; stretching both sides would do it twice.
    stretched = form.background.method == "stretch"
    right = (
        others.vectors
        if stretched
        else normalize_vectors(others.vectors, background, form.background)
    )
    biases = background_biases(queries.vectors, background, form.background)
    scores = left @ right.T - (
        (biases[:, None] + biases[None]) / 2 if symmetric else biases[:, None]
    )
    pairs = _neighbors(scores, symmetric)
    count = len(queries.image_ids)
    densities = similarity_densities(pairs.query, pairs.score, count, form.density)
    if form.density is None:
        densities = replace(densities, values=np.zeros(count, np.float32), spread=1.0)
    found = _merged(pairs, densities, symmetric)
    ranking = rank_pairs(
        [queries.image_ids[number] for number in found.query],
        [others.image_ids[number] for number in found.reference],
        found.descriptor_score,
        truth,
        originals_only=symmetric,
    )
    return ranking_figures(ranking)


def _merged(pairs: DescriptorPairs, densities: Densities, symmetric: bool) -> Any:
    merge = merge_duplicates if symmetric else merge_matches
    return merge(pairs, None, (densities, None), CandidateOptions(k=10))


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
    lines = ["| form | micro-AP | R at P .9 |", "|---|---|---|"]
    for name, values in figures.items():
        recall = values["recall_at_precision"]["0.9"]["recall"]
        lines.append(f"| {name} | {values['micro_ap']:.3f} | {recall:.3f} |")
    return "\n".join(lines)
