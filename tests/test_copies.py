"""Labelled copies: the same for the same seed, with transforms in px of the file."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from copydetect.edits.copies import (
    CopyOptions,
    choose_others,
    copies_of,
    copy_id,
    jpeg,
    load_others,
)
from copydetect.errors import ImageError, InputError, OptionError
from copydetect.homographies import project
from copydetect.images.decoding import decode
from copydetect.storage.files import LocalStorage


def picture(height: int = 120, width: int = 160) -> bytes:
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return jpeg(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def test_the_same_seed_and_id_give_the_same_bytes() -> None:
    options = CopyOptions(copies=4, seed=3)
    first, second = (list(copies_of("a.jpg", picture(), options)) for _ in range(2))
    assert first == second
    assert len({copy.query_id for copy in first}) == len({copy.data for copy in first}) == 4
    assert first[0].data != next(copies_of("b.jpg", picture(), options)).data
    assert first[0].data != next(copies_of("a.jpg", picture(), CopyOptions(seed=4))).data


def test_more_copies_do_not_change_the_first() -> None:
    few, many = (list(copies_of("a.jpg", picture(), CopyOptions(copies=n))) for n in (1, 3))
    assert few == many[:1]


def test_transforms_and_regions_are_in_px_of_the_files() -> None:
    """A picture that was reduced before it was edited: its corners still land on its region."""
    data = picture(600, 800)
    for copy in copies_of("a.jpg", data, CopyOptions(copies=12, mix="mild", max_side_px=100)):
        transform = np.array(copy.transform).reshape(3, 3)
        region = np.array(copy.region).reshape(-1, 2)
        back = project(np.linalg.inv(transform), region)
        assert back.min() > -0.6
        assert (back.max(axis=0) < (799.6, 599.6)).all()
        # It stays a large part of the picture: a transform in px of the reduced one would not.
        assert (np.ptp(back, axis=0) > (300, 200)).all()
        height, width = decode(copy.data).pixels.shape[:2]
        assert region.min() >= -0.51
        assert (region.max(axis=0) <= (width - 0.49, height - 0.49)).all()


@pytest.mark.parametrize(
    ("image_id", "expected"),
    [
        ("a.jpg", "a.jpg.0.jpg"),
        ("beach/ä b.jpg", "beach/%C3%A4 b.jpg.0.jpg"),
        ("../a.jpg", "%2E%2E/a.jpg.0.jpg"),
        ("/etc//x", "%/etc/%/x.0.jpg"),
        ("s.parquet#3", "s.parquet#3.0.jpg"),
        ("gs://b/a.png", "gs%3A/%/b/a.png.0.jpg"),
        ("100%.jpg", "100%25.jpg.0.jpg"),
    ],
)
def test_names_of_copies_stay_below_their_folder(image_id: str, expected: str) -> None:
    assert copy_id(image_id, 0) == expected


def test_others_are_the_same_for_any_order_and_skip_what_is_broken(tmp_path) -> None:
    for number in range(60):
        (tmp_path / f"{number}.jpg").write_bytes(picture(20 + number, 30))
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    storage = LocalStorage()
    refs = choose_others(storage, str(tmp_path))
    assert len(refs) == 48
    straight = load_others(storage, refs)
    assert 47 <= len(straight) <= 48
    assert straight[0].shape == decode((tmp_path / refs[0].image_id).read_bytes()).pixels.shape


def test_what_cannot_be_used_is_an_error(tmp_path) -> None:
    with pytest.raises(ImageError):
        next(copies_of("a.jpg", b"no image", CopyOptions()))
    with pytest.raises(InputError):
        choose_others(LocalStorage(), str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"copies": 0}, "copies"), ({"mix": "wild"}, "wild"), ({"max_side_px": 1}, "max_side")],
)
def test_wrong_options_are_refused(settings, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CopyOptions(**settings)
