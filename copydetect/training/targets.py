"""The target vectors that views of each picture are trained towards, and which pictures look
alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from copydetect.description.normalization import fit_discriminant, fit_whitening
from copydetect.description.torch_network import BATCH_SIZE
from copydetect.description.trunks import DescriptorModel
from copydetect.edits import mix_named
from copydetect.errors import InputError
from copydetect.training.student import normalised, turn_projection
from copydetect.training.views import Numbers, edited_view, square
from copydetect.types import Pixels

ENOUGH = 4
"""Vectors per dimension that a whitening can be estimated from."""

_BATCH = 32
_LOOKALIKE_RANKS = 10
_CROWD = 12
_SAME = 0.999


def embed_views(
    embed: Callable[[Tensor], Tensor], views: npt.NDArray[np.uint8], device: torch.device
) -> Tensor:
    """Embed views (n, s, s, 3) uint8: (n, d) float32, on the device."""
    parts = []
    size = BATCH_SIZE if device.type == "cpu" else _BATCH
    with torch.no_grad():
        for start in range(0, len(views), size):
            pixels = torch.from_numpy(views[start : start + size]).to(device)
            parts.append(embed(normalised(pixels)).float())
    return torch.cat(parts)


def clean_targets(
    embed: Callable[[Tensor], Tensor],
    pictures: Sequence[Pixels],
    side_px: int,
    device: torch.device,
) -> Tensor:
    """(N, d) unit vectors of the unedited pictures, each averaged with its mirror image."""
    parts = []
    for start in range(0, len(pictures), _BATCH):
        numbers = range(start, min(start + _BATCH, len(pictures)))
        views = np.stack([square(pictures[i], side_px) for i in numbers])
        both = np.concatenate([views, views[:, :, ::-1]])
        vectors = embed_views(embed, both, device)
        parts.append(vectors[: len(views)] + vectors[len(views) :])
    return functional.normalize(torch.cat(parts))


def fit_projection(
    model: DescriptorModel, pictures: Sequence[Pixels], numbers: Numbers, side_px: int, seed: int
) -> None:
    """Set the projection to the directions that tell pictures apart and that edits leave alone.

    Closed form, from the pooled features of the pictures `numbers` and one edited view of each.
    """
    mix, device = mix_named("default"), torch.device("cpu")
    clean = np.stack([square(pictures[int(i)], side_px) for i in numbers])
    edited = np.stack(
        [
            edited_view(pictures, int(i), mix, side_px, np.random.default_rng([seed, 0, i]))
            for i in numbers
        ]
    )
    model.eval()
    features = embed_views(model.pooled, clean, device).numpy()
    changed = embed_views(model.pooled, edited, device).numpy()
    dimension = model.projection.out_features
    if len(numbers) <= dimension:
        raise InputError(
            f"{len(numbers)} training images do not tell {dimension} dimensions apart; "
            "bring more, or choose a smaller dimension"
        )
    whitening = fit_discriminant(features, changed, dimension, shrinkage=0.5)
    lengths = np.linalg.norm(features @ whitening.matrix - whitening.offset, axis=1)
    scale = 1 / max(float(lengths.mean()), 1e-9)
    with torch.no_grad():
        model.projection.weight.copy_(torch.from_numpy(whitening.matrix.T * scale))
        model.projection.bias.copy_(torch.from_numpy(-whitening.offset * scale))


def whiten_targets(
    model: DescriptorModel, targets: Tensor, views: npt.NDArray[np.uint8], power: float
) -> Tensor:
    """Targets (N, d) centred and whitened to `power`; the model's projection is turned likewise.

    views: some pictures (n, s, s, 3) uint8. The model's vectors are not of length 1 before they
    are normalised: their mean length over the views is what the centre is scaled by. Too few
    targets to know every direction are left as they are.
    """
    if len(targets) < ENOUGH * targets.shape[1]:
        return targets
    whitening = fit_whitening(targets.cpu().numpy(), targets.shape[1], power)
    features = embed_views(model.pooled, views, torch.device("cpu"))
    with torch.no_grad():
        length = model.projection(features).norm(dim=1).mean()
    offset = torch.from_numpy(whitening.offset)
    turn_projection(model, torch.from_numpy(whitening.matrix), length * offset)
    return torch.from_numpy(whitening.apply(targets.cpu().numpy())).to(targets.device)


def spread_targets(targets: Tensor, share: float) -> Tensor:
    """Targets (N, d) moved away from their nearest others, by a share of these others' mean.

    Pages, windows and goods on shelves are so crowded that no view could tell its own target by
    them; there, what a target differs in then weighs more.
    """
    count = min(_CROWD, len(targets) - 1)
    moved = []
    for start in range(0, len(targets), 1024):
        block = targets[start : start + 1024]
        nearest = (block @ targets.T).topk(count + 1, dim=1).indices[:, 1:]
        moved.append(block - share * targets[nearest].mean(dim=1))
    return functional.normalize(torch.cat(moved))


def turn_towards(
    model: DescriptorModel, targets: Tensor, anchors: Tensor, numbers: Numbers
) -> Tensor:
    """Turn a model and its targets (N, d) so that they are as near to an older model's vectors
    (N, e) as a turn can bring them; the targets, turned.

    The turn solves the orthogonal Procrustes problem (Schönemann, 1966). Where e is d or more it
    changes no distance between targets; else the e directions that fit best are left. It is fitted
    to the pictures `numbers`; InputError where they are fewer than the dimensions.
    """
    if len(numbers) < max(targets.shape[1], anchors.shape[1]):
        raise InputError(
            f"{len(numbers)} training images do not tell how {targets.shape[1]} dimensions lie to "
            f"{anchors.shape[1]} of the older model: bring more"
        )
    ours, theirs = (rows[torch.from_numpy(numbers)].double() for rows in (targets, anchors))
    left, _, right = torch.linalg.svd(ours.T @ theirs, full_matrices=False)
    turn = (left @ right).float()
    turn_projection(model, turn.cpu(), torch.zeros(turn.shape[1]))
    return functional.normalize(targets @ turn)


def nearest_targets(targets: Tensor, numbers: Numbers) -> Numbers:
    """(N, k) for each picture the k of `numbers` whose targets are most like its own.

    Rows of pictures that are not in `numbers` mean nothing. InputError where all are the same.
    """
    among = targets[torch.from_numpy(numbers)]
    count = min(_LOOKALIKE_RANKS, len(numbers) - 1)
    nearest = np.zeros((len(targets), count), np.int64)
    alike = 0
    for start in range(0, len(numbers), 1024):
        block = numbers[start : start + 1024]
        similarities = targets[torch.from_numpy(block)] @ among.T
        best, rows = similarities.topk(count + 1, dim=1)
        alike += int((best[:, count] > _SAME).sum())
        found = numbers[rows.cpu().numpy()]
        nearest[block] = [row[row != own][:count] for row, own in zip(found, block, strict=True)]
    if alike > len(numbers) // 2:
        raise InputError("most of the training images look the same; there is nothing to learn")
    return nearest
