"""The start of a training run: a network, and the target vectors of all pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from copydetect.description.descriptors import Embedder, load_model
from copydetect.description.torch_network import load_torchscript
from copydetect.description.trunks import DescriptorModel
from copydetect.errors import OptionError
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
    turn_towards,
    whiten_targets,
)
from copydetect.training.views import Numbers, square

_FITTED_PICTURES = 4000
_MEASURED_PICTURES = 256
_TOGETHER = 32


@dataclass(frozen=True)
class Start:
    """The start of a run.

    init: of `student.starting_model`; teacher: a TorchScript file whose vectors are the targets;
    name: of the model that is written; notes: for its card; steps_now: stop after this many steps,
    to be continued later, None for all; trust_model: whether the teacher's program may run;
    compatible_with: name or path of an older model, whose vectors the new one's can be compared
    with, "" for none.
    """

    init: str = "imagenet"
    teacher: Path | None = None
    name: str = "descriptor"
    notes: str = ""
    steps_now: int | None = None
    trust_model: bool = False
    compatible_with: str = ""

    def __post_init__(self) -> None:
        if self.compatible_with and self.teacher is not None:
            raise OptionError("give a teacher or a model to be compatible with, not both")

    @property
    def turns(self) -> bool:
        """Whether the finished vectors may be turned: none of another model are to be like them."""
        return self.teacher is None and not self.compatible_with

    def older(self) -> Embedder | None:
        """The model to be compatible with."""
        if not self.compatible_with:
            return None
        return load_model(self.compatible_with, trust_model=self.trust_model)


def anchors_of(older: Embedder, pictures: Pictures) -> Tensor:
    """(N, d) unit vectors that an older model gives the unedited pictures."""
    side = older.card.input_size_px
    parts = [
        torch.from_numpy(older.embed([square(pictures[int(i)], side) for i in numbers]))
        for numbers in np.array_split(np.arange(len(pictures)), len(pictures) // _TOGETHER + 1)
    ]
    return torch.cat(parts)


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
    anchors: Tensor | None = None,
) -> tuple[DescriptorModel, Tensor]:
    """The network to begin with, and the targets: its own whitened vectors, or the teacher's.

    anchors: (N, d) vectors of an older model, which its own are turned towards.
    """
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
        if anchors is not None:
            targets = turn_towards(model, targets, anchors, numbers)
        return model, spread_targets(targets, options.target_spread)
    teacher = load_torchscript(start.teacher, device, start.trust_model)
    targets = teacher_targets(teacher, pictures, side, device)
    if not (ready and model.projection.out_features == targets.shape[1]):
        model.projection = nn.Linear(model.projection.in_features, targets.shape[1])
        regress_projection(model, pictures, some, targets.cpu(), side)
    return model, targets
