"""ResNet-50 with random weights: what the speed of descriptors is told as a ratio to.

Machines differ, their ratios hardly. The network is that of SSCD (arXiv 2202.10261) without its
projection: He et al., arXiv 1512.03385, with the stride in the 3×3 convolution and batch norms
folded away.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUT_PX = 288

_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))  # blocks, channels, stride
_EXPANSION = 4


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        outputs = channels * _EXPANSION
        self.reduce = nn.Conv2d(inputs, channels, 1)
        self.middle = nn.Conv2d(channels, channels, 3, stride, 1)
        self.expand = nn.Conv2d(channels, outputs, 1)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, features: Tensor) -> Tensor:
        changed = functional.relu(self.middle(functional.relu(self.reduce(features))))
        return functional.relu(self.expand(changed) + self.shortcut(features))


class ResNet50(nn.Module):
    """Images (n, 3, h, w) → pooled features (n, 2048); for inference."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        inputs = 64
        for blocks, channels, stride in _STAGES:
            for block in range(blocks):
                layers.append(_Bottleneck(inputs, channels, stride if block == 0 else 1))
                inputs = channels * _EXPANSION
        self.layers = nn.Sequential(*layers)
        for parameter in self.eval().parameters():
            if parameter.ndim == 4:
                channels_last = parameter.data.contiguous(memory_format=torch.channels_last)
                parameter.data = channels_last

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features.mean(dim=(2, 3))
