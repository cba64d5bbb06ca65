"""Several inputs at once, files that are left out, and braces in names."""

from __future__ import annotations

from pathlib import Path

import pytest

from copydetect.errors import InputError
from copydetect.inputs.finding import find_sources
from copydetect.inputs.patterns import expand_braces
from copydetect.inputs.sources import read_source
from copydetect.storage.files import LocalStorage
from tests.test_inputs import picture

STORAGE = LocalStorage()


def listed_names(photos: Path, *specs: str, exclude: tuple[str, ...] = ()) -> list[str]:
    sources = find_sources(STORAGE, [str(photos / spec) for spec in specs], exclude)
    return sorted(
        ref.image_id for piece in sources.pieces for ref, _ in read_source(STORAGE, piece)
    )


@pytest.fixture
def shelves(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "a/b/2.jpg", "a/b/3.gif", "c/1.jpg", "c/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture(1))
    return tmp_path


def test_several_inputs_keep_the_names_below_their_own_roots(shelves: Path) -> None:
    assert listed_names(shelves, "a", "c") == ["1.jpg", "1.jpg", "4.png", "b/2.jpg", "b/3.gif"]


def test_a_file_that_two_inputs_hold_is_listed_once(shelves: Path) -> None:
    assert listed_names(shelves, "a", "a/b", "a") == ["1.jpg", "b/2.jpg", "b/3.gif"]


def test_images_given_by_name_are_named_from_the_folder_that_holds_them_all(shelves: Path) -> None:
    assert listed_names(shelves, "a/1.jpg", "c/1.jpg") == ["a/1.jpg", "c/1.jpg"]
    assert listed_names(shelves, "a/b/2.jpg") == ["2.jpg"]


def test_an_image_given_by_name_that_is_not_there_is_named(shelves: Path) -> None:
    with pytest.raises(InputError, match=r"nine\.jpg does not exist"):
        listed_names(shelves, "a/1.jpg", "a/nine.jpg")


@pytest.mark.parametrize(
    ("globs", "left"),
    [
        (("*.gif",), ["1.jpg", "b/2.jpg"]),
        (("b/*",), ["1.jpg"]),
        (("2.jpg", "1.*"), ["b/3.gif"]),
    ],
)
def test_excluded_files_are_left_out_and_counted(
    shelves: Path, globs: tuple[str, ...], left: list[str]
) -> None:
    assert listed_names(shelves, "a", exclude=globs) == left
    assert find_sources(STORAGE, str(shelves / "a"), globs).excluded == 3 - len(left)


def test_where_all_is_excluded_the_input_is_refused(shelves: Path) -> None:
    with pytest.raises(InputError, match=r"every file is excluded by \*"):
        listed_names(shelves, "a", exclude=("*",))


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("s-{008..011}.tar", ["s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar"]),
        ("{a,b}/{1..2}", ["a/1", "a/2", "b/1", "b/2"]),
        ("{only}.jpg", ["{only}.jpg"]),
        ("plain", ["plain"]),
    ],
)
def test_braces_stand_for_names(spec: str, names: list[str]) -> None:
    assert expand_braces(spec) == names


def test_a_range_that_goes_down_is_refused() -> None:
    with pytest.raises(InputError, match=r"must go up"):
        expand_braces("s-{9..1}.tar")
