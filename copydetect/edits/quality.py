"""Edits of sharpness and encoding: what resaving, filters and bad cameras do."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from copydetect.edits.edit import Edit, Edited, Others, in_place
from copydetect.images.resizing import resized
from copydetect.types import Pixels


@dataclass(frozen=True)
class Blur(Edit, kind="blur"):
    """Gaussian blur; sigma as a share of the short side, or motion blur of the same spread."""

    sigma: float
    motion: bool = False

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Blur:
        sigma = rng.uniform(0.002, 0.006 + 0.014 * strength)
        return cls(float(sigma), bool(rng.random() < 0.2))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        sigma = max(self.sigma * min(pixels.shape[:2]), 0.5)
        if self.motion:
            # A box of width w spreads by w / sqrt(12).
            width = max(round(sigma * 12**0.5), 2)
            smeared = cv2.blur(pixels, (width, 1), borderType=cv2.BORDER_REPLICATE)
            return in_place(smeared.astype(np.uint8, copy=False))
        return in_place(softened(pixels, sigma))


@dataclass(frozen=True)
class Sharpen(Edit, kind="sharpen"):
    """Unsharp mask: adds `amount` of the difference to a blurred picture."""

    amount: float
    sigma_px: float

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Sharpen:
        return cls(float(rng.uniform(0.5, 1 + 4 * strength)), float(rng.uniform(0.7, 2.0)))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        blurred = cv2.GaussianBlur(pixels, (0, 0), self.sigma_px, borderType=cv2.BORDER_REPLICATE)
        sharp = cv2.addWeighted(pixels, 1 + self.amount, blurred, -self.amount, 0)
        return in_place(sharp.astype(np.uint8, copy=False))


@dataclass(frozen=True)
class Relief(Edit, kind="relief"):
    """Adds edges to the picture (edge enhancement) or shows little else (emboss)."""

    amount: float
    emboss: bool = False

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Relief:
        return cls(float(rng.uniform(0.3, 0.6 + strength)), bool(rng.random() < 0.3 * strength))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        if self.emboss:
            kernel = np.array([[-1, -1, 0], [-1, 1, 1], [0, 1, 1]]) * self.amount
            kernel[1, 1] = 1
        else:
            kernel = np.full((3, 3), -self.amount)
            kernel[1, 1] = 1 + 8 * self.amount
        filtered = cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        return in_place(filtered.astype(np.uint8, copy=False))


@dataclass(frozen=True)
class Noise(Edit, kind="noise"):
    """Adds noise: normal with a standard deviation in levels, or salt and pepper at a share."""

    deviation: float
    specks: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Noise:
        seed = int(rng.integers(2**31))
        if rng.random() < 0.3:
            return cls(0.0, float(rng.uniform(0.005, 0.02 + 0.08 * strength)), seed)
        return cls(float(rng.uniform(4, 12 + 38 * strength)), 0.0, seed)

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        rng = np.random.default_rng(self.seed)
        if self.deviation:
            noise = rng.standard_normal(pixels.shape, np.float32) * np.float32(self.deviation)
            noisy = cv2.add(pixels, noise, dtype=cv2.CV_8U).astype(np.uint8, copy=False)
            return in_place(noisy.reshape(pixels.shape))
        height, width = pixels.shape[:2]
        count = round(self.specks * width * height)
        speckled = pixels.copy()
        places = rng.integers(0, height, count), rng.integers(0, width, count)
        speckled[places] = (rng.integers(0, 2, count) * 255)[:, None]
        return in_place(speckled)


@dataclass(frozen=True)
class Pixelate(Edit, kind="pixelate"):
    """Shows squares of one colour; `blocks` of them along the longer side."""

    blocks: int

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Pixelate:
        low, high = np.log(110 - 75 * strength), np.log(160)
        return cls(round(float(np.exp(rng.uniform(low, high)))))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        return in_place(pixelated(pixels, self.blocks))


@dataclass(frozen=True)
class Reencode(Edit, kind="jpeg"):
    """Saves as JPEG or WebP at a quality of 1 … 100 and reads it again; perhaps several times."""

    quality: int
    times: int = 1
    encoding: Literal["jpeg", "webp"] = "jpeg"

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Reencode:
        quality = int(rng.integers(round(45 - 40 * strength), 86))
        times = int(rng.integers(2, 4)) if rng.random() < 0.15 else 1
        return cls(quality, times)

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        # The grid of 8 px blocks moves between saves of a picture that is cut or scaled; here
        # another quality each time stands for that.
        for save in range(self.times):
            pixels = reencoded(pixels, self.encoding, min(self.quality + 7 * save, 100))
        return in_place(pixels)


@dataclass(frozen=True)
class ReencodeWebP(Reencode, kind="webp"):
    """Saves as WebP and reads it again."""

    encoding: Literal["jpeg", "webp"] = "webp"


@dataclass(frozen=True)
class Shuffle(Edit, kind="shuffle"):
    """Lets a share of the image's square blocks of `block_px` change places at random."""

    share: float
    block_px: int
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float) -> Shuffle:
        share = float(rng.uniform(0.05, 0.1 + 0.25 * strength))
        return cls(share, int(rng.choice([1, 1, 2, 4, 8])), int(rng.integers(2**31)))

    def edit(self, pixels: Pixels, others: Others) -> Edited:
        side = self.block_px
        rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
        rng = np.random.default_rng(self.seed)
        count = round(self.share * rows * columns)
        chosen = rng.choice(rows * columns, count, replace=False) if count else np.zeros(0, int)
        y, x = np.divmod(chosen, max(columns, 1))
        shuffled = pixels.copy()
        blocks = shuffled[: rows * side, : columns * side].reshape(rows, side, columns, side, 3)
        blocks[y, :, x] = blocks[y, :, x][rng.permutation(count)]
        covered = np.zeros(pixels.shape[:2], bool)
        covered[: rows * side, : columns * side].reshape(rows, side, columns, side)[y, :, x] = True
        return in_place(shuffled, covered)


def softened(pixels: Pixels, sigma_px: float) -> Pixels:
    """Gaussian blur. A wide one is done on a smaller picture, for its time grows with its width."""
    height, width = pixels.shape[:2]
    factor = max(int(sigma_px / 4), 1)
    small = max(width // factor, 1), max(height // factor, 1)
    reduced = resized(pixels, *small)
    blurred = cv2.GaussianBlur(
        reduced, (0, 0), sigma_px / factor, borderType=cv2.BORDER_REPLICATE
    ).astype(np.uint8, copy=False)
    if small == (width, height):
        return blurred
    grown = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
    return grown.astype(np.uint8, copy=False)


def pixelated(pixels: Pixels, blocks: int) -> Pixels:
    """Averaged over squares, `blocks` along the longer side, and shown at the old size."""
    height, width = pixels.shape[:2]
    # Squares of two pixels at least: an image of fewer pixels than blocks changes as well.
    factor = min(blocks / max(width, height), 0.5)
    small = max(round(width * factor), 1), max(round(height * factor), 1)
    averaged = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
    squares = cv2.resize(averaged, (width, height), interpolation=cv2.INTER_NEAREST)
    return squares.astype(np.uint8, copy=False)


def reencoded(pixels: Pixels, encoding: Literal["jpeg", "webp"], quality: int) -> Pixels:
    """Through the encoder and back."""
    if encoding == "webp":
        file = io.BytesIO()
        # The fastest of its methods: the same artefacts, in half the time.
        Image.fromarray(pixels).save(file, "WEBP", quality=quality, method=0)
        return np.array(Image.open(file).convert("RGB"))
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)
    return decoded.reshape(pixels.shape)
