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
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from copydetect.description.descriptors import load_model
from copydetect.storage import LocalStorage
from copydetect.training.labelled_pairs import PairOptions, Pile, make_pile, proposed_pairs
from copydetect.training.pictures import pack_pictures
from copydetect.types import Candidate
from copydetect.verification.evidence import NAMES
from copydetect.verification.matches import MatchOptions, collect_evidence, prepare_image

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
UNUSED = ("similarity", "descriptor_score", "votes", "local_score", "overlap_px")
"""What the decision does not see: the search's scores, which depend on the collection."""
FOLDS = 5
ROUNDS = 2

Floats = npt.NDArray[np.float32]


def inputs() -> list[str]:
    """The evidence that the decision is made from."""
    return [name for name in NAMES if name not in UNUSED]


def collect(pile: Pile, pairs: npt.NDArray[np.int64], options: MatchOptions) -> list[Floats]:
    """For each pair, (alignments, len(NAMES)) evidence of everything that was tried."""
    images = [prepare_image(str(i), pixels, options) for i, pixels in enumerate(pile.images)]
    silent = math.nan
    nothing = Candidate("", "", silent, silent, silent, silent, 0.0, "", "", 0)
    collected = []
    for i, j in pairs:
        found = collect_evidence(images[i], images[j], nothing, None, options, None)
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
    chosen = np.array([first_choice(evidence[i]) for i in kept])
    truth = labels[kept]
    folds = origins[kept] % FOLDS
    columns = [NAMES.index(name) for name in inputs()]
    unseen = np.zeros(len(kept))
    for _ in range(ROUNDS):
        models = [
            _trees(chosen[folds != fold][:, columns], truth[folds != fold]) for fold in range(FOLDS)
        ]
        for row, i in enumerate(kept):
            scores = models[folds[row]].decision_function(evidence[i][:, columns])
            best = int(np.argmax(scores))
            chosen[row], unseen[row] = evidence[i][best], float(scores[best])
    calibration = LogisticRegression(C=1e4).fit(unseen[:, None], truth)
    return {
        "inputs": inputs(),
        **_plain(_trees(chosen[:, columns], truth)),
        "slope": float(calibration.coef_[0, 0]),
        "intercept": float(calibration.intercept_[0]),
    }


def first_choice(vectors: Floats) -> Floats:
    """Before anything is learnt: the alignment under which most cells agree."""
    agreeing = vectors[:, NAMES.index("agree_cells")] * vectors[:, NAMES.index("agree_weighted")]
    return np.asarray(vectors[int(np.argmax(agreeing))], np.float32)


def _trees(values: Floats, truth: npt.NDArray[np.bool_]) -> HistGradientBoostingClassifier:
    monotonic = [int(name in MORE_IS_COPY) - int(name in LESS_IS_COPY) for name in inputs()]
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
    pairs = proposed_pairs(pile, load_model(), options.proposals)
    labels = pile.origins[pairs[:, 0]] == pile.origins[pairs[:, 1]]
    evidence = collect(pile, pairs, MatchOptions())
    return fit(evidence, labels, pile.origins[pairs[:, 0]])


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
