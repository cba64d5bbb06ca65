"""Verifying a part of candidates: planted pairs, images that do not open, places of points."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from copydetect import tables
from copydetect.candidates.pair_numbers import PairNumbers, read_pairs, write_pairs
from copydetect.parts import ImageNumbers
from copydetect.types import Candidate, Failure, ImageRow
from copydetect.verification import match_parts
from copydetect.verification.image_pairs import prepare_decoded
from copydetect.verification.match_parts import PairImages, VerifyOptions, verify_part
from copydetect.verification.matches import verify_pair
from copydetect.verification.pair_images import PairImage
from tests.conftest import BROKEN, STORAGE, Planted

NAMES = ["0.jpg", "5.jpg", "copies/cropped.jpg", BROKEN, "gone.jpg"]
PAIRS = [(2, 0), (2, 1), (2, 3), (4, 3)]
SCORES = [2.0, 1.0, 0.5, 0.25]
POINTS = np.array([[0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, 0.9]], np.float32)


def candidate(row: int, names: list[str] = NAMES) -> Candidate:
    query, reference = PAIRS[row]
    return Candidate(
        names[query], names[reference], 0.5, 0.1, 3.0, 0.2, SCORES[row], "whole", "whole", 1
    )


@pytest.fixture
def part(planted: Planted, tmp_path: Path) -> tuple[ImageNumbers, str, str]:
    """Numbers of five images, of which two cannot be opened; four candidates and their pairs."""
    rows = []
    for name in NAMES:
        file = planted.folder / name
        content = file.read_bytes() if file.exists() else b""
        digest = hashlib.sha256(content).hexdigest()
        place = (name, "image", str(file), "", digest, "JPEG", 320, 240)
        rows.append(ImageRow(*place, len(content), None, None, "ok"))
    images, table, pairs = (str(tmp_path / name) for name in ("images", "candidates", "pairs.npz"))
    tables.write_table(STORAGE, images, tables.rows_to_table(rows, tables.IMAGES))
    candidates = [candidate(row) for row in range(len(PAIRS))]
    tables.write_table(STORAGE, table, tables.rows_to_table(candidates, tables.CANDIDATES))
    query, reference = np.array(PAIRS).T
    starts = np.array([0, 2, 2, 2, 2])
    write_pairs(STORAGE, pairs, PairNumbers(query, reference, starts, POINTS))
    return ImageNumbers(STORAGE, [images], [len(rows)]), table, pairs


def both(numbers: ImageNumbers, options: VerifyOptions) -> tuple[PairImages, PairImages]:
    return PairImages(STORAGE, numbers, options), PairImages(STORAGE, numbers, options)


def test_a_copy_and_a_stranger(part: tuple[ImageNumbers, str, str]) -> None:
    numbers, table, pairs = part
    verified = verify_part(STORAGE, table, pairs, both(numbers, VerifyOptions()), VerifyOptions())
    found = {row["reference_id"]: row for row in verified.matches.to_pylist()}
    assert set(found) == {"0.jpg", "5.jpg"}
    assert found["0.jpg"]["is_copy"]
    assert not found["5.jpg"]["is_copy"]
    # The crop starts at a tenth of width and height, and shows seven tenths.
    transform = np.reshape(found["0.jpg"]["transform"], (3, 3))
    np.testing.assert_allclose(transform[:2, 2], [32, 24], atol=2)
    np.testing.assert_allclose(transform[:2, :2], np.eye(2), atol=0.02)


def test_a_verdict_is_that_of_the_pure_function(part: tuple[ImageNumbers, str, str]) -> None:
    numbers, table, pairs = part
    options = VerifyOptions()
    images = PairImages(STORAGE, numbers, options)
    query, reference = images.open(2), images.open(1)
    assert isinstance(query, PairImage)
    assert isinstance(reference, PairImage)
    no_points = np.empty((0, 4), np.float32)
    expected = verify_pair(query, reference, candidate(1), no_points, options.matching)
    verified = verify_part(STORAGE, table, pairs, both(numbers, options), options)
    row = verified.matches.to_pylist()[1]
    assert (row["reason"], row["inliers"]) == (expected.reason, expected.inliers)


def test_images_that_do_not_open_are_named_once(part: tuple[ImageNumbers, str, str]) -> None:
    numbers, table, pairs = part
    verified = verify_part(STORAGE, table, pairs, both(numbers, VerifyOptions()), VerifyOptions())
    failures = verified.failures.to_pylist()
    assert sorted(row["image_id"] for row in failures) == sorted([BROKEN, "gone.jpg"])
    assert {row["stage"] for row in failures} == {"verify"}


def test_low_scores_are_not_looked_at(part: tuple[ImageNumbers, str, str]) -> None:
    numbers, table, pairs = part
    options = VerifyOptions(min_score=1.5)
    verified = verify_part(STORAGE, table, pairs, both(numbers, options), options)
    assert verified.matches["reference_id"].to_pylist() == ["0.jpg"]
    assert verified.failures.num_rows == 0


def test_a_file_that_changed_is_a_failure(
    planted: Planted, tmp_path: Path, part: tuple[ImageNumbers, str, str]
) -> None:
    row = part[0].row(0)
    changed = ImageRow(**{**vars(row), "sha256": "0" * 64})
    uri = str(tmp_path / "changed")
    tables.write_table(STORAGE, uri, tables.rows_to_table([changed], tables.IMAGES))
    opened = PairImages(STORAGE, ImageNumbers(STORAGE, [uri], [1]), VerifyOptions()).open(0)
    assert isinstance(opened, Failure)
    assert "changed while the run went on" in opened.message


def test_a_twin_is_opened_where_the_first_file_has_gone(
    part: tuple[ImageNumbers, str, str], tmp_path: Path
) -> None:
    numbers = part[0]
    rows = [vars(numbers.row(number)) for number in range(len(NAMES))]
    gone = {**rows[1], "image_id": "lost.jpg", "uri": str(tmp_path / "lost.jpg")}
    twin = {**rows[1], "duplicate_of": "lost.jpg", "status": "duplicate"}
    renamed = [ImageRow(**row) for row in (gone, twin)]
    uri = str(tmp_path / "twins")
    tables.write_table(STORAGE, uri, tables.rows_to_table(renamed, tables.IMAGES))
    images = PairImages(STORAGE, ImageNumbers(STORAGE, [uri], [2]), VerifyOptions())
    opened = images.open(0)
    assert isinstance(opened, PairImage)
    assert opened.image_id == "lost.jpg"
    (failure,) = images.unreadable(0)
    assert (failure.image_id, failure.stage) == ("lost.jpg", "verify")
    assert images.open(0) is opened


def test_few_images_are_kept_open(part: tuple[ImageNumbers, str, str]) -> None:
    images = PairImages(STORAGE, part[0], VerifyOptions(), kept=2)
    first = images.open(0)
    images.open(1)
    assert images.open(0) is first
    images.open(2)
    assert images.open(0) is first
    images.open(1)
    images.open(2)
    assert images.open(0) is not first


def test_correspondences_are_those_of_the_votes(part: tuple[ImageNumbers, str, str]) -> None:
    pairs = read_pairs(STORAGE, part[2])
    np.testing.assert_allclose(pairs.correspondences(0), POINTS, rtol=1e-3)
    assert pairs.correspondences(1).shape == (0, 4)


def test_an_image_in_all_pairs_is_opened_once(
    part: tuple[ImageNumbers, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many others pass through: there is no key that its pairs would be gathered by."""
    rows = [ImageRow(**{**vars(part[0].row(1)), "image_id": f"{n}"}) for n in range(12)]
    uri, table, pairs = (str(tmp_path / name) for name in ("many", "hot", "hot.npz"))
    tables.write_table(STORAGE, uri, tables.rows_to_table(rows, tables.IMAGES))
    no = math.nan
    hot = [Candidate(f"{n}", "0", no, no, no, no, 1.0, "", "", 1) for n in range(1, 12)]
    tables.write_table(STORAGE, table, tables.rows_to_table(hot, tables.CANDIDATES))
    numbers = PairNumbers(
        np.arange(1, 12), np.zeros(11, np.int64), np.zeros(12, np.int64), POINTS[:0]
    )
    write_pairs(STORAGE, pairs, numbers)
    one = PairImages(STORAGE, ImageNumbers(STORAGE, [uri], [len(rows)]), VerifyOptions(), kept=2)
    opened: list[str] = []

    def counted(image_id: str, *rest: Any) -> PairImage:
        opened.append(image_id)
        return prepare_decoded(image_id, *rest)

    monkeypatch.setattr(match_parts, "prepare_decoded", counted)
    verified = verify_part(STORAGE, table, pairs, (one, one), VerifyOptions())
    assert verified.matches.num_rows == 11
    assert opened.count("0") == 1
    assert len(opened) == 12


