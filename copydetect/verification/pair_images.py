"""upright pixels → everything that verification needs of one image, computed once for all its
pairs.

Everything is computed at most once, when a pair first asks for it: grey levels at halved sizes and
RootSIFT features. An image in ten thousand pairs is decoded and described once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from copydetect.description.keypoints import (
    ANGLE_STEPS_PER_TURN,
    MATCHED,
    SCALE_STEPS_PER_OCTAVE,
    UNITS_PER_SIDE,
    KeypointOptions,
    extract,
    load_quantiser,
    mirror_order,
    mirror_vectors,
    of_long_picture,
    reconstruct,
)
from copydetect.description.renderings import most_different
from copydetect.errors import ImageError
from copydetect.images.decoding import DecodedImage, long_side_px
from copydetect.images.transparency import Colour, Opacity
from copydetect.types import Keypoints, Pixels
from copydetect.verification.content import FEWEST_PX, is_plain
from copydetect.verification.lazy import lazy

Floats = npt.NDArray[np.float32]
LARGEST_PX = 1200
"""The longer side at which pairs in doubt are compared, at most."""
_SMALLEST_LEVEL_PX = 24
_RENDERINGS = 3
"""Of an image, kept at once: each takes as much memory as the image."""
_CHROMA_PX = 64
_SKETCH_PX = 24
_GROUND_SHARE = 0.85
_GROUND_TOLERANCE = 24


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """RootSIFT features (Lowe 2004; Arandjelović and Zisserman 2012), strongest first.

    xy_px: (n, 2) positions in px of `PairImage.pixels`, a pixel's centre at whole numbers;
    size_px: (n,) diameters; angle_rad: (n,); descriptors: (n, d), that are near where features look
    alike; mirrored: (n, d), what the mirrored image has at the same places. All float32.
    """

    xy_px: Floats
    size_px: Floats
    angle_rad: Floats
    descriptors: Floats
    mirrored: Floats

    def __len__(self) -> int:
        return len(self.xy_px)


@dataclass(frozen=True, eq=False)
class PairImage:
    """One image as verification sees it.

    pixels: upright RGB at the working size; full_width_px, full_height_px: of the upright image at
    full size; wanted: which `features` full matching compares; keypoints: those that the search has
    compared, None where it has none; uri: where the image is. opacity: (h, w) uint8 of `pixels`,
    which are flattened onto white, None where no ground shows through; later: the other moments of
    an animation, of one size with this one; duration_msec: of an animation, None where it is
    unknown. seen: (h, w) float32, 1 where `pixels` count, else 0; None where all of them do.
    luma_table: as in `DecodedImage`. reopen: the same image with more pixels, None where these are
    all that can be had.
    """

    image_id: str
    pixels: Pixels
    full_width_px: int
    full_height_px: int
    wanted: KeypointOptions
    keypoints: Keypoints | None
    uri: str = ""
    opacity: Opacity | None = None
    later: tuple[PairImage, ...] = ()
    duration_msec: int | None = None
    seen: Floats | None = None
    luma_table: tuple[int, ...] = ()
    reopen: Callable[[], PairImage | None] | None = None

    def at_full_size(self) -> PairImage:
        """The image with `LARGEST_PX` at most; itself where it cannot be had any larger."""
        is_whole = max(self.full_width_px, self.full_height_px) <= max(self.pixels.shape[:2])
        return self if is_whole or self.reopen is None else self.reopen() or self

    @property
    def width_px(self) -> int:
        """Width at the working size."""
        return int(self.pixels.shape[1])

    @property
    def height_px(self) -> int:
        """Height at the working size."""
        return int(self.pixels.shape[0])

    @lazy
    def _thumbnails(self) -> dict[tuple[int, int], Floats]:
        return {}

    @lazy
    def _renderings(self) -> dict[Hashable, PairImage]:
        return {}

    def thumbnail(self, width: int, height: int) -> Floats:
        """(height, width) grey levels of the whole image, kept: pairs ask for a few sizes."""
        size = (width, height)
        found = self._thumbnails.get(size)
        if found is None:
            found = self._thumbnails[size] = self._reduced(size)
        return found

    def _reduced(self, size: tuple[int, int]) -> Floats:
        large = [one for one in self.levels if one.shape[1] >= size[0] and one.shape[0] >= size[1]]
        source = large[-1] if large else self.levels[0]
        return np.asarray(cv2.resize(source, size, interpolation=cv2.INTER_AREA), np.float32)

    def rendering(self, key: Hashable, make: Callable[[], PairImage]) -> PairImage:
        """The image on another ground, or a part of it, as `make` gives it; the last are kept."""
        found = self._renderings.get(key)
        if found is None:
            found = self._renderings[key] = make()
            for oldest in list(self._renderings)[:-_RENDERINGS]:
                self._renderings.pop(oldest, None)
        return found

    @lazy
    def has_too_little(self) -> bool:
        """Whether an image is a few pixels, or one colour or gradient: no pair can be proved."""
        return self.full_width_px * self.full_height_px < FEWEST_PX or is_plain(self.pixels)

    @lazy
    def to_full(self) -> npt.NDArray[np.float64]:
        """(3, 3): working px → full-size px, a pixel's centre at whole numbers in both."""
        return resizing(
            self.full_width_px / self.width_px,
            self.full_height_px / self.height_px,
        )

    @lazy
    def levels(self) -> list[Floats]:
        """Grey levels 0…255, each half the size of the one before."""
        grey = cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
        levels = [grey]
        while min(levels[-1].shape) >= 2 * _SMALLEST_LEVEL_PX:
            height, width = levels[-1].shape
            half = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            levels.append(np.asarray(half, np.float32))
        return levels

    def from_level(self, level: int) -> npt.NDArray[np.float64]:
        """(3, 3): px of `levels[level]` → working px."""
        height, width = self.levels[level].shape
        return resizing(self.width_px / width, self.height_px / height)

    @lazy
    def chroma(self) -> Floats:
        """(h, w, 2): red − green and yellow − blue on a small copy of at most 64 px."""
        scale = min(1.0, _CHROMA_PX / max(self.width_px, self.height_px))
        size = (max(1, round(self.width_px * scale)), max(1, round(self.height_px * scale)))
        small = cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        red, green, blue = small[..., 0], small[..., 1], small[..., 2]
        return np.stack([red - green, (red + green) / 2 - blue], axis=-1)

    @lazy
    def sketch(self) -> Floats:
        """(24, 24, 3) RGB: the whole image, whatever its shape."""
        size = (_SKETCH_PX, _SKETCH_PX)
        small = cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32)

    @property
    def from_chroma(self) -> npt.NDArray[np.float64]:
        """(3, 3): px of `chroma` → working px."""
        height, width = self.chroma.shape[:2]
        return resizing(self.width_px / width, self.height_px / height)

    @lazy
    def ground(self) -> Colour | None:
        """The plain colour that nearly all of the border has; None where it has none."""
        pixels = self.pixels
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        middle = np.median(border, axis=0)
        near = np.abs(border - middle).max(axis=1) <= _GROUND_TOLERANCE
        if float(near.mean()) < _GROUND_SHARE:
            return None
        red, green, blue = (round(float(value)) for value in middle)
        return red, green, blue

    @lazy
    def drawn(self) -> npt.NDArray[np.bool_]:
        """(h, w): what is no part of the plain ground, which reaches in from the border."""
        if self.ground is None:
            return np.ones(self.pixels.shape[:2], np.bool_)
        away = np.abs(self.pixels.astype(np.int16) - np.array(self.ground, np.int16)).max(axis=2)
        plain = (away <= _GROUND_TOLERANCE).astype(np.uint8)
        _, labels = cv2.connectedComponents(plain)
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        return ~np.isin(labels, border[border > 0])

    @lazy
    def telling(self) -> list[int]:
        """Numbers of the moments that are different pictures; 0 is this one, the first."""
        moments = [moment.pixels for moment in (self, *self.later)]
        return most_different(moments, len(moments))

    @lazy
    def features(self) -> LocalFeatures:
        """Those of full matching; none for an image without structure."""
        wanted = of_long_picture(self.wanted, self.width_px, self.height_px)
        return extract_features(self.pixels, wanted)

    @lazy
    def searched_features(self) -> LocalFeatures:
        """Those that the search has compared; none where it has none."""
        if self.keypoints is None:
            return _no_features()
        return features_of(self.keypoints, max(self.width_px, self.height_px))


