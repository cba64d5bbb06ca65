"""Local features of a thumbnail: extract, cap, mirror, quantise.

SIFT keypoints (Lowe 2004) of a thumbnail, a few hundred per image, their RootSIFT (Arandjelović and
Zisserman 2012) coded in 16 bytes each by a bundled product quantiser, so that codes mean the same
in every collection. Codes alone are enough to search with: `reconstruct` gives the vectors that an
index is built and asked with.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_tensors
from scipy.spatial import KDTree

from copydetect.description.histograms import DIMENSION, gradient_histograms
from copydetect.errors import ImageError, ModelError, OptionError
from copydetect.images.decoding import pieces_of
from copydetect.models import MODELS
from copydetect.sorted_rows import place_in_run
from copydetect.types import Floats, Ints, Keypoints, Pixels

BUNDLED_QUANTISER = MODELS / "keypoints-pq16.safetensors"
UNITS_PER_SIDE = 256
"""x and y count in 1/256 of the thumbnail's longer side: a unit is as long in x as in y."""
CODEBOOK_STEP = 2.0**-11
"""Centroids are multiples of it: so coarse that products of codes sum up exactly in float32."""
SCALE_STEPS_PER_OCTAVE = 16
ANGLE_STEPS_PER_TURN = 256
_LONGEST_THUMBNAIL_PX = 2048
_SHARE_OF_PIECE = 0.8
_SAME_PLACE_PX, _SAME_LOOK = 2.0, 0.9
_SPREAD_CELLS = 8
_DETECTED_PER_KEPT = 3
_LAYERS_PER_OCTAVE = 2
_SIGMA_PX = 1.3
"""Lowe's 3 layers and 1.6 px find no more copies, and take a third longer."""

# What a feature is worth, in logarithms: fitted to which features are found again in edited copies
# of pictures, nearer than those of strangers.
_DIAMETER_WORTH = 2.5
_BORDER_COST = 1.0
_OVERLAP_COST = 0.5
_CROWDING_COST = 0.7


@dataclass(frozen=True)
class KeypointOptions:
    """What is extracted from an image.

    thumbnail_px: the thumbnail's longer side, 16 to 2048; max_keypoints: the strongest that are
    kept; contrast_threshold: SIFT's; lower finds features in flat and blurred pictures.
    """

    thumbnail_px: int = 224
    max_keypoints: int = 200
    contrast_threshold: float = 0.01

    def __post_init__(self) -> None:
        if not 16 <= self.thumbnail_px <= _LONGEST_THUMBNAIL_PX:
            raise OptionError(
                f"thumbnail_px is {self.thumbnail_px}, must be 16 to {_LONGEST_THUMBNAIL_PX}"
            )
        if not 1 <= self.max_keypoints <= 4096:
            raise OptionError(f"max_keypoints is {self.max_keypoints}, must be 1 to 4096")
        if not 0 <= self.contrast_threshold < 1:
            raise OptionError(f"contrast_threshold is {self.contrast_threshold}, must be 0 to 1")

    def __str__(self) -> str:
        detector = f"sift{_LAYERS_PER_OCTAVE}s{_SIGMA_PX}grid"
        return f"{detector}{self.thumbnail_px}px{self.max_keypoints}c{self.contrast_threshold:g}"


# On one core, they take about 3.4, 5.7 and 9.3 ms per image, and on average 3.1, 4.0 and 6.9 KB.
FAST = KeypointOptions(thumbnail_px=160, max_keypoints=170)
STANDARD = KeypointOptions(thumbnail_px=224, max_keypoints=200)
THOROUGH = KeypointOptions(thumbnail_px=288, max_keypoints=400)
MATCHED = KeypointOptions(thumbnail_px=256, max_keypoints=300)
"""What verification compares where those that were searched leave a doubt."""
FEW_FEATURES = 100
"""Pictures with fewer at `STANDARD` have little content: icons, signs, a word on a plain ground."""


