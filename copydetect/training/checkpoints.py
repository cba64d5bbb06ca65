"""The whole state of a training run in one file, read without unpickling anything but tensors."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from copydetect.errors import ModelError, OptionError

Weights = dict[str, Tensor]


@dataclass
class Checkpoint:
    """Everything that a run needs to continue exactly where it stopped.

    weights: of the student; average: their moving average; optimizer: its `state_dict`; targets:
    (N, d), renewed ones included; best: the highest figure of
    validation so far; best_weights: the average that reached it; skipped: steps whose loss was not
    a number; losses: since the last report; options: of `TrainingOptions.fixed`.
    """

    step: int
    weights: Weights
    average: Weights
    optimizer: dict[str, Any]
    targets: Tensor
    best: float
    best_weights: Weights
    skipped: int
    losses: list[float]
    options: dict[str, Any]


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write to a new file and move it into place, so that there is always a whole one."""
    fields = dict(vars(checkpoint))
    fields["options"] = json.dumps(checkpoint.options)
    partial = path.with_suffix(".partial")
    torch.save(fields, partial)
    os.replace(partial, path)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; ModelError where the file is damaged or no checkpoint."""
    try:
        fields: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        fields["options"] = json.loads(fields["options"])
        return Checkpoint(**fields)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, EOFError) as error:
        raise ModelError(f"{path} is not a checkpoint of a training run: {error}") from error
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} holds more than tensors, and is not read") from error


def check(path: Path, checkpoint: Checkpoint, options: dict[str, Any], weights: Weights) -> None:
    """Whether a run with these options and a network with these weights' shapes can go on from it.

    ModelError where it is of another network, OptionError where an option that counts has changed.
    """
    _check_shapes(path, checkpoint.weights, weights)
    wanted = json.loads(json.dumps(options))
    changed = sorted(n for n in wanted if checkpoint.options.get(n) != wanted[n])
    if changed:
        raise OptionError(
            f"{path} is of a run with {changed[0]} {checkpoint.options.get(changed[0])!r}, not "
            f"{wanted[changed[0]]!r}; continue with the same options, or write elsewhere"
        )


def _check_shapes(path: Path, given: Weights, wanted: Weights) -> None:
    shapes = {name: value.shape for name, value in given.items()}
    for name in sorted(shapes.keys() | wanted.keys()):
        if name not in shapes or name not in wanted or shapes[name] != wanted[name].shape:
            raise ModelError(f"{path} is a checkpoint of another architecture: {name} differs")
