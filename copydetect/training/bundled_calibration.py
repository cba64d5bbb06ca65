"""The output of `copydetect calibrate` → the calibrations that come with the package.

    copydetect calibrate PICTURES --sample 900 --collection 4000 --output CAL
    python -m copydetect.pipelines.recipes calibration CAL

Run both whenever the decision or the descriptor changes, with PICTURES that neither was trained on.
On pictures that it was trained on, the search's score would say too much. Two maps each are fitted
for dedup and for match, on the same pairs. One uses the search's score, for runs with the same
channels; the other the decision's confidence alone, for all other runs. With `--effort fast` or
`thorough` given to the first command, the maps with the score are made for that effort.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from pyarrow import parquet

from copydetect.settings import EFFORTS
from copydetect.storage.files import LocalStorage
from copydetect.training.calibration_fit import LabelledPairs, fit_calibration
from copydetect.verification.calibration import FILE_NAMES, Calibration, bundled_name

_PAIRS = "pairs.parquet"
_USUAL = "standard"


def read_labelled(path: Path) -> LabelledPairs:
    """The labelled pairs in the output of `copydetect calibrate`."""
    table = parquet.read_table(path)
    columns = {
        name: table[name].to_numpy()
        for name in (
            *("confidences", "other_content", "scores"),
            *("origins", "labels", "found", "across"),
        )
    }
    booleans = {name: columns[name].astype(np.bool_) for name in ("labels", "found", "across")}
    kinds = tuple(tuple(kinds) for kinds in table["kinds"].to_pylist())
    return LabelledPairs(**{**columns, **booleans}, kinds=kinds)


def bundle(folder: Path, models: Path) -> list[Path]:
    """Fit the maps of every task that `folder` has one for; returns the files written."""
    made = Calibration.load(LocalStorage(), str(folder))
    channels = EFFORTS[made.sample["effort"]].channels
    pairs = read_labelled(folder / _PAIRS)
    sample = {name: value for name, value in made.sample.items() if name != "originals"}
    written = []
    tasks = [task for task, name in FILE_NAMES.items() if (folder / name).exists()]
    effort = "" if made.sample["effort"] == _USUAL else made.sample["effort"]
    for task, used in product(tasks, (channels,) if effort else (channels, ())):
        fitted = replace(fit_calibration(pairs.of(task), channels, bool(used)), sample=sample)
        if fitted.decision != made.decision:
            raise SystemExit("the decision has changed since: run copydetect calibrate again")
        written.append(models / bundled_name(used, task, effort))
        fitted.save(LocalStorage(), str(written[-1]))
        print(written[-1], json.dumps(fitted.reliability))
    return written
