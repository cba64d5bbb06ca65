"""What a training run is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from copydetect.edits import MIXES
from copydetect.errors import OptionError

Loss = Literal["targets", "infonce"]


@dataclass(frozen=True)
class TrainingOptions:
    """One training run. Steps are updates of the weights; shares and probabilities are 0…1.

    loss: "targets" gives every image a fixed target vector and is the thriftier by far; "infonce"
    sets two views of an image against the rest of the batch and `bank_size` vectors of earlier
    batches, and wants millions of pairs. entropy_weight: of the entropy term of "infonce".
    renewals: how often the targets are made anew by the student, evenly over the run.
    frozen_stages: stem and so many groups of the trunk stay as they are; 0 trains all.
    mixed: share of images that are blended with another one, or have a piece of one in them.
    look_alikes: share of a batch that are the nearest images of its others.
    average: decay of the moving average of the weights, which is what is kept.
    mix: edits of the training views, a name of `edits.MIXES`; validation_mix: those held out.
    workers: processes that make the views; 0 makes them in between.
    """

    steps: int = 4000
    batch_size: int = 64
    image_px: int = 160
    short_side_px: int = 192
    dimension: int = 384
    pooled_stages: tuple[int, ...] = (3, 4, 5, 6, 7)
    width: float = 1.0
    frozen_stages: int = 3
    loss: Loss = "targets"
    temperature: float = 0.05
    entropy_weight: float = 10.0
    bank_size: int = 4096
    renewals: int = 1
    mixed: float = 0.05
    look_alikes: float = 0.25
    learning_rate: float = 6e-4
    weight_decay: float = 0.02
    warmup_steps: int = 150
    average: float = 0.998
    mix: str = "default"
    validation_mix: str = "severe"
    validation_images: int = 1500
    validate_every: int = 500
    seed: int = 0
    workers: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validation_images", "validate_every"):
            _check(name, getattr(self, name), 1, 10**9)
        _check("batch_size", self.batch_size, 2, 65536)
        _check("image_px", self.image_px, 32, 1024)
        _check("short_side_px", self.short_side_px, 32, 1024)
        _check("dimension", self.dimension, 2, 8192)
        _check("frozen_stages", self.frozen_stages, 0, 7)
        _check("temperature", self.temperature, 1e-3, 1)
        _check("average", self.average, 0, 1)
        _check("learning_rate", self.learning_rate, 1e-8, 1)
        for name in ("mixed", "look_alikes"):
            _check(name, getattr(self, name), 0, 0.9)
        for name in ("entropy_weight", "bank_size", "renewals", "warmup_steps", "workers"):
            _check(name, getattr(self, name), 0, 10**9)
        if self.loss not in ("targets", "infonce"):
            raise OptionError(f"loss must be targets or infonce, not {self.loss!r}")
        for mix in (self.mix, self.validation_mix):
            if mix not in MIXES:
                raise OptionError(f"no mix of edits is called {mix}; there are {', '.join(MIXES)}")

    def __str__(self) -> str:
        return (
            f"{self.loss},{self.steps}x{self.batch_size},{self.image_px}px,{self.dimension}d,"
            f"frozen={self.frozen_stages},lr={self.learning_rate:g},mix={self.mix}"
        )

    def fixed(self) -> dict[str, Any]:
        """What may not change between an interrupted run and its continuation."""
        free = ("workers", "device", "validate_every")
        return {name: value for name, value in asdict(self).items() if name not in free}


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise OptionError(f"{name} must be in {low:g}…{high:g}, not {value!r}")
