"""Pixels → descriptors: load a model, preprocess, embed.

Every model is called the same way, the SSCD way (arXiv 2202.10261): square or short-edge resize,
mean and standard deviation, network, L2. A model is a file and, beside it, a JSON card:

- `NAME.safetensors`: weights of `trunks.DescriptorModel`, whose form the card's `network` tells;
- any TorchScript file that takes a normalised float (n, 3, h, w) batch and returns (n, d). The
  official SSCD files need no card, their names are known.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn
from torch.nn import functional

from copydetect.description.trunks import DescriptorModel, Trunk
from copydetect.errors import ModelError, OptionError
from copydetect.json_values import parse_as
from copydetect.models import DEFAULT_MODEL, MODELS
from copydetect.types import Pixels
from copydetect.workers.devices import checked_device, multiplies_bfloat16

BUNDLED_MODELS = MODELS
BATCH_SIZE = 4
"""Images a forward pass on a CPU: larger batches fall out of its cache and are slower."""

_DEVICE_BATCH_SIZE = 32

_FOR_PEOPLE = ("name", "license", "notes")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NetworkConfig:
    """The form of a `trunks.DescriptorModel`, enough to build it before its weights are loaded."""

    trunk: str = "efficientnet-lite"
    width: float = 1.0
    pooled_stages: tuple[int, ...] = (7,)
    gem_p: float = 3.0
    attends: bool = False

    def __post_init__(self) -> None:
        if self.trunk != "efficientnet-lite":
            raise ModelError(f"unknown trunk {self.trunk!r}; known is 'efficientnet-lite'")
        if not self.pooled_stages or not set(self.pooled_stages) <= set(range(8)):
            raise ModelError(f"pooled_stages must be of 0…7, not {self.pooled_stages}")
        if not 0.05 <= self.width <= 10 or not 0 < self.gem_p <= 100:
            raise ModelError(
                f"width must be 0.05 to 10 and gem_p above 0, to 100: {self.width}, {self.gem_p}"
            )

    def build(self, dimension: int) -> DescriptorModel:
        """A model of this form with random weights."""
        trunk = Trunk(self.width, last_stage=max(self.pooled_stages))
        return DescriptorModel(trunk, dimension, self.gem_p, self.pooled_stages, self.attends)


@dataclass(frozen=True)
class ModelCard:
    """What must be known of a model to use it.

    input_size_px: side of the square, or the short edge where `resize` is "short_edge";
    mean, std: of the RGB channels, in 0…1; dimension: of the vectors;
    network: None for TorchScript.
    """

    name: str
    input_size_px: int
    dimension: int
    resize: Literal["square", "short_edge"] = "square"
    mean: tuple[float, ...] = _IMAGENET_MEAN
    std: tuple[float, ...] = _IMAGENET_STD
    network: NetworkConfig | None = None
    license: str = ""
    notes: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 16 <= self.input_size_px <= 2048:
            raise ModelError(f"input_size_px must be in 16…2048, not {self.input_size_px}")
        if not 1 <= self.dimension <= 8192:
            raise ModelError(f"dimension must be in 1…8192, not {self.dimension}")
        if self.resize not in ("square", "short_edge"):
            raise ModelError(f"resize must be 'square' or 'short_edge', not {self.resize!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or not min(self.std) > 0:
            raise ModelError("mean and std must be three numbers each, std above 0")
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)):
            raise ModelError("mean and std must be finite")

    def to_json(self) -> str:
        """The card as a file holds it."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, path: str) -> ModelCard:
        """Read a card; ModelError, naming `path`, where it is none."""
        try:
            return parse_as(cls, text)
        except (ValueError, ModelError) as error:
            raise ModelError(f"{path} is not the card of a model: {error}") from error

    @property
    def decisive(self) -> str:
        """What of the card decides vectors: all but what is said for people, as JSON."""
        fields = asdict(self)
        return json.dumps({name: fields[name] for name in fields if name not in _FOR_PEOPLE})


def _sscd_card(name: str, dimension: int, input_size_px: int) -> ModelCard:
    return ModelCard(name, input_size_px, dimension, license="MIT")


_OFFICIAL_SSCD = {
    card.name: card
    for card in (
        _sscd_card("sscd_disc_blur", 512, 288),
        _sscd_card("sscd_disc_advanced", 512, 288),
        _sscd_card("sscd_disc_mixup", 512, 288),
        _sscd_card("sscd_disc_large", 1024, 288),
        _sscd_card("sscd_imagenet_blur", 512, 288),
        _sscd_card("sscd_imagenet_advanced", 512, 288),
        _sscd_card("sscd_imagenet_mixup", 512, 288),
    )
}


