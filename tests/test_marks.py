"""Two fillings of a grid or board have marks of their own each; an edit adds them to one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from copydetect.types import Pixels
from tests.scenes import scene
from tests.test_relations import as_jpeg, verify
from tests.test_residual import residual

_CELL_PX = 44


def puzzle(seed: int, cells: int = 9) -> Pixels:
    """A grid with digits in a third of its cells."""
    rng = np.random.default_rng(seed)
    side = cells * _CELL_PX + 20
    shown = np.full((side, side, 3), 252, np.uint8)
    for line in range(cells + 1):
        at, thick = 10 + line * _CELL_PX, 3 if line % 3 == 0 else 1
        cv2.line(shown, (at, 10), (at, side - 10), (30, 30, 40), thick)
        cv2.line(shown, (10, at), (side - 10, at), (30, 30, 40), thick)
    for row, column in np.argwhere(rng.random((cells, cells)) < 0.35):
        at = (10 + int(column) * _CELL_PX + 11, 10 + int(row) * _CELL_PX + 33)
        digit = str(rng.integers(1, 10))
        cv2.putText(shown, digit, at, cv2.FONT_HERSHEY_SIMPLEX, 0.9, (30, 30, 40), 2, cv2.LINE_AA)
    return shown


def board(seed: int) -> Pixels:
    """A chequered board with letters on a third of its fields."""
    rng = np.random.default_rng(seed)
    shown = np.zeros((8 * _CELL_PX, 8 * _CELL_PX, 3), np.uint8)
    for row in range(8):
        for column in range(8):
            corner = np.array([column, row]) * _CELL_PX
            colour = (238, 216, 182) if (row + column) % 2 else (184, 136, 100)
            cv2.rectangle(shown, corner.tolist(), (corner + _CELL_PX).tolist(), colour, -1)
            if rng.random() < 0.35:
                at = (column * _CELL_PX + 9, row * _CELL_PX + 34)
                piece = "KQRBNP"[rng.integers(6)]
                cv2.putText(shown, piece, at, 0, 1.1, (20, 20, 20), 3, cv2.LINE_AA)
    return shown


def written_over(pixels: Pixels) -> Pixels:
    """The same with two words written over it."""
    edited = pixels.copy()
    for word, at in (("SOLVED", (60, 150)), ("today", (140, 300))):
        cv2.putText(edited, word, at, cv2.FONT_HERSHEY_DUPLEX, 2.0, (220, 30, 30), 5, cv2.LINE_AA)
    return edited


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_fillings_of_a_grid_have_marks_of_their_own(seed: int) -> None:
    query, reference = puzzle(seed), as_jpeg(puzzle(seed + 10), 80)
    assert residual(query, reference)["own_marks"] > 0.01
    found = verify(query, reference)
    assert not found.is_copy
    assert found.relation == "same_layout"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_written_over_a_page_are_marks_of_one(seed: int) -> None:
    page = puzzle(seed)
    query = as_jpeg(written_over(page), 80)
    assert residual(query, page)["own_marks"] < 0.004
    assert verify(query, page).is_copy


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_positions_on_a_board_are_no_copies(seed: int) -> None:
    query, reference = board(seed), board(seed + 10)
    assert residual(query, reference)["patches"] > 10
    found = verify(query, reference)
    assert not found.is_copy
    assert found.relation == "same_layout"
    assert verify(as_jpeg(written_over(query), 80), query).is_copy


def test_photos_have_no_ground_for_marks() -> None:
    found = residual(scene(1, 320, 240), scene(2, 320, 240))
    assert found["own_marks"] == found["shared_marks"] == 0
