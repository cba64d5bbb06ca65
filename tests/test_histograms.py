"""Gradient histograms: OpenCV's SIFT is the oracle; light, turns and mirrors change nothing."""

import cv2
import numpy as np

from copydetect.description.histograms import gradient_histograms
from copydetect.description.keypoints import mirror_order


def blobs(seed: int = 0) -> np.ndarray:
    """(160, 160) uint8, smooth structure of several sizes."""
    random = np.random.default_rng(seed)
    total = sum(
        sigma * cv2.GaussianBlur(random.normal(0, 1, (160, 160)), (0, 0), sigma)
        for sigma in (1.5, 3, 6)
    )
    return np.clip(128 + 110 * total, 0, 255).astype(np.uint8)


def keypoints(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 4) x, y, diameter and angle of some keypoints, and OpenCV's RootSIFT of them."""
    found, sift = cv2.SIFT.create(nfeatures=80, enable_precise_upscale=True).detectAndCompute(
        grey, None
    )
    points = np.array([(*point.pt, point.size, point.angle) for point in found], np.float32)
    return points, np.sqrt(sift / sift.sum(axis=1, keepdims=True))


def test_they_are_nearly_those_of_opencv():
    grey = blobs()
    points, sift = keypoints(grey)
    ours = gradient_histograms(grey, *points.T)
    same = ours @ sift.T
    assert same.diagonal().mean() > 0.94
    assert (same.argmax(axis=1) == np.arange(len(points))).mean() > 0.95
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


def test_light_and_contrast_do_not_matter():
    grey = blobs()
    points, _ = keypoints(grey)
    darker = (grey // 2 + 40).astype(np.uint8)
    same = gradient_histograms(grey, *points.T) * gradient_histograms(darker, *points.T)
    assert same.sum(axis=1).min() > 0.98


def test_a_turn_turns_the_keypoints_with_it():
    grey = blobs()
    points, _ = keypoints(grey)
    turned = np.ascontiguousarray(np.rot90(grey, -1))
    x, y, diameter, angle = points.T
    there = gradient_histograms(turned, len(grey) - 1 - y, x, diameter, angle + 90)
    assert (gradient_histograms(grey, *points.T) * there).sum(axis=1).min() > 0.97


def test_the_mirror_image_has_the_mirrored_histograms():
    grey = blobs()
    points, _ = keypoints(grey)
    x, y, diameter, angle = points.T
    flipped = np.ascontiguousarray(grey[:, ::-1])
    there = gradient_histograms(flipped, len(grey) - 1 - x, y, diameter, 180 - angle)
    here = gradient_histograms(grey, *points.T)[:, mirror_order()]
    assert (here * there).sum(axis=1).min() > 0.97


def test_a_row_depends_on_its_keypoint_only():
    grey = blobs()
    points, _ = keypoints(grey)
    alone = [gradient_histograms(grey, *points[[row]].T)[0] for row in (0, 7)]
    np.testing.assert_allclose(gradient_histograms(grey, *points.T)[[0, 7]], alone, atol=1e-5)


def test_borders_tiny_pictures_and_no_keypoints():
    corner = np.array([[0, 0, 40, 30], [159, 159, 500, 0]], np.float32)
    assert np.isfinite(gradient_histograms(blobs(), *corner.T)).all()
    flat = gradient_histograms(np.full((3, 2), 9, np.uint8), *corner.T)
    assert (flat.shape, flat.dtype) == ((2, 128), np.float32)
    assert not flat.any()
    assert gradient_histograms(blobs(), *np.zeros((4, 0), np.float32)).shape == (0, 128)
