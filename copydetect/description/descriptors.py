"""Pixels → descriptors: load a model, preprocess, embed.

Every model is called the same way, the SSCD way (arXiv 2202.10261): square or short-edge resize,
mean and standard deviation, network, L2. A model is a file and, beside it, a JSON card:

- `NAME.safetensors`: weights of `trunks.DescriptorModel`, whose form the card's `network` tells,
  and `NAME.onnx`, its graph, with which a processor needs no PyTorch;
- any TorchScript file that takes a normalised float (n, 3, h, w) batch and returns (n, d). The
  official SSCD files need no card, their names are known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from copydetect.description.model_cards import ModelCard, card_of
from copydetect.description.model_files import local_model
from copydetect.description.normalization import unit_rows
from copydetect.description.onnx_network import OnnxNetwork, graph_path
from copydetect.errors import ModelError
from copydetect.models import DEFAULT_MODEL, MODELS
from copydetect.types import Floats, Pixels

BUNDLED_MODELS = MODELS
Vectors = Floats


class Network(Protocol):
    """What embeds pixels, wherever it computes. batch_size: images of each pass."""

    @property
    def batch_size(self) -> int: ...

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> Vectors:
        """Unit vectors (n, d) of images (n, h, w, 3)."""


@dataclass(frozen=True)
class Embedder:
    """A loaded model. `identity` tells vectors of different models apart: the name, the weights,
    and how pictures are made ready for them."""

    card: ModelCard
    identity: str
    network: Network
    background_path: Path | None

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self.card.dimension

    def embed(self, images: Sequence[Pixels]) -> Vectors:
        """Unit vectors (n, d) float32 of n images or views, the same whatever the batch."""
        size = self.network.batch_size
        batches = [np.empty((0, self.dimension), np.float32)]
        for start in range(0, len(images), size):
            some = [preprocess(image, self.card) for image in images[start : start + size]]
            # Every pass has the same size, so that a vector depends on nothing but its image.
            vectors = self.network(np.stack(some + some[:1] * (size - len(some))))
            if vectors.shape != (size, self.dimension):
                raise ModelError(
                    f"model {self.card.name} returned {vectors.shape}, not "
                    f"({size}, {self.dimension}) as its card says"
                )
            batches.append(vectors[: len(some)])
        return np.concatenate(batches)

    def background(self) -> Vectors:
        """Descriptors (b, d) of unrelated pictures, to normalise against; (0, d) where there are
        none."""
        if self.background_path is None:
            return np.empty((0, self.dimension), np.float32)
        try:
            tensors = load_safetensors(self.background_path.read_bytes())
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{self.background_path} is not a safetensors file: {error}"
            ) from error
        vectors = tensors.get("vectors", np.empty(0))
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise ModelError(
                f"{self.background_path} must hold (b, {self.dimension}) `vectors`, "
                f"not {vectors.shape}"
            )
        return unit_rows(vectors.astype(np.float32))


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
    """Resized by area averaging where it shrinks, bilinear where it grows; sharper filters find no
    more."""
    shrinks = width * height <= image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def load_model(
    path_or_name: str = DEFAULT_MODEL,
    device: str = "cpu",
    trust_model: bool = False,
) -> Embedder:
    """Load a bundled model by name, or a safetensors or TorchScript file by path or URI.

    device: "cpu", "cuda", "cuda:1", "mps"; trust_model: allows TorchScript, as `load_torchscript`
    says. Nothing is unpickled. ModelError where the file is no model or has no card; OptionError
    where the device is not there.
    """
    path = _model_path(path_or_name)
    card = card_of(path)
    content = path.read_bytes()
    digest = hashlib.sha256(hashlib.sha256(content).digest() + card.decisive.encode())
    background = path.with_name(f"{path.stem}.background.safetensors")
    return Embedder(
        card,
        f"{card.name}-{digest.hexdigest()[:12]}",
        _network(path, content, card, device, trust_model),
        background if background.exists() else None,
    )


def _network(path: Path, content: bytes, card: ModelCard, device: str, trust: bool) -> Network:
    """In ONNX Runtime on a processor: PyTorch takes seconds to load, and twice as long per picture
    (a tenth less where it can multiply bfloat16)."""
    if device == "cpu" and card.network and graph_path(path).is_file():
        return OnnxNetwork(path, content, card)
    from copydetect.description.torch_network import torch_network

    return torch_network(path, content, card, device, trust)


def _model_path(path_or_name: str) -> Path:
    if "://" in path_or_name:
        return local_model(path_or_name)
    bundled = BUNDLED_MODELS / f"{path_or_name}.safetensors"
    path = bundled if bundled.is_file() else Path(path_or_name)
    if not path.is_file():
        names = sorted(card.stem for card in BUNDLED_MODELS.glob("descriptor-*.json"))
        raise ModelError(
            f"no model {path_or_name!r}: give the path of a file or one of {', '.join(names)}"
        )
    return path
