"""Losses of the student: nearness to its picture's target, or to another view; and spread."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_CROWD = (5, 30)
_THRESHOLD = 0.3


@dataclass(frozen=True)
class Labels:
    """The pictures that n views show: `first` with `share`, `second` with the rest.

    first, second: (n,) int64 numbers of pictures; share: (n,) float32 in 0…1, 1 where a view
    shows one picture only.
    """

    first: Tensor
    second: Tensor
    share: Tensor

    @classmethod
    def of(cls, numbers: Tensor) -> Labels:
        """Views that show one picture each."""
        return cls(numbers, numbers, torch.ones(len(numbers), device=numbers.device))

    def to(self, device: torch.device) -> Labels:
        """The same on another device."""
        return Labels(self.first.to(device), self.second.to(device), self.share.to(device))

    def overlap(self, other: Labels) -> Tensor:
        """(n, m): how much of what a view shows another one shows as well, 0…1."""
        total = torch.zeros(len(self.first), len(other.first), device=self.first.device)
        for mine, my_share in ((self.first, self.share), (self.second, 1 - self.share)):
            for theirs, their_share in (
                (other.first, other.share),
                (other.second, 1 - other.share),
            ):
                same = (mine[:, None] == theirs[None, :]).float()
                total += same * my_share[:, None] * their_share[None, :]
        return total


def target_softmax(similarities: Tensor, labels: Labels, temperature: float) -> Tensor:
    """Cross-entropy of a view's target among the targets of all pictures, plus 1 − its cosine.

    similarities: (n, N) cosines of the views and all targets, whose columns the labels number.
    """
    logs = functional.log_softmax(similarities / temperature, dim=1)
    total = similarities.new_zeros(())
    for numbers, share in ((labels.first, labels.share), (labels.second, 1 - labels.share)):
        surprise = -logs.gather(1, numbers[:, None])[:, 0]
        cosine = similarities.gather(1, numbers[:, None])[:, 0]
        total = total + (share * (surprise + 1 - cosine)).mean()
    return total


def threshold_term(similarities: Tensor, labels: Labels, temperature: float) -> Tensor:
    """How far scores are on the wrong side of one threshold for all views.

    A softmax ranks the targets of one view; a search that reports pairs ranks those of all views
    together. The score is the similarity minus the mean of the view's own of ranks 5–30, as a
    search normalises it; a view's own target and the three others nearest to it count.
    """
    own = torch.stack([labels.first, labels.second], dim=1)
    others = similarities.detach().scatter(1, own, -1.0)
    nearest, columns = others.topk(min(_CROWD[1], others.shape[1] - 1), dim=1)
    crowd = nearest[:, min(_CROWD[0] - 1, nearest.shape[1] - 1) :].mean(dim=1, keepdim=True)
    right = similarities.gather(1, labels.first[:, None]) - crowd
    wrong = similarities.gather(1, columns[:, :3]) - crowd
    missed = functional.softplus((_THRESHOLD - right[:, 0]) / temperature)
    alarms = functional.softplus((wrong - _THRESHOLD) / temperature).sum(dim=1)
    return (labels.share * missed + alarms).mean()


def info_nce(
    vectors: Tensor, labels: Labels, bank: Tensor, bank_labels: Labels, temperature: float
) -> Tensor:
    """InfoNCE of every view against the batch and the bank (SSCD, arXiv 2202.10261, eq. 1 and 4).

    vectors: (n, d) views of the batch, bank: (m, d) views of earlier batches, unit rows. Every
    view of the same picture is a positive, blended ones in proportion to what they share.
    """
    candidates = torch.cat([vectors, bank.to(vectors.dtype)])
    itself = torch.zeros(len(vectors), len(candidates), dtype=torch.bool, device=vectors.device)
    itself.fill_diagonal_(True)
    logits = (vectors @ candidates.T).float() / temperature
    logs = functional.log_softmax(logits.masked_fill(itself, -1e4), dim=1)
    positives = torch.cat([labels.overlap(labels), labels.overlap(bank_labels)], dim=1)
    positives = positives.masked_fill(itself, 0.0)
    weights = positives.sum(dim=1)
    surprise = -(positives * logs).sum(dim=1) / weights.clamp(min=1e-6)
    return (surprise * (weights > 0)).sum() / (weights > 0).sum().clamp(min=1)


def entropy_term(vectors: Tensor, labels: Labels) -> Tensor:
    """−mean log distance to the nearest view of another picture (KoLeo, arXiv 1806.03198).

    To be minimised: it spreads the vectors evenly over the sphere. 0 where there is no other.
    """
    similarities = (vectors @ vectors.T).masked_fill(labels.overlap(labels) > 0, -2.0)
    nearest, rows = similarities.max(dim=1)
    exists = nearest > -2
    if not exists.any():
        return vectors.new_zeros(())
    apart = (vectors - vectors[rows]).norm(dim=1)[exists]
    return -torch.log(apart.clamp(min=1e-4)).mean()


def mix_images(
    images: Tensor, numbers: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Labels]:
    """Blend `share` of the images (n, 3, h, w) with others of the batch, or paste a piece in.

    Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) by turns.
    """
    count, height, width = len(images), images.shape[2], images.shape[3]
    labels = Labels.of(numbers)
    chosen = torch.randperm(count, generator=generator)[: round(count * share)]
    if count < 2 or not len(chosen):
        return images, labels
    mixed, second, kept = images.clone(), labels.second.clone(), labels.share.clone()
    for place, row in enumerate(chosen.tolist()):
        other = (row + 1 + int(torch.randint(count - 1, (1,), generator=generator))) % count
        part = 0.2 + 0.6 * float(torch.rand(1, generator=generator))
        if place % 2:
            mixed[row] = part * images[row] + (1 - part) * images[other]
        else:
            side = (1 - part) ** 0.5
            h, w = max(1, int(height * side)), max(1, int(width * side))
            top = int(torch.randint(height - h + 1, (1,), generator=generator))
            left = int(torch.randint(width - w + 1, (1,), generator=generator))
            piece = slice(top, top + h), slice(left, left + w)
            mixed[row][:, piece[0], piece[1]] = images[other][:, piece[0], piece[1]]
            part = 1 - h * w / (height * width)
        second[row] = numbers[other]
        kept[row] = part
    return mixed, Labels(numbers, second, kept)