@dataclass(frozen=True)
class Features:
    """Features before quantisation, strongest first.

    width_px, height_px: of the thumbnail; x_px, y_px, diameter_px, angle_deg: (n,) float32, with
    (0, 0) at the outer corner of the first pixel; descriptors: (n, 128) float32 RootSIFT, unit
    rows.
    """

    width_px: int
    height_px: int
    x_px: Floats
    y_px: Floats
    diameter_px: Floats
    angle_deg: Floats
    descriptors: Floats


_PER_FEATURE = ("x_px", "y_px", "diameter_px", "angle_deg", "descriptors")


@dataclass(frozen=True, eq=False)
class Quantiser:
    """Rotation to fewer dimensions and a product quantiser there (Jégou et al. 2011).

    mean: (128,); rotation: (d, 128), orthonormal rows, each even or odd under mirroring of SIFT;
    mirror_signs: (d,) +1 for even rows, −1 for odd ones, so that mirroring is a change of signs;
    centroids: (m, 256, d / m), what an index needs as its codebook, on a grid of `CODEBOOK_STEP`;
    all float32.
    identity: names the codes' meaning; codes of different identities don't compare.
    """

    mean: Floats
    rotation: Floats
    mirror_signs: Floats
    centroids: Floats
    identity: str

    @property
    def dimension(self) -> int:
        """Dimension d of the rotated space."""
        return int(self.rotation.shape[0])

    @property
    def code_bytes(self) -> int:
        """Bytes m of one feature's code."""
        return int(self.centroids.shape[0])


@lru_cache(maxsize=4)
def load_quantiser(path: Path = BUNDLED_QUANTISER) -> Quantiser:
    """Read a quantiser from a safetensors file; ModelError where it is none."""
    try:
        data = path.read_bytes()
        tensors: dict[str, Floats] = load_tensors(data)
    except Exception as error:  # safetensors raises its own error type, and the OS its own
        raise ModelError(f"cannot read the keypoint quantiser {path}: {error}") from error
    names = ("mean", "rotation", "mirror_signs", "centroids")
    missing = [name for name in names if name not in tensors]
    if missing:
        raise ModelError(f"{path} is not a keypoint quantiser: it lacks {', '.join(missing)}")
    mean, rotation, signs, centroids = (tensors[name] for name in names)
    dimension = rotation.shape[0]
    fits = (
        mean.shape == (DIMENSION,)
        and rotation.shape == (dimension, DIMENSION)
        and signs.shape == (dimension,)
        and centroids.ndim == 3
        and centroids.shape[1] == 256
        and centroids.shape[0] * centroids.shape[2] == dimension
    )
    if not fits:
        raise ModelError(f"{path} is not a keypoint quantiser: its tensors don't fit each other")
    identity = f"{path.stem}-{hashlib.sha256(data).hexdigest()[:8]}"
    return Quantiser(mean, rotation, signs, centroids, identity)


def model_identity(options: KeypointOptions, quantiser: Quantiser) -> str:
    """What `Keypoints.model` says: two tables with the same identity compare."""
    return f"{options}/{quantiser.identity}"


def extract(pixels: Pixels, options: KeypointOptions = STANDARD) -> Features:
    """RootSIFT features of an image's thumbnail.

    pixels: (h, w, 3) uint8 RGB, of any size; the longer side is scaled to `thumbnail_px`.
    An image without structure has no features, which is no error. ImageError: it has no pixels.
    """
    grey = _thumbnail(pixels, options.thumbnail_px)
    height, width = grey.shape
    points = np.array(
        [(p.pt[0], p.pt[1], p.size, p.angle, p.response) for p in _sift(options).detect(grey)],
        np.float32,
    ).reshape(-1, 5)
    points = points[_worthiest(points, width, height)[: options.max_keypoints]]
    x, y, diameter, angle, _ = points.T
    return Features(
        width_px=width,
        height_px=height,
        x_px=x + np.float32(0.5),
        y_px=y + np.float32(0.5),
        diameter_px=diameter,
        angle_deg=angle,
        descriptors=gradient_histograms(grey, x, y, diameter, angle),
    )


