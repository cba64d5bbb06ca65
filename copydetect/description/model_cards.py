"""The card of a model: everything but its weights that is needed to use it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from copydetect.errors import ModelError
from copydetect.json_values import parse_as

_WITHOUT_EFFECT = ("name", "license", "compatible_with", "notes")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


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


@dataclass(frozen=True)
class ModelCard:
    """What must be known of a model to use it.

    input_size_px: side of the square, or the short edge where `resize` is "short_edge";
    mean, std: of the RGB channels, in 0…1; dimension: of the vectors;
    network: None for TorchScript; compatible_with: identity of the model whose vectors can be
    compared with this one's, "" for none.
    """

    name: str
    input_size_px: int
    dimension: int
    resize: Literal["square", "short_edge"] = "square"
    mean: tuple[float, ...] = _IMAGENET_MEAN
    std: tuple[float, ...] = _IMAGENET_STD
    network: NetworkConfig | None = None
    license: str = ""
    compatible_with: str = ""
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
        """The fields of the card that vectors depend on, as JSON."""
        fields = asdict(self)
        return json.dumps({name: fields[name] for name in fields if name not in _WITHOUT_EFFECT})


_OFFICIAL_SSCD = {
    name: ModelCard(name, 288, 1024 if name == "sscd_disc_large" else 512, license="MIT")
    for name in (
        *("sscd_disc_blur", "sscd_disc_advanced", "sscd_disc_mixup", "sscd_disc_large"),
        *("sscd_imagenet_blur", "sscd_imagenet_advanced", "sscd_imagenet_mixup"),
    )
}


def card_of(path: Path) -> ModelCard:
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
