"""Edits of tone and colour. None moves a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.edits.edit import Colour, Edit, Edited, Others, in_place
from copydetect.types import Doubles, Pixels

_LEVELS = np.arange(256, dtype=np.float64)


@dataclass(frozen=True)
class Brightness(Edit, kind="brightness"):
    """Multiplies all values by a factor."""

    factor: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Brightness:
        return cls(_factor(rng, 0.1, 0.3 + 0.6 * strength))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        return in_place(curved(pixels, _LEVELS * self.factor))


@dataclass(frozen=True)
class Contrast(Edit, kind="contrast"):
    """Multiplies the distance from the image's mean grey by a factor."""

    factor: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Contrast:
        return cls(_factor(rng, 0.1, 0.35 + 0.75 * strength))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        return in_place(contrasted(pixels, self.factor))


@dataclass(frozen=True)
class Gamma(Edit, kind="gamma"):
    """Raises values, as shares of 255, to a power."""

    power: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Gamma:
        return cls(_factor(rng, 0.15, 0.35 + 0.6 * strength))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        return in_place(curved(pixels, 255 * (_LEVELS / 255) ** self.power))


@dataclass(frozen=True)
class Saturation(Edit, kind="saturation"):
    """Multiplies the distance from grey by a factor."""

    factor: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Saturation:
        return cls(_factor(rng, 0.2, 0.5 + 1.0 * strength))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        return in_place(saturated(pixels, self.factor))


@dataclass(frozen=True)
class Hue(Edit, kind="hue"):
    """Turns every hue by a share of the colour circle, -0.5 … 0.5."""

    turn: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Hue:
        turn = rng.uniform(0.02, 0.06 + 0.44 * strength)
        return cls(float(turn if rng.random() < 0.5 else -turn))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        return in_place(hue_turned(pixels, self.turn))


@dataclass(frozen=True)
class Jitter(Edit, kind="jitter"):
    """Brightness, contrast, saturation and hue together, as colour jitter of training recipes."""

    brightness: float
    contrast: float
    saturation: float
    hue: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Jitter:
        reach = 0.2 + 0.5 * strength
        low, high = np.log(1 / (1 + reach)), np.log(1 + reach)
        brightness, contrast, saturation = np.exp(rng.uniform(low, high, 3))
        hue = rng.uniform(-1, 1) * (0.03 + 0.12 * strength)
        return cls(float(brightness), float(contrast), float(saturation), float(hue))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        lit = contrasted(curved(pixels, _LEVELS * self.brightness), self.contrast)
        return in_place(hue_turned(saturated(lit, self.saturation), self.hue))


@dataclass(frozen=True)
class Grey(Edit, kind="grey"):
    """Keeps luma alone (BT.601)."""

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        return in_place(_uint8(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)))


@dataclass(frozen=True)
class Tint(Edit, kind="tint"):
    """The look of a photo filter: mixes with luma, then blends towards a colour.

    desaturation, amount: 0 … 1, of the grey picture and of the colour.
    """

    desaturation: float
    amount: float
    colour: Colour

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Tint:
        sepia = rng.random() < 0.4
        colour = (230, 180, 110) if sepia else tuple(int(v) for v in rng.integers(0, 256, 3))
        desaturation = 1.0 if sepia else float(rng.uniform(0, 0.5))
        red, green, blue = colour
        return cls(desaturation, rng.uniform(0.1, 0.2 + 0.3 * strength), (red, green, blue))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        faded = saturated(pixels, 1 - self.desaturation)
        return in_place(blended(faded, self.colour, self.amount))


@dataclass(frozen=True)
class Opacity(Edit, kind="opacity"):
    """Makes the picture translucent over a plain colour; level 0 … 1 is what is left of it."""

    level: float
    colour: Colour

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Opacity:
        level = rng.uniform(0.7 - 0.45 * strength, 0.9)
        grey = int(rng.choice([0, 255, 255, 128]))
        return cls(float(level), (grey, grey, grey))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        return in_place(blended(pixels, self.colour, 1 - self.level))


def curved(pixels: Pixels, curve: Doubles) -> Pixels:
    """Every value v replaced by curve[v], rounded and clipped; curve: (256,)."""
    table = np.clip(np.round(curve), 0, 255).astype(np.uint8)
    return _uint8(cv2.LUT(pixels, table))


def contrasted(pixels: Pixels, factor: float) -> Pixels:
    """Spread around the mean grey by a factor."""
    red, green, blue = cv2.mean(pixels)[:3]
    mean = 0.299 * red + 0.587 * green + 0.114 * blue
    return curved(pixels, (_LEVELS - mean) * factor + mean)


def saturated(pixels: Pixels, factor: float) -> Pixels:
    """Spread around each pixel's luma by a factor."""
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return _uint8(cv2.addWeighted(pixels, factor, grey, 1 - factor, 0))


def hue_turned(pixels: Pixels, turn: float) -> Pixels:
    """Hues turned by a share of the colour circle."""
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(turn * 256) % 256)
    return _uint8(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL))


def blended(pixels: Pixels, colour: Colour, amount: float) -> Pixels:
    """Mixed with a plain colour, of which there is `amount`, 0 … 1."""
    tables = np.stack([_LEVELS * (1 - amount) + value * amount for value in colour], axis=-1)
    table = np.clip(np.round(tables), 0, 255).astype(np.uint8)[None]
    return _uint8(cv2.LUT(pixels, table))


def _factor(rng: np.random.Generator, low: float, high: float) -> float:
    """A factor over or under 1 whose logarithm's size lies in low … high."""
    size = rng.uniform(low, high)
    return float(np.exp(size if rng.random() < 0.5 else -size))


def _uint8(image: npt.NDArray[np.generic]) -> Pixels:
    return image.astype(np.uint8, copy=False)
