"""The targets of training: spread, whitened, and the nearest ones of each picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from copydetect.description.trunks import DescriptorModel, Trunk
from copydetect.errors import InputError
from copydetect.training import targets
from copydetect.training.student import normalised
from copydetect.training.targets import nearest_targets
from tests.test_training import picture


def test_spread_targets_moves_crowds_apart_and_leaves_the_others() -> None:
    torch.manual_seed(0)
    crowd = functional.normalize(torch.randn(1, 64) + 0.4 * torch.randn(20, 64))
    alone = functional.normalize(torch.randn(20, 64))
    spread = targets.spread_targets(torch.cat([crowd, alone]), 0.3)
    assert float((spread[:20] @ spread[:20].T).mean()) < float((crowd @ crowd.T).mean()) - 0.05
    assert float((spread[20:] * alone).sum(dim=1).min()) > 0.9


def test_nearest_targets_equal_brute_force() -> None:
    targets = functional.normalize(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
    numbers = np.arange(0, 30, 2)
    nearest = nearest_targets(targets, numbers)
    for number in numbers:
        others = [n for n in numbers if n != number]
        best = sorted(others, key=lambda n: -float(targets[n] @ targets[number]))[:10]
        assert list(nearest[number]) == best


def test_pictures_that_are_all_alike_are_refused() -> None:
    targets = functional.normalize(torch.ones(40, 4) + 1e-4 * torch.randn(40, 4))
    with pytest.raises(InputError, match="look the same"):
        nearest_targets(targets, np.arange(40))


def test_whitened_targets_are_what_the_model_returns() -> None:
    torch.manual_seed(0)
    model = DescriptorModel(Trunk(0.25, last_stage=2), 4, 3.0, (1, 2)).eval()
    views = np.stack([cv2.resize(picture(i), (32, 32)) for i in range(40)])
    with torch.no_grad():  # random networks see all pictures alike: tell them apart
        centre = model.pooled(normalised(torch.from_numpy(views))).mean(dim=0)
        model.projection.bias.copy_(-model.projection.weight @ centre)
    before = targets.embed_views(model, views, torch.device("cpu"))
    whitened = targets.whiten_targets(model, before, views, power=0.2)
    after = targets.embed_views(model, views, torch.device("cpu"))
    # exact but for the lengths that the centre is scaled by
    assert float((whitened * after).sum(dim=1).mean()) > 0.95
    first, last = (np.linalg.eigvalsh(np.cov(v.numpy().T)) for v in (before, whitened))
    assert last[0] / last[-1] > first[0] / first[-1]
    few = before[:12]
    assert targets.whiten_targets(model, few, views, power=0.2) is few