def test_spare_pairs_are_left(part: tuple[ImageNumbers, str, str], tmp_path: Path) -> None:
    """Rows stay in their order."""
    rows = [ImageRow(**{**vars(part[0].row(1)), "image_id": f"{n}"}) for n in range(6)]
    uri, table, pairs = (str(tmp_path / name) for name in ("many", "some", "some.npz"))
    tables.write_table(STORAGE, uri, tables.rows_to_table(rows, tables.IMAGES))
    no = math.nan
    spare = {("0", "1"), ("0", "4"), ("3", "5")}
    wanted = [("0", n) for n in "12345"] + [("3", "4"), ("3", "5")]
    found = [Candidate(*ids, no, no, no, no, 1.0, "", "", 1, spare=ids in spare) for ids in wanted]
    tables.write_table(STORAGE, table, tables.rows_to_table(found, tables.CANDIDATES))
    ends = np.array(wanted, np.int64).T
    none = PairNumbers(*ends, np.zeros(len(wanted) + 1, np.int64), POINTS[:0])
    write_pairs(STORAGE, pairs, none)
    images, options = ImageNumbers(STORAGE, [uri], [len(rows)]), VerifyOptions()
    matches = verify_part(STORAGE, table, pairs, both(images, options), options).matches
    assert all(matches["is_copy"].to_pylist())
    verified = [(row["query_id"], row["reference_id"]) for row in matches.to_pylist()]
    assert verified == [ids for ids in wanted if ids not in spare]