def prepare(
    image_id: str,
    pixels: Pixels,
    full_size_px: tuple[int, int] | None = None,
    working_px: int = 448,
    wanted: KeypointOptions = MATCHED,
    keypoints: Keypoints | None = None,
    opacity: Opacity | None = None,
) -> PairImage:
    """An image ready for any number of pairs.

    pixels: (h, w, 3) uint8 upright RGB, at full size or already reduced; full_size_px: (width,
    height) of the upright image at full size, where `pixels` are not; where they are, they are kept
    for pairs in doubt. The longer side is scaled down to `working_px`, of long pictures to more
    (see `images.long_side_px`), never up; opacity: of the same pixels. ImageError where there are
    no pixels.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ImageError(f"{image_id}: pixels of shape {pixels.shape} are not an RGB image")
    height, width = pixels.shape[:2]
    full_width, full_height = full_size_px or (width, height)
    scale = long_side_px(full_width, full_height, working_px) / max(height, width)
    whole = pixels
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        if opacity is not None:
            opacity = np.asarray(cv2.resize(opacity, size, interpolation=cv2.INTER_AREA), np.uint8)
    image = PairImage(image_id, pixels, full_width, full_height, wanted, keypoints, opacity=opacity)
    if scale < 1 and full_size_px is None and working_px < LARGEST_PX:
        return replace(image, reopen=lambda: prepare(image_id, whole, None, LARGEST_PX, wanted))
    return image


def prepare_whole(image_id: str, decoded: DecodedImage) -> PairImage:
    """What `PairImage.reopen` gives: the image with as many pixels as are ever compared."""
    size = (decoded.width_px, decoded.height_px)
    image = prepare(image_id, decoded.pixels, size, LARGEST_PX)
    return replace(image, luma_table=decoded.luma_table)


def features_of(keypoints: Keypoints, longest_px: int) -> LocalFeatures:
    """The search's features of an image whose longer side is `longest_px`, as it compares them."""
    quantiser = load_quantiser()
    vectors = reconstruct(keypoints.codes, quantiser)
    zoom = longest_px / max(keypoints.width_px, keypoints.height_px)
    places = np.stack([keypoints.x, keypoints.y], axis=1) + 0.5
    return LocalFeatures(
        xy_px=(places * (longest_px / UNITS_PER_SIDE) - 0.5).astype(np.float32),
        size_px=(np.exp2(keypoints.scale / SCALE_STEPS_PER_OCTAVE) * zoom).astype(np.float32),
        angle_rad=(keypoints.angle * (2 * np.pi / ANGLE_STEPS_PER_TURN)).astype(np.float32),
        descriptors=vectors,
        mirrored=mirror_vectors(vectors, quantiser),
    )


def extract_features(pixels: Pixels, wanted: KeypointOptions) -> LocalFeatures:
    """Features of pixels (h, w, 3), in their px."""
    found = extract(pixels, wanted)
    height, width = pixels.shape[:2]
    zoom = np.array([width / found.width_px, height / found.height_px], np.float32)
    return LocalFeatures(
        xy_px=np.stack([found.x_px, found.y_px], axis=1) * zoom - np.float32(0.5),
        size_px=found.diameter_px * zoom.mean(),
        angle_rad=np.deg2rad(found.angle_deg),
        descriptors=found.descriptors,
        mirrored=np.ascontiguousarray(found.descriptors[:, mirror_order()]),
    )


def _no_features() -> LocalFeatures:
    none = np.zeros(0, np.float32)
    return LocalFeatures(np.zeros((0, 2), np.float32), none, none, none[:, None], none[:, None])


def resizing(across: float, down: float) -> npt.NDArray[np.float64]:
    """The matrix of a resize by these factors; pixel centres are at whole numbers."""
    return np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5], [0, 0, 1]])
