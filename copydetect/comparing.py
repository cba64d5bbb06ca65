"""Single images without a collection: are two of them copies, and what are their descriptors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from copydetect.description import keypoints
from copydetect.description.describing import local_features
from copydetect.description.keypoints import load_quantiser
from copydetect.description.renderings import MOMENTS_DECODED, renderings_of
from copydetect.errors import ImageError
from copydetect.images.decoding import DecodedImage, decode
from copydetect.inputs.image_like import ImageLike, file_bytes, named
from copydetect.models import DEFAULT_MODEL
from copydetect.options import DEFAULT_PRECISION, EVEN_ODDS, RunOptions
from copydetect.types import Candidate, Direction, Doubles, Floats, Match, Relation
from copydetect.verification.calibration import bundled_calibration
from copydetect.verification.image_pairs import prepare_decoded, verify_images
from copydetect.verification.matches import MatchOptions
from copydetect.verification.pair_images import LARGEST_PX, PairImage, prepare_whole
from copydetect.verification.priors import Prior

_BATCH_IMAGES = 32
_DESCRIBED_SIDE_PX = 448


@dataclass(frozen=True)
class Comparison:
    """The verdict on two images, a and b, with its evidence.

    confidence: probability in [0, 1] that they are copies; is_copy: whether it is enough for the
    wanted precision; relation: what they are to each other, see `types.Relation`; direction:
    "query_is_copy" where a was made from b, "reference_is_copy" where b was made from a;
    transform: (3, 3) float64 from the pixels of a to those of b, None where none was found;
    regions: pairs of polygons, (n, 2) float32 corners x, y in px, what a and b share; edits: what
    was probably done; reason: in words.
    """

    is_copy: bool
    confidence: float
    relation: Relation
    direction: Direction
    transform: Doubles | None
    regions: tuple[tuple[Floats, Floats], ...]
    edits: tuple[str, ...]
    reason: str


def compare_images(a: ImageLike, b: ImageLike, precision: float | None = None) -> Comparison:
    """Verify one pair, as a run does in a collection that is too small for normalised scores.

    precision: of the pairs that are called copies, 0.97 where it is None; OptionError where it is
    out of range or out of reach. ImageError where one is no image.
    """
    wanted = RunOptions(precision=precision).precision or DEFAULT_PRECISION
    calibration = bundled_calibration(())
    threshold = calibration.threshold_for(wanted)
    if precision is None:
        threshold = max(EVEN_ODDS, threshold)
    options = MatchOptions(min_confidence=threshold, match_score=-math.inf)
    images = [_opened(image, number, options) for number, image in enumerate((a, b), start=1)]
    believe = partial(Prior(0.0).confidence, calibration=calibration)
    match = verify_images(
        images[0], images[1], Candidate.unscored("1", "2"), None, options, believe
    )
    return _comparison(match)


def describe_images(
    images: ImageLike | Sequence[ImageLike],
    model: str | None = None,
    device: str = "cpu",
    trust_model: bool = False,
) -> tuple[Floats, Floats]:
    """Unit vectors (n, d) float32 and weights (n,) float32, as in the table `descriptors`.

    model: name or path, None for the bundled one; trust_model: whether it may be TorchScript, which
    is a program. ImageError names what cannot be read as an image.
    """
    from copydetect.description.descriptors import load_model
    from copydetect.description.normalization import normalize_vectors

    listed: list[ImageLike] = list(images) if isinstance(images, (list, tuple)) else [images]  # type: ignore[list-item]
    embedder = load_model(model or DEFAULT_MODEL, device, trust_model=trust_model)
    vectors = [np.empty((0, embedder.dimension), np.float32)]
    for start in range(0, len(listed), _BATCH_IMAGES):
        batch = listed[start : start + _BATCH_IMAGES]
        pixels = [
            renderings_of(_decoded(image, number, _DESCRIBED_SIDE_PX)[0])[0].pixels
            for number, image in enumerate(batch, start=start + 1)
        ]
        vectors.append(embedder.embed(pixels))
    return normalize_vectors(np.concatenate(vectors), embedder.background())


def _opened(image: ImageLike, number: int, options: MatchOptions) -> PairImage:
    decoded, data = _decoded(image, number, options.working_px * 2)
    found = local_features(renderings_of(decoded), (), keypoints.STANDARD)
    stored = keypoints.quantise(found, load_quantiser(), str(number), keypoints.STANDARD)
    opened = prepare_decoded(str(number), decoded, options, stored)
    return replace(opened, reopen=lambda: prepare_whole(str(number), decode(data, LARGEST_PX)))


def _decoded(image: ImageLike, number: int, side_px: int) -> tuple[DecodedImage, bytes]:
    """An image whose longer side has so many px, and the bytes of its file."""
    try:
        data = file_bytes(image)
        return decode(data, side_px, in_pieces=True, moments=MOMENTS_DECODED), data
    except ImageError as error:
        raise ImageError(f"{named(image, number)}: {error}") from error


def _comparison(match: Match) -> Comparison:
    corners = [
        tuple(np.array(polygon, np.float32).reshape(-1, 2) for polygon in polygons)
        for polygons in (match.query_region, match.reference_region)
    ]
    transform = np.array(match.transform).reshape(3, 3) if match.transform else None
    return Comparison(
        is_copy=match.is_copy,
        confidence=match.confidence,
        relation=match.relation,
        direction=match.direction,
        transform=transform,
        regions=tuple(zip(*corners, strict=True)),
        edits=tuple(match.edits),
        reason=match.reason,
    )