def of_long_picture(options: KeypointOptions, width_px: int, height_px: int) -> KeypointOptions:
    """The options for a picture of this shape: each piece of a strip gets as many as other pictures
    have, or nearly, for every further feature makes those that agree count less."""
    pieces = max(1.0, _SHARE_OF_PIECE * pieces_of(width_px, height_px))
    return replace(
        options,
        thumbnail_px=min(round(options.thumbnail_px * pieces), _LONGEST_THUMBNAIL_PX),
        max_keypoints=round(options.max_keypoints * pieces),
    )


def joined(one: Features, other: Features) -> Features:
    """The features of both, of one thumbnail."""
    both: dict[str, Any] = {
        name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in _PER_FEATURE
    }
    return replace(one, **both)


def new_among(found: Features, known: Features) -> Features:
    """Those of `found` that are not in `known` too: at one place, of one look. One thumbnail."""
    if not len(known.x_px) or not len(found.x_px):
        return found
    tree = KDTree(np.stack([known.x_px, known.y_px], axis=1))
    distances, nearest = tree.query(np.stack([found.x_px, found.y_px], axis=1))
    alike = np.einsum("nd,nd->n", found.descriptors, known.descriptors[nearest])
    new = (distances > _SAME_PLACE_PX) | (alike < _SAME_LOOK)
    return replace(found, **{name: getattr(found, name)[new] for name in _PER_FEATURE})


def quantise(
    features: Features, quantiser: Quantiser, image_id: str, options: KeypointOptions = STANDARD
) -> Keypoints:
    """Features in a few bytes each, as the keypoints table holds them."""
    units_per_px = UNITS_PER_SIDE / max(features.width_px, features.height_px)
    scale = SCALE_STEPS_PER_OCTAVE * np.log2(np.maximum(features.diameter_px, 1))
    angle = np.rint(features.angle_deg * (ANGLE_STEPS_PER_TURN / 360))
    return Keypoints(
        image_id=image_id,
        width_px=features.width_px,
        height_px=features.height_px,
        x=_to_uint8(np.floor(features.x_px * units_per_px)),
        y=_to_uint8(np.floor(features.y_px * units_per_px)),
        scale=_to_uint8(np.rint(scale)),
        angle=np.mod(angle, ANGLE_STEPS_PER_TURN).astype(np.uint8),
        codes=encode(features.descriptors, quantiser),
        model=model_identity(options, quantiser),
    )


def encode(descriptors: Floats, quantiser: Quantiser) -> npt.NDArray[np.uint8]:
    """(n, 128) RootSIFT → (n, m) uint8 codes: in each subspace, the nearest centroid's number."""
    rotated = (descriptors - quantiser.mean) @ quantiser.rotation.T
    codes = _faiss_quantiser(quantiser).compute_codes(np.ascontiguousarray(rotated, np.float32))
    return np.asarray(codes, np.uint8).reshape(len(descriptors), quantiser.code_bytes)


def reconstruct(codes: npt.NDArray[np.uint8], quantiser: Quantiser) -> Floats:
    """(n, m) uint8 codes → (n, d) float32, in the rotated space that indexes work in."""
    subspaces = np.arange(quantiser.code_bytes)
    return quantiser.centroids[subspaces, codes].reshape(len(codes), quantiser.dimension)


def mirror_vectors(vectors: Floats, quantiser: Quantiser) -> Floats:
    """(n, d) vectors of the rotated space → those of the mirrored image."""
    return vectors * quantiser.mirror_signs


