"""The loss of the student: nearness to its picture's target."""

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
