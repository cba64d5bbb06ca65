"""The options of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from copydetect.errors import OptionError

if TYPE_CHECKING:
    from copydetect.edits import EditMix


@dataclass(frozen=True)
class TrainingOptions:
    """One training run. Steps are updates of the weights; shares and probabilities are 0…1.

    image_px: side of the squares that are trained on; final_px: in the last `final_share` of the
    steps, and for the targets; search_px: what the finished model is used and validated at.
    threshold_weight: of the loss term that asks for one threshold for all views. anchor_weight: of
    the term that keeps to the vectors of an older model, where one is given. Every picture has a
    target vector, which its views are trained towards; target_power: how far targets
    are whitened, ½ fully; target_spread: how far they move away from look-alikes; renewals: how
    often they are made anew by the student, evenly over the run. pages: how many drawn pages are
    added, as a share of the pictures. frozen_stages: how many groups of the trunk stay as they are,
    with the stem; 0 trains all. mixed: share of images that are blended with another one, or have a
    piece of one in them. look_alikes: share of a batch that are the nearest images of its others.
    average: decay of the moving average of the weights, which is what is kept. mix: edits of the
    training views, names of `edits.MIXES` that are drawn from evenly. held_out: kinds of edits that
    are not trained on. The best checkpoint is the one that finds most copies made by them, at the
    lengths and strengths of `validation_mix`, and by the other kinds. Where none is held out, it is
    judged by all kinds of `validation_mix`. workers: processes that make the views; 0 makes them in
    between.
    """

    steps: int = 4000
    batch_size: int = 64
    image_px: int = 160
    final_px: int = 192
    final_share: float = 0.4
    search_px: int = 256
    short_side_px: int = 192
    pages: float = 0.1
    dimension: int = 384
    pooled_stages: tuple[int, ...] = (3, 4, 5, 6, 7)
    width: float = 1.0
    frozen_stages: int = 3
    temperature: float = 0.05
    threshold_weight: float = 0.3
    anchor_weight: float = 1.0
    target_power: float = 0.1
    target_spread: float = 0.3
    renewals: int = 1
    mixed: float = 0.05
    look_alikes: float = 0.25
    learning_rate: float = 5e-4
    weight_decay: float = 0.02
    warmup_steps: int = 150
    average: float = 0.998
    mix: str = "default,framed,severe"
    held_out: str = "skew,tint,relief,pixelate,stripes,collage"
    validation_mix: str = "default"
    validation_images: int = 1500
    validate_every: int = 500
    seed: int = 0
    workers: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validation_images", "validate_every"):
            _check(name, getattr(self, name), 1, 10**9)
        _check("batch_size", self.batch_size, 2, 65536)
        for name in ("image_px", "final_px", "search_px", "short_side_px"):
            _check(name, getattr(self, name), 32, 1024)
        _check("dimension", self.dimension, 2, 8192)
        _check("frozen_stages", self.frozen_stages, 0, 7)
        _check("temperature", self.temperature, 1e-3, 1)
        _check("learning_rate", self.learning_rate, 1e-8, 1)
        _check("target_power", self.target_power, 0, 0.5)
        for name in ("average", "final_share", "target_spread", "pages"):
            _check(name, getattr(self, name), 0, 1)
        for name in ("mixed", "look_alikes"):
            _check(name, getattr(self, name), 0, 0.9)
        for name in ("threshold_weight", "anchor_weight", "renewals", "warmup_steps", "workers"):
            _check(name, getattr(self, name), 0, 10**9)
        self._check_edits()

    def _check_edits(self) -> None:
        from copydetect.edits import KINDS, mix_named  # loads what `--help` should not wait for

        unknown = [kind for kind in _names(self.held_out) if kind not in KINDS]
        if unknown:
            raise OptionError(f"no such kind of edit: {unknown[0]}; there are {', '.join(KINDS)}")
        if not self.training_mixes:
            raise OptionError("mix names no mix of edits")
        mix_named(self.validation_mix)

    def __str__(self) -> str:
        return (
            f"{self.steps}x{self.batch_size},{self.image_px}-{self.final_px}px,"
            f"{self.dimension}d,frozen={self.frozen_stages},lr={self.learning_rate:g},"
            f"mix={self.mix} without {self.held_out or 'none'}"
        )

    @property
    def training_mixes(self) -> tuple[EditMix, ...]:
        """The mixes that edit the training views: those of `mix` without the kinds held out."""
        from copydetect.edits import mix_named

        away = dict.fromkeys(_names(self.held_out), 0.0)
        mixes = [mix_named(name) for name in _names(self.mix)]
        return tuple(replace(mix, weights={**mix.weights, **away}) for mix in mixes)

    @property
    def judging_mix(self) -> EditMix:
        """The mix that makes the copies which choose the best checkpoint: only the kinds held
        out."""
        from copydetect.edits import mix_named

        mix, kinds = mix_named(self.validation_mix), _names(self.held_out)
        return replace(mix, weights=dict.fromkeys(kinds, 1.0)) if kinds else mix

    @property
    def last_small_step(self) -> int:
        """The step from which training is at `final_px`."""
        return round(self.steps * (1 - self.final_share))

    def fixed(self) -> dict[str, Any]:
        """The options that must not change between an interrupted run and its continuation."""
        free = ("workers", "device", "validate_every")
        return {name: value for name, value in asdict(self).items() if name not in free}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise OptionError(f"{name} must be in {low:g}…{high:g}, not {value!r}")
