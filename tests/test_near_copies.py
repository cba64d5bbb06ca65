"""Which pairs of a collection have no true label: the same picture twice, and nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from copydetect.training.look_alikes import KINDS
from copydetect.training.near_copies import are_near_copies, are_suspicious
from copydetect.types import Pixels
from copydetect.verification.evidence import NAMES
from copydetect.verification.matches import MatchOptions, collect_evidence, prepare_image
from tests.scenes import scene


def evidence(first: Pixels, second: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    images = [prepare_image("", pixels) for pixels in (first, second)]
    found = collect_evidence(images[0], images[1], None, MatchOptions(), None)
    return np.array([one.values for one in found], np.float32).reshape(-1, len(NAMES))


def test_one_picture_in_two_qualities() -> None:
    picture = scene(1, 360, 280)
    _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 70])
    smaller = cv2.resize(cv2.imdecode(coded, cv2.IMREAD_COLOR), (300, 233))
    found = evidence(picture, np.asarray(smaller, np.uint8))
    assert are_suspicious(found)
    assert are_near_copies(found)
    crop = np.ascontiguousarray(picture[20:220, 40:300])
    assert are_near_copies(evidence(crop, picture))


def test_another_scene() -> None:
    assert not are_near_copies(evidence(scene(1, 360, 280), scene(2, 360, 280)))
    assert not are_suspicious(np.zeros((0, len(NAMES)), np.float32))


@pytest.mark.parametrize(
    "kind", ["pages", "receipts", "cards", "shelf", "shelf_twice", "second_view"]
)
def test_look_alikes_are_no_near_copies(kind: str) -> None:
    pictures = [scene(seed, 300, 240) for seed in range(10, 17)]
    assert not are_near_copies(evidence(*KINDS[kind](np.random.default_rng(4), pictures)))
