"""What grouping has to do with: the same groups as of all images and matches, out of far fewer."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from copydetect.grouping.groups import group_copies, pairs_to_compare
from copydetect.grouping.involved import NUMBER, involved
from tests.group_tables import images_table, matches_table, same_picture


def parts_of(images: pa.Table, size: int) -> list[pa.Table]:
    return [images[start : start + size] for start in range(0, len(images), size)]


@pytest.mark.parametrize("seed", range(6))
def test_groups_are_those_of_all_images(seed: int) -> None:
    rng = random.Random(seed)
    ids = [f"{n:02}.jpg" for n in range(24)] + [f"{n:02}.nef" for n in range(0, 24, 5)]
    twins = {ids[n + 1]: ids[n] for n in range(0, 24, 4) if rng.random() < 0.5}
    contents = [name for name in ids if name not in twins]
    pairs = [(*rng.sample(contents, 2), rng.choice([0.2, 0.4, 0.9, 0.99])) for _ in range(16)]
    images, matches = images_table(ids, twins), same_picture(pairs)
    some, between = involved(lambda: parts_of(images, 4), lambda _: parts_of(matches, 3))
    assert 0 < len(some) < len(images)
    assert group_copies(some, between) == group_copies(images, matches)
    assert pairs_to_compare(some, between) == pairs_to_compare(images, matches)
    for number, image_id in zip(
        some[NUMBER].to_pylist(), some["image_id"].to_pylist(), strict=True
    ):
        assert ids[number] == image_id


def test_strangers_are_not_held() -> None:
    images = images_table([f"{n}.jpg" for n in range(1000)])
    matches = matches_table([(f"{n}.jpg", f"{n + 1}.jpg", 0.1) for n in range(999)])
    some, between = involved(lambda: parts_of(images, 64), lambda _: parts_of(matches, 3))
    assert (len(some), len(between)) == (0, 0)


def test_the_raw_of_a_shot_comes_along_whatever_part_it_is_in() -> None:
    images = images_table(["A/x.NEF", "b/x.jpg", "c.jpg", "a/y.jpg", "A/x.jpg"])
    matches = same_picture([("A/x.jpg", "b/x.jpg", 0.99)])
    some, _ = involved(lambda: parts_of(images, 1), lambda _: [matches])
    assert sorted(some["image_id"].to_pylist()) == ["A/x.NEF", "A/x.jpg", "b/x.jpg"]
    members = group_copies(some, matches)
    assert [member.reason for member in members if member.image_id == "A/x.jpg"] != []
