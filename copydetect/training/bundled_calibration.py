"""What `copydetect calibrate` wrote → the calibrations that come with the package.

    copydetect calibrate PICTURES --sample 360 --collection 1200 --output CAL
    python -m copydetect.training.bundled_calibration CAL

Run both whenever the decision or the descriptor changes. Two maps are fitted on the same pairs:
with the search's score, for runs with the same channels, and by the decision's confidence alone,
for all others.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pyarrow import parquet

from copydetect.evaluation.calibration import FILE_NAME, Calibration
from copydetect.evaluation.calibration_fit import LabelledPairs, fit_calibration
from copydetect.storage import LocalStorage

_PAIRS = "pairs.parquet"


def read_labelled(path: Path) -> LabelledPairs:
    """The labelled pairs that `copydetect calibrate` left."""
    table = parquet.read_table(path)
    columns = {
        name: table[name].to_numpy()
        for name in ("confidences", "scores", "origins", "labels", "found")
    }
    booleans = {name: columns[name].astype(np.bool_) for name in ("labels", "found")}
    kinds = tuple(tuple(kinds) for kinds in table["kinds"].to_pylist())
    return LabelledPairs(**{**columns, **booleans}, kinds=kinds)


def bundle(folder: Path, models: Path) -> list[Path]:
    """Fit both maps on the pairs in `folder`; returns the files written."""
    made = Calibration.load(LocalStorage(), str(folder))
    channels = ("descriptor", "local")
    pairs = read_labelled(folder / _PAIRS)
    sample = {name: value for name, value in made.sample.items() if name != "originals"}
    written = []
    for name, use_score in (("-".join(channels), True), ("confidence", False)):
        fitted = replace(fit_calibration(pairs, channels, use_score), sample=sample)
        if fitted.decision != made.decision:
            raise SystemExit("the decision has changed since: run copydetect calibrate again")
        written.append(models / f"calibration-{name}.json")
        fitted.save(LocalStorage(), str(written[-1]))
        print(written[-1], json.dumps(fitted.reliability))
    return written


def main(argv: Sequence[str] | None = None) -> None:
    """Write the bundled calibrations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help=f"with {FILE_NAME} and {_PAIRS}")
    models = Path(__file__).parent.parent / "models"
    parser.add_argument("--models", type=Path, default=models, help="folder to write to")
    arguments = parser.parse_args(argv)
    bundle(arguments.folder, arguments.models)


if __name__ == "__main__":
    main()
