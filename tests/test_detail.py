"""Which of two pictures that lie on each other has lost or gained detail; on real photos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from copydetect.homographies import Matrix, inverse
from copydetect.types import Pixels
from copydetect.verification.detail import changed_detail
from copydetect.verification.laid_blocks import laid_blocks
from copydetect.verification.pair_images import prepare

PHOTOS = Path(__file__).parents[1] / "sample_data" / "photos" / "pictures"
SAME = np.eye(3)


@pytest.fixture(scope="module", params=["astronaut.jpg", "chelsea.jpg"])
def photo(request: pytest.FixtureRequest) -> Pixels:
    """(268, 403, 3) sharp: it was reduced."""
    image = Image.open(PHOTOS / request.param).convert("RGB")
    return np.array(ImageOps.fit(image, (403, 268), Image.Resampling.LANCZOS))


def told(original: Pixels, copy: Pixels, matrix: Matrix = SAME) -> float:
    """1 where the copy is told; matrix: px of the original → px of the copy."""
    one, other = (prepare("", pixels, None, 1200) for pixels in (original, copy))
    laid = laid_blocks(inverse(matrix), other, one)
    turned = laid_blocks(matrix, one, other)
    assert laid is not None
    assert turned is not None
    assert changed_detail(*turned) == -changed_detail(*laid)
    return changed_detail(*laid)


@pytest.mark.parametrize(("degrees", "scale"), [(3, 1.0), (0, 0.93), (8, 1.05)])
def test_resampling_softens(photo: Pixels, degrees: float, scale: float) -> None:
    matrix = np.vstack([cv2.getRotationMatrix2D((201, 134), degrees, scale), [0, 0, 1]])
    assert told(photo, cv2.warpPerspective(photo, matrix, (403, 268)), matrix) == 1


@pytest.mark.parametrize("amount", [1.5, 3.0])
def test_sharpening_is_no_blur_of_the_other(photo: Pixels, amount: float) -> None:
    blurred = cv2.GaussianBlur(photo, (0, 0), 1.2)
    sharpened = cv2.addWeighted(photo, 1 + amount, blurred, -amount, 0)
    assert told(photo, np.asarray(sharpened, np.uint8)) == 1


def test_a_blurred_copy_has_little_fine_detail(photo: Pixels) -> None:
    assert told(photo, np.asarray(cv2.GaussianBlur(photo, (0, 0), 1.6), np.uint8)) == 1


def test_noise_was_added(photo: Pixels) -> None:
    noise = np.random.default_rng(1).normal(0, 8, photo.shape)
    assert told(photo, np.clip(photo + noise, 0, 255).astype(np.uint8)) == 1


def test_nothing_is_told_of_what_has_as_much_detail(photo: Pixels) -> None:
    assert told(photo, np.clip(photo * 0.8 + 10, 0, 255).astype(np.uint8)) == 0
    assert (
        told(
            photo,
            np.ascontiguousarray(photo[:, ::-1]),
            np.array([[-1.0, 0, 402], [0, 1, 0], [0, 0, 1]]),
        )
        == 0
    )