def mirror_geometry(
    keypoints: Keypoints,
) -> tuple[
    npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]
]:
    """x, y, scale and angle, (n,) uint8 each, of the features in the left-right mirrored image."""
    longer = max(keypoints.width_px, keypoints.height_px)
    width = round(keypoints.width_px * UNITS_PER_SIDE / longer)
    x = np.clip(width - 1 - keypoints.x.astype(np.int16), 0, 255).astype(np.uint8)
    angle = (ANGLE_STEPS_PER_TURN // 2 - keypoints.angle.astype(np.int16)) % ANGLE_STEPS_PER_TURN
    return x, keypoints.y, keypoints.scale, angle.astype(np.uint8)


def mirror_order() -> Ints:
    """(128,) order p such that `sift[:, p]` describes the mirrored patch.

    OpenCV lays a SIFT descriptor out as 4 rows × 4 columns × 8 directions, relative to the
    keypoint's own direction: mirroring turns the rows round and negates the directions.
    """
    order = np.arange(DIMENSION).reshape(4, 4, 8)
    return order[::-1][:, :, -np.arange(8) % 8].reshape(-1)


def _thumbnail(pixels: Pixels, longer_px: int) -> npt.NDArray[np.uint8]:
    """(h, w) uint8 grey, with `longer_px` as its longer side."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ImageError(f"an image of shape {pixels.shape} has no pixels to take features from")
    height, width = pixels.shape[:2]
    factor = longer_px / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    small = cv2.resize(pixels, size, interpolation=method)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)


def _worthiest(points: Floats, width: int, height: int) -> npt.NDArray[np.intp]:
    """(n,) order of (n, 5) x, y, diameter, angle, response: which to keep first.

    Larger features outlive blur and scaling; one near the border is cropped or drawn over sooner;
    one among many, as in text, looks like others. And each further one in a cell of the picture is
    worth less, so that one busy corner doesn't take all. Ties are broken by position.
    """
    x, y, diameter, angle, response = points.T
    across, down = (x + 0.5) / width, (y + 0.5) / height
    from_middle = 2 * np.maximum(np.abs(across - 0.5), np.abs(down - 0.5))
    places = np.stack([x, y], axis=1)
    overlapping = KDTree(places).query_ball_point(places, 2 * diameter, return_length=True) - 1
    strength = (
        np.log(np.maximum(response, 1e-9))
        + _DIAMETER_WORTH * np.log(diameter)
        - _BORDER_COST * np.maximum(2 * from_middle - 1, 0)
        - _OVERLAP_COST * np.log1p(overlapping)
    )
    column, row = (
        np.clip(place * _SPREAD_CELLS, 0, _SPREAD_CELLS - 1).astype(np.intp)
        for place in (across, down)
    )
    cell = row * _SPREAD_CELLS + column
    by_cell = np.lexsort((angle, diameter, x, y, -strength, cell))
    before = np.empty(len(points), np.intp)
    before[by_cell] = place_in_run(cell[by_cell])
    worth = strength - _CROWDING_COST * np.log1p(before)
    return np.lexsort((angle, diameter, x, y, -worth))


@lru_cache(maxsize=8)
def _sift(options: KeypointOptions) -> Any:
    """The detector; precise upscaling keeps mirrored images' features mirrored, without a shift."""
    create: Any = cv2.SIFT.create
    return create(
        nfeatures=_DETECTED_PER_KEPT * options.max_keypoints,
        contrastThreshold=options.contrast_threshold,
        enable_precise_upscale=True,
        nOctaveLayers=_LAYERS_PER_OCTAVE,
        sigma=_SIGMA_PX,
    )


@lru_cache(maxsize=4)
def _faiss_quantiser(quantiser: Quantiser) -> Any:
    subspaces, _, _ = quantiser.centroids.shape
    product = faiss.ProductQuantizer(quantiser.dimension, subspaces, 8)
    faiss.copy_array_to_vector(quantiser.centroids.ravel(), product.centroids)
    return product


def _to_uint8(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.asarray(np.clip(values, 0, 255), np.uint8)
