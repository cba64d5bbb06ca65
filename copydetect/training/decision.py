"""labelled pairs → the decision: boosted trees over evidence, calibrated, stored as plain numbers.

    python -m copydetect.training.decision PICTURES --output decision.json

Pictures are whatever `copydetect` takes as input. Evidence is collected as verification does it;
of a pair with several alignments the best one counts, under the decision of the round before.
Trees are constrained to be monotonic where the direction is known (more agreement never speaks
against a copy), which keeps them from learning the training pictures by heart.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from copydetect.description.descriptors import load_model
from copydetect.storage import LocalStorage
from copydetect.training.labelled_pairs import (
    LabelledPairs,
    PairOptions,
    Pile,
    labelled_pairs,
    make_pile,
)
from copydetect.training.pictures import pack_pictures
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
LESS_IS_COPY = ("rival_inliers", "error_px", "shift_px", "shift_spread_px")
UNUSED = ("overlap_px",)
"""What the decision does not see."""
FOLDS = 5
_IMAGES_KEPT = 400
ROUNDS = 2

Floats = npt.NDArray[np.float32]


def inputs() -> list[str]:
    """The evidence that the decision is made from."""
    return [name for name in NAMES if name not in UNUSED]


def collect(pile: Pile, pairs: LabelledPairs, options: MatchOptions) -> list[Floats]:
    """For each pair, (alignments, len(NAMES)) evidence of everything that was tried."""

    @lru_cache(maxsize=_IMAGES_KEPT)
    def image(row: int) -> PairImage:
        return prepare_image(str(row), pile.images[row], options)

    collected = []
    for (i, j), points in zip(pairs.rows.tolist(), pairs.points, strict=True):
        found = collect_evidence(image(i), image(j), points, options, None)
        vectors = [evidence.values for evidence in found]
        collected.append(np.array(vectors, np.float32).reshape(-1, len(NAMES)))
    return collected


def fit(
    evidence: Sequence[Floats], labels: npt.NDArray[np.bool_], origins: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """The decision as JSON.

    evidence: as `collect` gives it; labels: (m,) whether a pair are copies; origins: (m,) int64,
    pairs of equal ones are kept in one fold, on which what was learnt from the others is
    calibrated.
    """
    kept = [i for i, vectors in enumerate(evidence) if len(vectors)]
    found = [evidence[i] for i in kept]
    given = [vectors[:, [NAMES.index(name) for name in inputs()]] for vectors in found]
    start = np.array([first_choice(vectors) for vectors in found])
    truth, folds = labels[kept], origins[kept] % FOLDS
    chosen, unseen = out_of_fold(given, inputs(), start, truth, folds)
    calibration = LogisticRegression(C=1e4).fit(unseen[:, None], truth)
    return {
        "inputs": inputs(),
        **_plain(_trees(_rows(given, chosen), truth, inputs())),
        "slope": float(calibration.coef_[0, 0]),
        "intercept": float(calibration.intercept_[0]),
    }


def out_of_fold(
    given: Sequence[Floats],
    names: Sequence[str],
    chosen: npt.NDArray[np.int64],
    truth: npt.NDArray[np.bool_],
    folds: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Each pair's best alignment and its score, by trees that saw only the other folds.

    given: m pairs' alignments, (alignments ≥ 1, len(names)); chosen: (m,) the alignments to begin
    with; folds: (m,) 0 … FOLDS - 1.
    """
    chosen, unseen = chosen.copy(), np.zeros(len(given))
    for _ in range(ROUNDS):
        rows = _rows(given, chosen)
        models = [_trees(rows[folds != fold], truth[folds != fold], names) for fold in range(FOLDS)]
        for row, vectors in enumerate(given):
            scores = models[folds[row]].decision_function(vectors)
            chosen[row], unseen[row] = np.argmax(scores), scores.max()
    return chosen, unseen


def _rows(given: Sequence[Floats], chosen: npt.NDArray[np.int64]) -> Floats:
    """(m, names): the chosen alignment of each pair."""
    return np.array([vectors[row] for vectors, row in zip(given, chosen, strict=True)])


def first_choice(vectors: Floats) -> int:
    """Before anything is learnt: the alignment under which most cells agree."""
    agreeing = vectors[:, NAMES.index("agree_cells")] * vectors[:, NAMES.index("agree_weighted")]
    return int(np.argmax(agreeing))


def _trees(
    values: Floats, truth: npt.NDArray[np.bool_], names: Sequence[str]
) -> HistGradientBoostingClassifier:
    monotonic = [int(name in MORE_IS_COPY) - int(name in LESS_IS_COPY) for name in names]
    return HistGradientBoostingClassifier(
        max_iter=140,
        learning_rate=0.07,
        max_leaf_nodes=10,
        min_samples_leaf=15,
        l2_regularization=2.0,
        monotonic_cst=monotonic,
        random_state=0,
    ).fit(values, truth)


def _plain(model: HistGradientBoostingClassifier) -> dict[str, Any]:
    """Every tree's nodes as lists; a leaf points to itself."""
    trees, depth = [], 0
    for predictors in model._predictors:
        nodes = predictors[0].nodes
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
    return {"depth": depth, "bias": float(np.ravel(model._baseline_prediction)[0]), "trees": trees}


def train(pictures: Any, options: PairOptions, seed: int) -> dict[str, Any]:
    """Make a pile, collect evidence on its pairs, fit."""
    pile = make_pile(pictures, options, seed)
    pairs = labelled_pairs(pile, load_model(), options.proposals)
    evidence = collect(pile, pairs, MatchOptions())
    return fit(evidence, pairs.copies, pile.origins[pairs.rows[:, 0]])


def main(argv: Sequence[str] | None = None) -> None:
    """Train a decision from pictures of which no two are copies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("pictures", help="a folder, glob, manifest or tar of pictures")
    parser.add_argument("--output", required=True, type=Path, help="the JSON file to write")
    parser.add_argument("--originals", type=int, default=PairOptions().originals)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        pictures = pack_pictures(LocalStorage(), arguments.pictures, Path(folder), 448)
        made = train(pictures, PairOptions(originals=arguments.originals), arguments.seed)
    arguments.output.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
