"""The losses of training, by hand and by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from copydetect.training.losses import (
    Labels,
    mix_images,
    target_softmax,
    threshold_term,
)


def test_target_softmax_by_hand() -> None:
    targets = torch.eye(3)
    vectors = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    labels = Labels(torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([1.0, 0.25]))
    right = -np.log(np.e / (np.e + 2))
    wrong = -np.log(1 / (np.e + 2))
    expected = (right + (0.25 * right + 0.75 * (wrong + 1))) / 2
    assert float(target_softmax(vectors @ targets.T, labels, 1.0)) == pytest.approx(
        expected, rel=1e-5
    )


def test_threshold_term_by_hand() -> None:
    similarities = torch.tensor([[0.9, 0.5, 0.4, 0.3, 0.2, 0.1]])
    labels = Labels.of(torch.tensor([0]))
    # normalised by rank 5 alone, as there is no other: .1 is taken off
    missed = np.log1p(np.exp(0.3 - 0.8))
    alarms = sum(np.log1p(np.exp(score - 0.1 - 0.3)) for score in (0.5, 0.4, 0.3))
    found = float(threshold_term(similarities, labels, 1.0))
    assert found == pytest.approx(missed + alarms, rel=1e-5)


def test_mixed_images_say_how_much_of_whom_they_show() -> None:
    numbers = torch.arange(10)
    images = numbers.float()[:, None, None, None].expand(10, 3, 16, 16).contiguous()
    mixed, labels = mix_images(images, numbers, 0.5, torch.Generator().manual_seed(3))
    changed = (labels.share < 1).nonzero()[:, 0]
    assert len(changed) == 5
    shown = labels.share * labels.first + (1 - labels.share) * labels.second
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), shown, atol=1e-4, rtol=1e-4)
