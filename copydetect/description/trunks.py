"""The convolutional trunk, and the descriptor network around it: trunk → GeM → projection → L2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from copydetect.description.model_cards import NetworkConfig

_BATCH_NORM_EPSILON = 1e-3
_HEAD_CHANNELS = 1280
_STEM_CHANNELS = 32

# Repeats, kernel, stride, expansion, output channels (EfficientNet-B0, arXiv 1905.11946, table 1).
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class ConvNormAct(nn.Module):
    """Convolution with TensorFlow's "same" padding, batch norm, and ReLU6 where `activation`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        # With stride 2 the padding is uneven and depends on the size of the input.
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(
            outputs, eps=_BATCH_NORM_EPSILON, momentum=0.01
        )
        self.activation = activation
        self.kernel = kernel
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        if isinstance(self.norm, nn.Identity):
            return self._folded(features)
        if self.stride > 1:
            features = functional.pad(features, same_padding(features, self.kernel, self.stride))
        features = self.norm(self.conv(features))
        return functional.relu6(features, inplace=True) if self.activation else features

    def _folded(self, features: Tensor) -> Tensor:
        """The layer as one operation, without a padded or an unclamped copy of the features."""
        conv, padding = self.conv, [self.kernel // 2] * 2
        if self.stride > 1:
            # With `fold`'s leading zeros, a kernel of k + 1 begins one pixel early: as far before
            # an even length as the padding is after it, and a pixel further before an odd one.
            padding = [self.kernel // 2 + length % 2 for length in features.shape[2:]]
        if _fuses(features):
            name, limits = ("hardtanh", [0.0, 6.0]) if self.activation else ("none", [])
            strides, dilations = list(conv.stride), list(conv.dilation)
            fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
                features, conv.weight, conv.bias, padding, strides, dilations, conv.groups,
                name, limits, "",
            )  # fmt: skip
            return fused
        features = functional.conv2d(
            features, conv.weight, conv.bias, self.stride, padding, groups=conv.groups
        )
        return functional.relu6(features, inplace=True) if self.activation else features

    def fold(self) -> None:
        """Fold the batch norm into the convolution; for inference only.

        Kernels of stride 2 get a first row and column of zeros, which makes the uneven padding an
        even one: padding apart from the convolution costs a sixth of the network's time.
        """
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()
            if self.stride > 1:
                self.conv.weight = nn.Parameter(functional.pad(self.conv.weight, (1, 0, 1, 0)))


class InvertedResidual(nn.Module):
    """MBConv without squeeze-and-excitation: expand 1×1, depthwise, project 1×1, add."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        layers = [] if expansion == 1 else [ConvNormAct(inputs, middle, 1)]
        layers += [
            ConvNormAct(middle, middle, kernel, stride, groups=middle),
            ConvNormAct(middle, outputs, 1, activation=False),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = self.layers(features)
        return features + changed if self.residual else changed


class Trunk(nn.Module):
    """EfficientNet-Lite (EfficientNet without squeeze-and-excitation, with ReLU6).

    Stages are numbered 0…7: the seven groups of blocks and, as 7, the 1×1 head of 1280 channels;
    `channels[i]` is the number of channels of stage i. `width` scales the channels of the groups;
    stem and head keep theirs, as in the Lite family. `last_stage` leaves out what is above it.
    """

    def __init__(self, width: float = 1.0, last_stage: int = 7) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, _STEM_CHANNELS, 3, stride=2)
        self.groups = nn.ModuleList()
        self.channels: list[int] = []
        inputs = _STEM_CHANNELS
        for repeats, kernel, stride, expansion, base in _GROUPS[: last_stage + 1]:
            outputs = _scaled(base, width)
            blocks = [InvertedResidual(inputs, outputs, kernel, stride, expansion)]
            blocks += [
                InvertedResidual(outputs, outputs, kernel, 1, expansion) for _ in range(repeats - 1)
            ]
            self.groups.append(nn.Sequential(*blocks))
            self.channels.append(outputs)
            inputs = outputs
        if last_stage >= len(_GROUPS):
            self.groups.append(ConvNormAct(inputs, _HEAD_CHANNELS, 1))
            self.channels.append(_HEAD_CHANNELS)

    def stages(self, images: Tensor) -> list[Tensor]:
        """Feature maps of all stages of normalised images (n, 3, h, w): (n, c, h/s, w/s) each."""
        features = self.stem(images)
        maps = []
        for group in self.groups:
            features = group(features)
            maps.append(features)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """The feature map of the last stage: (n, c, h/32, w/32) of images (n, 3, h, w)."""
        return self.stages(images)[-1]


class DescriptorModel(nn.Module):
    """SSCD's head on a trunk: GeM pooling, a linear projection, L2 (arXiv 2202.10261).

    `pooled_stages` are the trunk's stages whose pooled features are concatenated; each stage is
    L2-normalised first where there are several, so that none drowns the others. Where the model
    `attends`, the highest of them weighs the positions, for each stage apart, so that a picture
    counts for more than the screen, the page or the other picture around it.
    """

    def __init__(
        self,
        trunk: Trunk,
        dimension: int,
        gem_p: float = 3.0,
        pooled_stages: Sequence[int] = (7,),
        attends: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.gem_p = gem_p
        self.pooled_stages = tuple(pooled_stages)
        self.attention: nn.Conv2d | None = None
        if attends:
            self.attend()
        features = sum(trunk.channels[stage] for stage in self.pooled_stages)
        self.projection = nn.Linear(features, dimension)

    def attend(self) -> None:
        """Weigh positions from now on; to begin with, all the same."""
        highest = self.trunk.channels[max(self.pooled_stages)]
        self.attention = nn.Conv2d(highest, len(self.pooled_stages), 1, bias=False)
        nn.init.zeros_(self.attention.weight)

    def pooled(self, images: Tensor) -> Tensor:
        """Features (n, f) float32 of normalised images (n, 3, h, w), before the projection."""
        return self.pool(self.trunk.stages(images.to(self.trunk.stem.conv.weight.dtype)))

    def pool(self, maps: Sequence[Tensor]) -> Tensor:
        """Features (n, f) float32 of the feature maps of all stages, before the projection."""
        chosen = [maps[stage].float() for stage in self.pooled_stages]
        weights: Sequence[Tensor | None] = [None] * len(chosen)
        if self.attention is not None:
            # Not as a convolution, whose sums depend on the number of threads.
            highest = maps[max(self.pooled_stages)].float()
            logits = [(highest * row).sum(dim=1) for row in self.attention.weight]
            weights = [_shares(own, f.shape[2:]) for own, f in zip(logits, chosen, strict=True)]
        pooled = [gem(f, self.gem_p, w) for f, w in zip(chosen, weights, strict=True)]
        if len(pooled) > 1:
            pooled = [functional.normalize(features) for features in pooled]
        return torch.cat(pooled, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors (n, d) float32 of normalised images (n, 3, h, w)."""
        return functional.normalize(self.projection(self.pooled(images)))

    def fold(self) -> None:
        """Fold every batch norm into its convolution; the model can then no longer be trained."""
        self.eval()
        for module in self.modules():
            if isinstance(module, ConvNormAct):
                module.fold()


def build(config: NetworkConfig, dimension: int) -> DescriptorModel:
    """A model of this form with random weights."""
    trunk = Trunk(config.width, last_stage=max(config.pooled_stages))
    return DescriptorModel(trunk, dimension, config.gem_p, config.pooled_stages, config.attends)


def same_padding(features: Tensor, kernel: int, stride: int) -> list[int]:
    """Left, right, top, bottom, so that outputs = ceil(inputs / stride); odd pixels at the end."""
    paddings: list[int] = []
    for length in (features.shape[3], features.shape[2]):
        missing = max(0, (-(-length // stride) - 1) * stride + kernel - length)
        paddings += [missing // 2, missing - missing // 2]
    return paddings


def gem(features: Tensor, p: float, weights: Tensor | None = None) -> Tensor:
    """Generalised mean over positions (Radenović et al., arXiv 1711.02512): (n, c) float32.

    features: (n, c, h, w). Negative values count as none, as after a ReLU. weights: (n, h, w)
    float32 of the positions, sums of 1; None where all count the same.
    """
    powers = features.float().clamp(min=1e-6).pow(p)
    if weights is None:
        return powers.mean(dim=(2, 3)).pow(1.0 / p)
    # Not as a matrix product, whose sums depend on the number of threads.
    return (powers * weights[:, None]).sum(dim=(2, 3)).pow(1.0 / p)


def _shares(logits: Tensor, size: torch.Size) -> Tensor:
    """Logits (n, h', w') → (n, h, w) of this size, a softmax over positions."""
    scaled = functional.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)
    return scaled.flatten(1).softmax(dim=1).view(len(logits), *size)


def _fuses(features: Tensor) -> bool:
    """Whether oneDNN convolves and clamps these features in one pass, which is a fifth faster."""
    if features.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    if features.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return features.dtype == torch.float32


def _scaled(channels: int, width: float) -> int:
    """Channels times width, to a multiple of 8, never more than a tenth below."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded
