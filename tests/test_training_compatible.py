"""Training a model whose vectors can be compared with those of an older one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from copydetect.description.descriptors import load_model
from copydetect.description.trunks import DescriptorModel, Trunk
from copydetect.errors import InputError
from copydetect.storage.files import LocalStorage
from copydetect.training import fitting
from copydetect.training.fitting import train
from copydetect.training.losses import Labels
from copydetect.training.pictures import Pictures, pack_pictures
from copydetect.training.start import Start
from copydetect.training.targets import turn_towards
from tests.test_training import TINY, picture, quiet

SHORT = dataclasses.replace(TINY, steps=1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    folder = tmp_path_factory.mktemp("images")
    for number in range(48):
        cv2.imwrite(str(folder / f"{number:02d}.png"), picture(number))
    packed = tmp_path_factory.mktemp("packed")
    return pack_pictures(LocalStorage(), [str(folder)], packed, TINY.short_side_px)


def test_the_anchor_term_draws_views_to_the_old_vectors(pictures: Pictures, tmp_path: Path) -> None:
    """Vectors that are free to move, as the best network could, end between targets and anchors."""
    old = train(pictures, SHORT, tmp_path / "old", Start("random"), quiet)
    start = Start("random", compatible_with=str(old))

    def cosine(weight: float) -> float:
        options = dataclasses.replace(TINY, anchor_weight=weight, seed=1)
        run = fitting._prepare(pictures, options, tmp_path, start)
        assert run.anchors is not None
        np.testing.assert_allclose(run.older_references, run.anchors[run.held_out])
        labels = Labels.of(torch.arange(len(pictures)))
        torch.manual_seed(0)
        free = nn.Parameter(torch.randn(len(pictures), 8))
        optimizer = torch.optim.Adam([free], lr=0.1)
        for _ in range(60):
            optimizer.zero_grad()
            fitting._loss(run, functional.normalize(free), labels).backward()
            optimizer.step()
        return float(functional.cosine_similarity(free.detach(), run.anchors).mean())

    without, lightly, strongly = (cosine(weight) for weight in (0.0, 1.0, 10.0))
    assert without + 0.1 < lightly <= strongly + 1e-3
    assert strongly > 0.8


def test_a_compatible_model_says_so_and_is_judged_among_the_old_vectors(
    pictures: Pictures, tmp_path: Path
) -> None:
    old = train(pictures, SHORT, tmp_path / "old", Start("random"), quiet)
    start = Start("random", name="new", compatible_with=str(old))
    other = dataclasses.replace(SHORT, dimension=6)
    new = load_model(str(train(pictures, other, tmp_path / "new", start, quiet)))
    assert new.card.compatible_with == load_model(str(old)).identity
    assert new.card.compatible_with in new.card.notes
    assert new.dimension == TINY.dimension


def test_own_vectors_are_turned_towards_the_old_ones() -> None:
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(8, 8))[0]
    targets = functional.normalize(torch.randn(40, 8))
    model = DescriptorModel(Trunk(0.25, last_stage=2), 8, 3.0, (1, 2), attends=False)
    numbers = np.arange(0, 40, 2)
    turned = turn_towards(model, targets, targets @ turn, numbers)
    torch.testing.assert_close(turned, targets @ turn, atol=1e-4, rtol=0)
    assert turn_towards(model, targets, torch.randn(40, 12), numbers).shape == (40, 12)
    with pytest.raises(InputError, match="20 training images do not tell"):
        turn_towards(model, targets, torch.randn(40, 24), numbers)
    assert model.projection.out_features == 12