@dataclass(frozen=True)
class Embedder:
    """A loaded model. `identity` tells vectors of different models apart: the name, the weights,
    and how pictures are made ready for them."""

    card: ModelCard
    identity: str
    network: nn.Module
    device: torch.device
    dtype: torch.dtype
    background_path: Path | None

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self.card.dimension

    @property
    def batch_size(self) -> int:
        """Images a forward pass."""
        if self.card.resize != "square":
            return 1
        return BATCH_SIZE if self.device.type == "cpu" else _DEVICE_BATCH_SIZE

    def embed(self, images: Sequence[Pixels]) -> Vectors:
        """Unit vectors (n, d) float32 of n images or views, the same whatever the batch."""
        if not images:
            return np.empty((0, self.dimension), np.float32)
        batches = [self._forward(batch) for batch in self._batches(images)]
        return np.concatenate(batches)

    def _batches(self, images: Sequence[Pixels]) -> Iterator[list[Pixels]]:
        """Preprocessed images of one shape, at most `batch_size` together, in order."""
        size = self.batch_size
        for start in range(0, len(images), size):
            yield [preprocess(image, self.card) for image in images[start : start + size]]

    def _forward(self, batch: list[Pixels]) -> Vectors:
        # Convolutions and matrix products sum in another order when the batch has another size:
        # every pass has the same size, so that a vector depends on nothing but its image.
        pixels = np.stack(batch + batch[:1] * (self.batch_size - len(batch)))
        with torch.inference_mode():
            vectors = self.network(self._normalised(torch.from_numpy(pixels)))
            vectors = functional.normalize(vectors.float())[: len(batch)].cpu()
        if vectors.shape != (len(batch), self.dimension):
            raise ModelError(
                f"model {self.card.name} returned {tuple(vectors.shape)}, not "
                f"({len(batch)}, {self.dimension}) as its card says"
            )
        return np.ascontiguousarray(vectors.numpy(), np.float32)

    def _normalised(self, pixels: Tensor) -> Tensor:
        """(n, h, w, 3) uint8 → (n, 3, h, w), channels last in memory."""
        # Over whole rows of pixels: element by element over three channels is four times slower.
        width = pixels.shape[2]
        mean = (torch.tensor(self.card.mean, device=self.device) * 255).repeat(width)
        std = (torch.tensor(self.card.std, device=self.device) * 255).repeat(width)
        values = pixels.to(self.device).flatten(2).float().sub_(mean).div_(std).to(self.dtype)
        return values.view(pixels.shape).permute(0, 3, 1, 2)

    def background(self) -> Vectors:
        """Descriptors (b, d) of pictures that are in nobody's collection; (0, d) where none."""
        if self.background_path is None:
            return np.empty((0, self.dimension), np.float32)
        tensors = _read_tensors(self.background_path)
        vectors = tensors.get("vectors", torch.empty(0))
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise ModelError(
                f"{self.background_path} must hold (b, {self.dimension}) `vectors`, "
                f"not {tuple(vectors.shape)}"
            )
        return functional.normalize(vectors.float()).numpy()


def preprocess(image: Pixels, card: ModelCard) -> Pixels:
    """Resize to the model's input, (h, w, 3) uint8, as its training did.

    Our own networks get `scaled`; the others Pillow's bilinear filter, as SSCD's did.
    """
    size = (card.input_size_px, card.input_size_px)
    if card.resize == "short_edge":
        height, width = image.shape[:2]
        scale = card.input_size_px / min(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if card.network is not None:
        return scaled(image, *size)
    # reducing_gap shrinks large pictures by a whole factor first, which is much faster.
    filtered = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(filtered)


def scaled(image: Pixels, width: int, height: int) -> Pixels:
    """Averaged over areas where it shrinks, bilinear where it grows: sharper is no nearer."""
    shrinks = width * height <= image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def load_model(
    path_or_name: str = DEFAULT_MODEL,
    device: str = "cpu",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    trust_model: bool = False,
) -> Embedder:
    """Load a bundled model by name, or a safetensors or TorchScript file by path.

    device: "cpu", "cuda", "cuda:1", "mps"; precision: of the trunk, "auto" takes bfloat16 where
    the processor computes with it; trust_model: allows TorchScript, as `load_torchscript` says.
    Nothing is unpickled. ModelError where the file is no model or has no card; OptionError where
    the device is not there.
    """
    torch_device = checked_device(device)
    path = _model_path(path_or_name)
    card = _card_of(path)
    content = path.read_bytes()
    digest = hashlib.sha256(hashlib.sha256(content).digest() + card.decisive.encode())
    identity = f"{card.name}-{digest.hexdigest()[:12]}"
    if card.network is None:
        network: nn.Module = load_torchscript(path, torch_device, trust_model)
        dtype = torch.float32
    else:
        dtype = _trunk_dtype(precision, torch_device)
        network = _descriptor_network(content, card, path).to(torch_device)
        network.trunk.to(dtype)
    background = path.with_name(f"{path.stem}.background.safetensors")
    return Embedder(
        card, identity, network, torch_device, dtype, background if background.exists() else None
    )


def _model_path(path_or_name: str) -> Path:
    bundled = BUNDLED_MODELS / f"{path_or_name}.safetensors"
    path = bundled if bundled.is_file() else Path(path_or_name)
    if not path.is_file():
        names = sorted(card.stem for card in BUNDLED_MODELS.glob("descriptor-*.json"))
        raise ModelError(
            f"no model {path_or_name!r}: give the path of a file or one of {', '.join(names)}"
        )
    return path


def _card_of(path: Path) -> ModelCard:
    """The card beside a model file, or what is known of an official SSCD file by its name."""
    card_path = path.with_suffix(".json")
    if card_path.is_file():
        try:
            text = card_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"cannot read the model card {card_path}: {error}") from error
        return ModelCard.from_json(text, str(card_path))
    official = _OFFICIAL_SSCD.get(path.name.split(".")[0])
    if official is None:
        raise ModelError(
            f"model {path} needs a card {card_path.name} beside it with name, input_size_px, "
            "dimension and, unless they are ImageNet's, mean and std"
        )
    return official


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
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path} is not a TorchScript model: {reason}") from error
    return module.eval()


def _descriptor_network(content: bytes, card: ModelCard, path: Path) -> DescriptorModel:
    """Weights on the network that the card describes, ready for inference."""
    network = (card.network or NetworkConfig()).build(card.dimension)
    try:
        tensors = load_safetensors(content)
        weights = {name: value.float() for name, value in tensors.items()}
        _load_weights(network, weights)
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path} does not hold the weights of its card: {reason}") from error
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


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_safetensors(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a safetensors file: {error}") from error
    return tensors


def _trunk_dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision not in ("auto", "float32", "bfloat16"):
        raise OptionError(f"precision must be auto, float32 or bfloat16, not {precision!r}")
    if precision == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32
