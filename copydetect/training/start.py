"""The start of a training run: a network, and the target vectors of all pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from copydetect.description.descriptors import Embedder, load_model
from copydetect.description.trunks import DescriptorModel
from copydetect.training.checkpoints import Checkpoint
from copydetect.training.options import TrainingOptions
from copydetect.training.pictures import Pictures
from copydetect.training.student import for_inference, starting_model
from copydetect.training.targets import (
    clean_targets,
    fit_projection,
    spread_targets,
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

    init: of `student.starting_model`; name: of the model that is written; notes: for its card;
    compatible_with: name or path of an older model, whose vectors the new one's can be compared
    with, "" for none; trust_model: whether its program may run, if it has one.
    """

    init: str = "imagenet"
    name: str = "descriptor"
    notes: str = ""
    compatible_with: str = ""
    trust_model: bool = False

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
    """The network to begin with, and the targets: its own whitened vectors.

    anchors: (N, d) vectors of an older model, which its own are turned towards.
    """
    model, ready = starting_model(start.init, options)
    model.eval()
    side = options.final_px
    some = np.random.default_rng(options.seed).permutation(numbers)[:_FITTED_PICTURES]
    if not ready:
        fit_projection(model, pictures, some, side, options.seed)
    targets = clean_targets(for_inference(model, options, device), pictures, side, device)
    views = np.stack([square(pictures[int(i)], side) for i in some[:_MEASURED_PICTURES]])
    targets = whiten_targets(model, targets, views, options.target_power)
    if anchors is not None:
        targets = turn_towards(model, targets, anchors, numbers)
    return model, spread_targets(targets, options.target_spread)
