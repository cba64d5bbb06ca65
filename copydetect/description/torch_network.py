"""A descriptor network in PyTorch: on a GPU, and for models that have no graph for ONNX Runtime."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn
from torch.nn import functional

from copydetect.description.model_cards import ModelCard
from copydetect.description.trunks import DescriptorModel, build
from copydetect.errors import ModelError, first_line
from copydetect.types import Floats
from copydetect.workers.devices import checked_device, multiplies_bfloat16

BATCH_SIZE = 4
"""Images of a forward pass on a CPU: larger batches fall out of its cache and are slower."""
_DEVICE_BATCH_SIZE = 32


class TorchNetwork:
    """Normalises pixels as its card says and embeds them.

    batch_size: images of each pass. Convolutions and matrix products sum in another order when a
    batch has another size, so a vector depends on nothing but its image where all have this one.
    """

    def __init__(
        self, module: nn.Module, card: ModelCard, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._module = module
        self._card = card
        self._device = device
        self._dtype = dtype
        several = BATCH_SIZE if device.type == "cpu" else _DEVICE_BATCH_SIZE
        self.batch_size = several if card.resize == "square" else 1

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> Floats:
        """Unit vectors (n, d) of images (n, h, w, 3)."""
        with torch.inference_mode():
            vectors = self._module(self._normalised(torch.from_numpy(pixels)))
            return np.asarray(functional.normalize(vectors.float()).cpu().numpy(), np.float32)

    def _normalised(self, pixels: Tensor) -> Tensor:
        """(n, h, w, 3) uint8 → (n, 3, h, w), channels last in memory."""
        # Over whole rows of pixels: element by element over three channels is four times slower.
        width = pixels.shape[2]
        mean = (torch.tensor(self._card.mean, device=self._device) * 255).repeat(width)
        std = (torch.tensor(self._card.std, device=self._device) * 255).repeat(width)
        values = pixels.to(self._device).flatten(2).float().sub_(mean).div_(std).to(self._dtype)
        return values.view(pixels.shape).permute(0, 3, 1, 2)


def torch_network(
    path: Path, content: bytes, card: ModelCard, device: str, trust_model: bool
) -> TorchNetwork:
    """The network of a model file, whose bytes are `content`; errors as of `load_model`.

    Its trunk computes in bfloat16 where the device does.
    """
    chosen = checked_device(device)
    if card.network is None:
        module: nn.Module = load_torchscript(path, chosen, trust_model)
        return TorchNetwork(module, card, chosen, torch.float32)
    dtype = torch.bfloat16 if multiplies_bfloat16(chosen.type) else torch.float32
    network = _descriptor_network(content, card, path).to(chosen)
    network.trunk.to(dtype)
    return TorchNetwork(network, card, chosen, dtype)


def load_torchscript(path: Path, device: torch.device, trusted: bool = False) -> nn.Module:
    """A TorchScript network, for inference; ModelError where the file is none.

    It is a program: it can read and write files as its user can (`torch.from_file`). So it is
    refused unless it is trusted. Weights in safetensors are numbers, and need no trust.
    """
    if not trusted:
        raise ModelError(
            f"{path} is TorchScript, which is a program and can write files: give --trust_model if "
            "you trust who made it (weights in .safetensors need no trust)"
        )
    try:
        with warnings.catch_warnings():
            # TorchScript is being retired, but it is what SSCD's models are published in.
            warnings.simplefilter("ignore", DeprecationWarning)
            module: nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
                str(path), map_location=device
            )
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"{path} is not a TorchScript model: {first_line(error)}") from error
    return module.eval()


def _descriptor_network(content: bytes, card: ModelCard, path: Path) -> DescriptorModel:
    """Weights on the network that the card describes, ready for inference."""
    if card.network is None:
        raise ModelError(f"the card of {path} does not say what its network is")
    network = build(card.network, card.dimension)
    try:
        tensors = load_safetensors(content)
        weights = {name: value.float() for name, value in tensors.items()}
        _load_weights(network, weights)
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{path} does not hold the weights of its card: {first_line(error)}"
        ) from error
    network.fold()
    for parameter in network.trunk.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _load_weights(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Every weight there, of its shape, and none left over; RuntimeError otherwise."""
    wanted, given = _shapes(network.state_dict()), _shapes(weights)
    wrong = sorted(n for n in wanted.keys() | given.keys() if wanted.get(n) != given.get(n))
    if wrong:
        raise RuntimeError(f"{len(wrong)} weights missing, foreign or misshapen, as {wrong[0]}")
    network.load_state_dict(weights, strict=False)


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    """Shapes by name, without batch norm's counters of batches, which only training needs."""
    names = [name for name in weights if not name.endswith("num_batches_tracked")]
    return {name: weights[name].shape for name in names}
