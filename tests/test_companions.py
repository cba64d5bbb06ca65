"""Which files belong together, by their names."""

from __future__ import annotations

import pytest

from copydetect.inputs.companions import companions


def found(*names: str) -> dict[str, set[tuple[str, str]]]:
    return {
        name: {(other.name, other.kind) for other in others}
        for name, others in companions(names).items()
    }


def test_raw_and_jpeg_of_a_shot_are_companions_of_each_other() -> None:
    assert found("DSC_1.NEF", "dsc_1.JPG", "DSC_2.JPG") == {
        "DSC_1.NEF": {("dsc_1.JPG", "picture")},
        "dsc_1.JPG": {("DSC_1.NEF", "raw")},
    }


def test_a_film_belongs_to_the_photo_that_it_was_taken_with() -> None:
    assert found("IMG_1.HEIC", "IMG_1.MOV", "IMG_2.MOV", "drawing.png", "drawing.mov") == {
        "IMG_1.HEIC": {("IMG_1.MOV", "film")}
    }
    assert found("PXL_7.MP.jpg", "PXL_7.MP")["PXL_7.MP.jpg"] == {("PXL_7.MP", "film")}


@pytest.mark.parametrize(
    ("picture", "sidecar"),
    [
        ("a.jpg", "a.xmp"),
        ("a.jpg", "a.jpg.xmp"),
        ("a.CR3", "a.CR3.pp3"),
        ("IMG_0012.HEIC", "IMG_0012.AAE"),
        ("IMG_E0012.HEIC", "IMG_0012.AAE"),
        ("IMG_0012.HEIC", "IMG_O0012.aae"),
        ("a.jpg", "a.jpg.json"),
        ("a.jpg", "a.json"),
        ("a(1).jpg", "a.jpg(1).json"),
        ("a-edited.jpg", "a.jpg.json"),
        ("a.jpg", "a.jpg.supplemental-metadata.json"),
        ("a.jpg", "a.jpg.supplemental-meta.json"),
        ("a(2).jpg", "a.jpg.supplemental-metadata(2).json"),
        (f"{'x' * 50}.jpg", f"{'x' * 46}.json"),
    ],
)
def test_a_sidecar_belongs_to_the_picture_that_it_is_named_after(
    picture: str, sidecar: str
) -> None:
    assert found(f"in/{picture}", f"in/{sidecar}", "in/other.jpg") == {
        f"in/{picture}": {(f"in/{sidecar}", "sidecar")}
    }


def test_files_of_other_folders_and_other_names_are_strangers() -> None:
    assert not found("one/a.jpg", "two/a.xmp", "three/a.cr2", "one/ab.xmp", "one/a.jpg.txt")
    assert not found("a(1).jpg", "a.jpg.json", "b.jpg", "package.json")


def test_the_order_of_names_does_not_matter() -> None:
    names = ["b.jpg", "b.cr2", "b.xmp", "a.heic", "a.mov"]
    assert found(*names) == found(*reversed(names))
    assert [one.name for one in companions(names)["b.jpg"]] == ["b.cr2", "b.xmp"]
