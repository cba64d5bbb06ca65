"""The losses of training, by hand and by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from copydetect.training.losses import (
    Labels,
    entropy_term,
    info_nce,
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


def test_info_nce_equals_its_definition() -> None:
    torch.manual_seed(0)
    vectors = functional.normalize(torch.randn(6, 4))
    bank = functional.normalize(torch.randn(5, 4))
    numbers, banked = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([7, 1, 8, 9, 9])
    every, whose = torch.cat([vectors, bank]), torch.cat([numbers, banked])
    terms = []
    for i in range(6):
        others = [j for j in range(11) if j != i]
        logits = every[others] @ vectors[i] / 0.1
        logs = logits - logits.logsumexp(0)
        terms.append(-logs[whose[others] == numbers[i]].mean())
    found = info_nce(vectors, Labels.of(numbers), bank, Labels.of(banked), 0.1)
    torch.testing.assert_close(found, torch.stack(terms).mean())


def test_entropy_term_looks_at_the_nearest_other_picture() -> None:
    vectors = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    term = entropy_term(vectors, Labels.of(torch.tensor([4, 4, 5])))
    assert float(term) == pytest.approx(-np.log(np.sqrt(2)))
    assert float(entropy_term(vectors, Labels.of(torch.tensor([4, 4, 4])))) == 0


def test_mixed_images_say_how_much_of_whom_they_show() -> None:
    numbers = torch.arange(10)
    images = numbers.float()[:, None, None, None].expand(10, 3, 16, 16).contiguous()
    mixed, labels = mix_images(images, numbers, 0.5, torch.Generator().manual_seed(3))
    changed = (labels.share < 1).nonzero()[:, 0]
    assert len(changed) == 5
    shown = labels.share * labels.first + (1 - labels.share) * labels.second
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), shown, atol=1e-4, rtol=1e-4)
    overlap = labels.overlap(Labels.of(numbers))
    torch.testing.assert_close(overlap.sum(dim=1), torch.ones(10))
