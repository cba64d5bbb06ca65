"""labelled pairs → the decision: boosted trees over evidence, calibrated, stored as plain numbers.

    python -m copydetect.pipelines.recipes decision PICTURES [PICTURES …] --output decision.json

Each PICTURES is whatever `copydetect` takes as input; give one for each source of pictures. A pile
of pairs is made of each. It calibrates and measures what was learnt from the other sources, so the
figures are those of sources that the decision has not seen. The bundled decision was made of four
sources. Of a single source, folds are made that keep pairs of one original together.

Evidence is collected as verification does it; of a pair with several alignments the best one
counts, under the decision of the round before. Strangers that `near_copies` takes for one picture
are left out. Trees are constrained to be monotonic where the direction is known (more agreement
never speaks against a copy), which keeps them from learning the training pictures by heart.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from copydetect.description.descriptors import load_model
from copydetect.evaluation.metrics import (
    micro_average_precision,
    precision_recall_curve,
    recall_at_precision,
)
from copydetect.storage.files import LocalStorage
from copydetect.training.labelled_pairs import (
    PairOptions,
    Pile,
    PilePairs,
    labelled_pairs,
    make_pile,
)
from copydetect.training.near_copies import are_near_copies, are_suspicious
from copydetect.training.pictures import pack_pictures
from copydetect.types import Bools, Doubles, Floats, Ints, Pixels
from copydetect.verification.evidence import NAMES
from copydetect.verification.matches import MatchOptions, collect_evidence, prepare_image
from copydetect.verification.pair_images import PairImage

MORE_IS_COPY = (
    "inliers",
    "inlier_share",
    "agree_cells",
    "agree_share",
    "agree_weighted",
    "mean_correlation",
    "fine_correlation",
    "fine_share",
    "lowest_quarter",
    "global_correlation",
    "solidity",
    "largest_patch",
    "patch_solidity",
    "patch_correlation",
    "patch_fine_correlation",
    "inlier_hull_agree",
    "query_covered",
    "reference_covered",
    "chroma_correlation",
)
LESS_IS_COPY = ("largest_hole", "rival_inliers", "error_px", "shift_px", "shift_spread_px")
UNUSED = ("overlap_px",)
"""Evidence that the decision does not use."""
FOLDS = 5
_IMAGES_KEPT = 400
_LONGEST_PX = 448
_ROUNDS = 2


def inputs() -> list[str]:
    """The evidence that the decision is made from."""
    return [name for name in NAMES if name not in UNUSED]


def collect(pile: Pile, pairs: PilePairs, options: MatchOptions) -> list[Floats]:
    """For each pair, (alignments, len(NAMES)) the evidence of all alignments that were tried."""

    @lru_cache(maxsize=_IMAGES_KEPT)
    def image(row: int) -> PairImage:
        return prepare_image(str(row), pile.images[row], options, keypoints=pairs.keypoints[row])

    collected = []
    for (i, j), points in zip(pairs.rows.tolist(), pairs.points, strict=True):
        found = collect_evidence(image(i), image(j), points, options, None)
        vectors = [evidence.values for evidence in found]
        collected.append(np.array(vectors, np.float32).reshape(-1, len(NAMES)))
    return collected


def without_near_copies(
    pile: Pile, pairs: PilePairs, evidence: Sequence[Floats], options: MatchOptions
) -> list[int]:
    """The pairs without strangers whose pictures hardly differ: such labels are not to be trusted.

    Pairs that were made to look alike keep their label.
    """
    made = {(int(i), int(j)) for i, j in pile.rivals}
    near: dict[tuple[int, int], bool] = {}
    kept = []
    for number, (i, j) in enumerate(pairs.rows.tolist()):
        first, second = sorted((int(pile.origins[i]), int(pile.origins[j])))
        true = pairs.copies[number] or (i, j) in made or not are_suspicious(evidence[number])
        if not true and (first, second) not in near:
            near[first, second] = are_near_copies(_compare(pile, first, second, options))
        if true or not near[first, second]:
            kept.append(number)
    return kept


def _compare(pile: Pile, first: int, second: int, options: MatchOptions) -> Floats:
    """(alignments, len(NAMES)) evidence of what two origins were before any edit."""
    images = [prepare_image("", pile.sources[origin], options) for origin in (first, second)]
    found = collect_evidence(images[0], images[1], None, options, None)
    return np.array([one.values for one in found], np.float32).reshape(-1, len(NAMES))


def fit(evidence: Sequence[Floats], labels: Bools, folds: Ints) -> dict[str, Any]:
    """The decision as JSON, and under `unseen` what was measured on folds that it had not seen.

    evidence: as `collect` gives it; labels: (m,) whether a pair are copies; folds: (m,) int64 from
    0, each calibrated by what was learnt from the others.
    """
    kept = [i for i, vectors in enumerate(evidence) if len(vectors)]
    found = [evidence[i] for i in kept]
    given = [vectors[:, [NAMES.index(name) for name in inputs()]] for vectors in found]
    start = np.array([_first_choice(vectors) for vectors in found])
    truth = labels[kept]
    chosen, unseen = _out_of_fold(given, start, truth, folds[kept])
    calibration = LogisticRegression(C=1e4).fit(unseen[:, None], truth)
    return {
        "inputs": inputs(),
        **plain_trees(_trees(_rows(given, chosen), truth)),
        "slope": float(calibration.coef_[0, 0]),
        "intercept": float(calibration.intercept_[0]),
        "unseen": {
            "pairs": len(labels),
            "copies": int(labels.sum()),
            **ranking_quality(unseen, truth, int(labels.sum()), (0.9, 0.99)),
        },
    }


def ranking_quality(
    scores: Doubles,
    truth: Bools,
    copies: int,
    precisions: Sequence[float],
) -> dict[str, float]:
    """Micro-AP and recall at some precisions of pairs ranked by score; copies: those of all pairs,
    ranked or not."""
    curve = precision_recall_curve(scores, truth, copies)
    return {"micro_ap": round(micro_average_precision(curve), 4)} | {
        f"recall at precision {wanted}": round(recall_at_precision(curve, wanted).recall or 0.0, 4)
        for wanted in precisions
    }


def _out_of_fold(
    given: Sequence[Floats],
    chosen: Ints,
    truth: Bools,
    folds: Ints,
) -> tuple[Ints, Doubles]:
    """Each pair's best alignment and its score, by trees that saw only the other folds.

    given: m pairs' alignments, (alignments ≥ 1, inputs); chosen: (m,) the alignments to begin
    with; folds: (m,) from 0.
    """
    chosen, unseen = chosen.copy(), np.zeros(len(given))
    for _ in range(_ROUNDS):
        rows = _rows(given, chosen)
        models = [
            _trees(rows[folds != fold], truth[folds != fold])
            for fold in range(int(folds.max()) + 1)
        ]
        for row, vectors in enumerate(given):
            scores = models[folds[row]].decision_function(vectors)
            chosen[row], unseen[row] = np.argmax(scores), scores.max()
    return chosen, unseen


def _rows(given: Sequence[Floats], chosen: Ints) -> Floats:
    """(m, inputs): the chosen alignment of each pair."""
    return np.array([vectors[row] for vectors, row in zip(given, chosen, strict=True)])


def _first_choice(vectors: Floats) -> int:
    """The alignment under which most cells agree, to begin with before anything is learnt."""
    agreeing = vectors[:, NAMES.index("agree_cells")] * vectors[:, NAMES.index("agree_weighted")]
    return int(np.argmax(agreeing))


def _trees(values: Floats, truth: Bools) -> HistGradientBoostingClassifier:
    monotonic = [int(name in MORE_IS_COPY) - int(name in LESS_IS_COPY) for name in inputs()]
    return HistGradientBoostingClassifier(
        max_iter=140,
        learning_rate=0.07,
        max_leaf_nodes=16,
        min_samples_leaf=30,
        l2_regularization=2.0,
        monotonic_cst=monotonic,
        random_state=0,
    ).fit(values, truth)


def plain_trees(model: HistGradientBoostingClassifier, number: int = 0) -> dict[str, Any]:
    """Every tree's nodes as lists, a leaf points to itself; number: of the class, where there are
    several."""
    trees, depth = [], 0
    for predictors in model._predictors:
        nodes = predictors[number].nodes
        leaf, own = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
        depth = max(depth, int(nodes["depth"].max()))
        trees.append(
            {
                "feature": nodes["feature_idx"].tolist(),
                "threshold": [float(f"{v:.7g}") for v in np.where(leaf, 0, nodes["num_threshold"])],
                "left": np.where(leaf, own, nodes["left"]).tolist(),
                "right": np.where(leaf, own, nodes["right"]).tolist(),
                "value": [float(f"{v:.5g}") for v in np.where(leaf, nodes["value"], 0)],
                "unknown_left": nodes["missing_go_to_left"].astype(int).tolist(),
            }
        )
    bias = float(np.ravel(model._baseline_prediction)[number])
    return {"depth": depth, "bias": bias, "trees": trees}


def labelled_evidence(
    pictures: Sequence[Pixels], options: PairOptions, seed: int
) -> tuple[list[Floats], Bools, Ints]:
    """Pairs of one pile: evidence as `collect` gives it, (m,) labels, (m,) origins."""
    embedder, matching = load_model(), MatchOptions()
    pile = make_pile(pictures, options, seed, embedder)
    pairs = labelled_pairs(pile, embedder, options.proposals)
    evidence = collect(pile, pairs, matching)
    kept = without_near_copies(pile, pairs, evidence, matching)
    origins = pile.origins[pairs.rows[kept, 0]]
    return [evidence[i] for i in kept], pairs.copies[kept], origins


def train(
    collections: Sequence[Sequence[Pixels]], options: PairOptions, seed: int
) -> dict[str, Any]:
    """Make a pile of each collection and measure its evidence; the decision from all of it."""
    evidence: list[Floats] = []
    labels, folds = [], []
    for number, pictures in enumerate(collections):
        found, copies, origins = labelled_evidence(pictures, options, seed)
        evidence += found
        labels.append(copies)
        folds.append(origins % FOLDS if len(collections) == 1 else np.full(len(copies), number))
    return fit(evidence, np.concatenate(labels), np.concatenate(folds))


def train_on(inputs: Sequence[str], options: PairOptions, seed: int) -> dict[str, Any]:
    """A decision from pictures of which no two are copies; each input is one collection."""
    with tempfile.TemporaryDirectory() as folder:
        collections = [
            pack_pictures(LocalStorage(), pictures, Path(folder) / str(number), _LONGEST_PX)
            for number, pictures in enumerate(inputs)
        ]
        return train(collections, options, seed)
