from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydetect.errors import InputError
from copydetect.inputs.repeated_ids import FoundImage, distinct_ids

NAMES = st.sampled_from(["a.jpg", "b.jpg", "x/a.jpg", "y/x/a.jpg"])
FOLDERS = st.sampled_from(["/x", "/y", "/y/x", "gs://bucket/x", "."])


def ids(*images: tuple[str, str]) -> list[str]:
    found = [FoundImage(name, origin, f"{at}:9") for at, (name, origin) in enumerate(images)]
    return distinct_ids(found)


def test_ids_that_do_not_repeat_stay() -> None:
    assert ids(("a.jpg", "/x"), ("b.jpg", "/y")) == ["a.jpg", "b.jpg"]


def test_equal_ids_get_the_name_of_their_shard_in_front() -> None:
    found = ids(("0.jpg", "d/s-000.tar"), ("0.jpg", "d/s-001.tar"), ("1.jpg", "d/s-001.tar"))
    assert found == ["s-000/0.jpg", "s-001/0.jpg", "1.jpg"]


def test_folders_of_one_name_are_told_apart_by_those_above() -> None:
    assert ids(("a.jpg", "/x/p"), ("a.jpg", "/y/p")) == ["x/p/a.jpg", "y/p/a.jpg"]


def test_a_name_that_another_image_has_gets_a_number() -> None:
    found = ids(("a.jpg", "/q/x"), ("a.jpg", "/q/y"), ("x/a.jpg", "/q"))
    assert found == ["x/a.jpg#2", "y/a.jpg", "x/a.jpg"]


def test_members_of_one_tar_that_share_a_name_are_numbered_in_their_order() -> None:
    images = [FoundImage("a.jpg", "s.tar", place) for place in ("1024:9", "512:9", "99999:9")]
    assert distinct_ids(images) == ["s/a.jpg#2", "s/a.jpg", "s/a.jpg#3"]


def test_a_manifest_that_gives_an_id_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r"list\.csv has the image_id 'a' twice"):
        distinct_ids([FoundImage("a", "list.csv", "1.jpg"), FoundImage("a", "list.csv", "2.jpg")])


@given(st.sets(st.tuples(NAMES, FOLDERS)))
def test_no_two_are_equal_whatever_the_order(images: set[tuple[str, str]]) -> None:
    ordered = sorted(images)
    found = ids(*ordered)
    assert len(set(found)) == len(images)
    assert ids(*reversed(ordered)) == found[::-1]
