"""Transforms of the plane, and polygons in it.

Coordinates are OpenCV's: x to the right, y down, the centre of the top left pixel is (0, 0), so an
image of width w reaches from -0.5 to w - 0.5.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
"""A homography: (3, 3) float64, acts on columns (x, y, 1)."""

Polygon = npt.NDArray[np.float64]
"""A convex polygon: (n, 2) float64, corners x, y in order; n = 0 where it is empty."""


def scaling(before: tuple[int, int], after: tuple[int, int]) -> Matrix:
    """The transform of an image that is resized from one (width, height) to another."""
    x, y = after[0] / before[0], after[1] / before[1]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def shift(x: float, y: float) -> Matrix:
    """The transform that moves by x, y px."""
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def inverse(matrix: Matrix) -> Matrix:
    """The transform back, its last number 1; LinAlgError where there is none."""
    found = np.linalg.inv(matrix)
    return np.asarray(found / found[2, 2], np.float64)


def project(transform: Matrix, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Points (n, 2) through a homography."""
    homogeneous = transform[:, :2] @ points.T + transform[:, 2:]
    return np.asarray((homogeneous[:2] / homogeneous[2]).T, np.float64)


def outline(width: int, height: int) -> Polygon:
    """The four corners of an image, clockwise on the screen from the top left."""
    right, bottom = width - 0.5, height - 0.5
    return np.array([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]])


def area(polygon: Polygon) -> float:
    """Area of a polygon in px²."""
    return float(abs(cv2.contourArea(np.asarray(polygon, np.float32)))) if len(polygon) > 2 else 0.0


def intersection(polygon: Polygon, other: Polygon) -> Polygon:
    """What two convex polygons share."""
    if min(len(polygon), len(other)) < 3:
        return np.zeros((0, 2))
    shared_px2, shared = cv2.intersectConvexConvex(
        np.asarray(polygon, np.float32), np.asarray(other, np.float32)
    )
    if shared_px2 <= 0 or shared is None:
        return np.zeros((0, 2))
    return np.asarray(shared, np.float64).reshape(-1, 2)
