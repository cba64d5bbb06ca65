"""The start of a training run: a network, and the target vectors of all pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from copydetect.description.torch_network import load_torchscript
from copydetect.description.trunks import DescriptorModel
from copydetect.training.checkpoints import Checkpoint
from copydetect.training.options import TrainingOptions
from copydetect.training.pictures import Pictures
from copydetect.training.student import for_inference, starting_model
from copydetect.training.targets import (
    clean_targets,
    fit_projection,
    regress_projection,
    spread_targets,
    teacher_targets,
    whiten_targets,
)
from copydetect.training.views import Numbers, square

_FITTED_PICTURES = 4000
_MEASURED_PICTURES = 256


@dataclass(frozen=True)
class Start:
    """The start of a run.

    init: of `student.starting_model`; teacher: a TorchScript file whose vectors are the targets;
    name: of the model that is written; notes: for its card; steps_now: stop after this many steps,
    to be continued later, None for all; trust_model: whether the teacher's program may run.
    """

    init: str = "imagenet"
    teacher: Path | None = None
    name: str = "descriptor"
    notes: str = ""
    steps_now: int | None = None
    trust_model: bool = False


def model_of(saved: Checkpoint, start: Start, options: TrainingOptions) -> DescriptorModel:
    """A network of the form that a checkpoint has the weights of."""
    model, _ = starting_model(start.init, options)
    if model.projection.out_features != saved.targets.shape[1]:
        model.projection = nn.Linear(model.projection.in_features, saved.targets.shape[1])
    return model


def model_and_targets(
    pictures: Pictures,
    options: TrainingOptions,
    start: Start,
    numbers: Numbers,
    device: torch.device,
) -> tuple[DescriptorModel, Tensor]:
    """The network to begin with, and the targets: its own whitened vectors, or the teacher's."""
    model, ready = starting_model(start.init, options)
    model.eval()
    side = options.final_px
    some = np.random.default_rng(options.seed).permutation(numbers)[:_FITTED_PICTURES]
    if start.teacher is None:
        if not ready:
            fit_projection(model, pictures, some, side, options.seed)
        targets = clean_targets(for_inference(model, options, device), pictures, side, device)
        views = np.stack([square(pictures[int(i)], side) for i in some[:_MEASURED_PICTURES]])
        targets = whiten_targets(model, targets, views, options.target_power)
        return model, spread_targets(targets, options.target_spread)
    teacher = load_torchscript(start.teacher, device, start.trust_model)
    targets = teacher_targets(teacher, pictures, side, device)
    if not (ready and model.projection.out_features == targets.shape[1]):
        model.projection = nn.Linear(model.projection.in_features, targets.shape[1])
        regress_projection(model, pictures, some, targets.cpu(), side)
    return model, targets
