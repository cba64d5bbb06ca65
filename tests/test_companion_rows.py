"""What belongs to a picture goes or stays with it: RAW and JPEG, films, sidecars."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from copydetect import tables
from copydetect.exporting import _IMAGE_COLUMNS, _KEPT_COLUMNS
from copydetect.grouping.groups import group_copies
from copydetect.inputs.companion_rows import with_companions
from copydetect.types import GroupMember
from tests.conftest import STORAGE
from tests.group_tables import images_table, kept_by, same_picture


def listed(folder: Path, files: str, dropped: dict[str, str]) -> list[tuple[str, str | None]]:
    """Names of what goes, with what it belongs to; dropped: pictures, and what stays for each."""
    for name in files.split():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    rows = [
        {
            **dict.fromkeys([*_IMAGE_COLUMNS, *_KEPT_COLUMNS]),
            "image_id": name,
            "role": "image",
            "uri": str(folder / name),
            "member": "",
            "kept_uri": str(folder / kept),
        }
        for name, kept in dropped.items()
    ]
    table = with_companions(STORAGE, pa.Table.from_pylist(rows, schema=SCHEMA), {})
    return [(row["image_id"], row["belongs_to"]) for row in table.to_pylist()]


SCHEMA = pa.schema([(name, pa.string()) for name in (*_IMAGE_COLUMNS, *_KEPT_COLUMNS)])


def test_sidecars_go_with_their_picture(tmp_path: Path) -> None:
    files = "a/x.jpg a/x.xmp a/x.jpg.json a/y.xmp b/x.jpg"
    assert listed(tmp_path, files, {"a/x.jpg": "b/x.jpg"}) == [
        ("a/x.jpg", None),
        ("a/x.jpg.json", "a/x.jpg"),
        ("a/x.xmp", "a/x.jpg"),
    ]


def test_a_sidecar_that_another_picture_needs_stays(tmp_path: Path) -> None:
    files = "a/x.jpg a/x.png a/x.xmp b/x.jpg"
    assert listed(tmp_path, files, {"a/x.jpg": "b/x.jpg"}) == [("a/x.jpg", None)]


@pytest.mark.parametrize("other", ["mov", "cr2"])
def test_a_film_or_a_raw_that_nothing_else_has_keeps_its_picture(
    tmp_path: Path, other: str
) -> None:
    files = f"a/x.heic a/x.{other} a/x.xmp b/x.heic"
    assert listed(tmp_path, files, {"a/x.heic": "b/x.heic"}) == []
    assert listed(tmp_path, f"b/x.{other}", {"a/x.heic": "b/x.heic"}) == [
        ("a/x.heic", None),
        (f"a/x.{other}", "a/x.heic"),
        ("a/x.xmp", "a/x.heic"),
    ]


def test_where_the_folder_is_not_there_counts_what_the_run_found(tmp_path: Path) -> None:
    """As where relative paths are read from another folder."""
    rows = [
        {
            **dict.fromkeys(SCHEMA.names),
            "image_id": name,
            "role": "image",
            "uri": f"{tmp_path}/gone/{name}",
            "member": "",
            "kept_uri": f"{tmp_path}/there/kept.jpg",
        }
        for name in ("x.jpg", "y.jpg")
    ]
    found = {
        f"{tmp_path}/gone/x.jpg": [f"{tmp_path}/gone/x.mov"],
        f"{tmp_path}/gone/y.jpg": [f"{tmp_path}/gone/y.xmp"],
    }
    table = with_companions(STORAGE, pa.Table.from_pylist(rows, schema=SCHEMA), found)
    assert table["image_id"].to_pylist() == ["y.jpg", "y.xmp"]


def with_files(ids: str, **found: list[str]) -> pa.Table:
    """Images that the run found files beside: of the image x.jpg those of `x`."""
    rows = images_table(ids.split()).to_pylist()
    for row in rows:
        row["companions"] = found.get(row["image_id"].split(".")[0])
    return pa.Table.from_pylist(rows, schema=tables.IMAGES)


@pytest.mark.parametrize(
    ("films", "going"), [({"b": ["b.mov"]}, set()), ({"a": ["a.mp4"], "b": ["b.mov"]}, {"b.jpg"})]
)
def test_a_picture_with_a_film_is_suggested_only_beside_another(
    films: dict[str, list[str]], going: set[str]
) -> None:
    # The kept image is named: what belongs to a picture decides where rules tell nothing.
    matches = same_picture([("a.jpg", "b.jpg", 0.99)])
    members = group_copies(with_files("a.jpg b.jpg", **films), matches, kept_by("first"))
    assert {member.image_id for member in members if member.suggested} == going
    assert members[1].reason.endswith("; stays: b.mov belongs to it") is not bool(going)


def test_of_files_alike_the_one_with_a_sidecar_is_kept() -> None:
    images = with_files("a.jpg b.jpg", b=["b.xmp"])
    matches = same_picture([("a.jpg", "b.jpg", 0.99)])
    assert group_copies(images, matches)[0].image_id == "b.jpg"
    assert group_copies(images, matches, kept_by("first"))[0].image_id == "a.jpg"


def test_pictures_inside_shards_have_no_companions() -> None:
    row = {**dict.fromkeys(SCHEMA.names), "image_id": "x.jpg", "uri": "a.tar", "member": "512:9"}
    table = with_companions(STORAGE, pa.Table.from_pylist([row], schema=SCHEMA), {})
    assert table["image_id"].to_pylist() == ["x.jpg"]


def of_shots(*pairs: tuple[str, str]) -> dict[str, GroupMember]:
    ids = ["a/x.jpg", "a/x.nef", "b/x.jpg", "b/x.nef", "c.jpg"]
    matches = same_picture([(*pair, 0.99) for pair in pairs])
    members = group_copies(images_table(ids), matches, kept_by("raw,first"))
    return {member.image_id: member for member in members}


def test_raw_and_jpeg_of_a_shot_are_no_spare_copies_of_each_other() -> None:
    found = of_shots(("a/x.jpg", "a/x.nef"), ("a/x.nef", "c.jpg"))
    assert {name for name, member in found.items() if member.suggested} == {"c.jpg"}
    assert found["a/x.jpg"].reason.endswith("; stays: belongs to a/x.nef")
    assert found["a/x.nef"].keep


def test_a_shot_that_is_there_twice_goes_as_one() -> None:
    ids = ("a/x.jpg", "a/x.nef", "b/x.jpg", "b/x.nef")
    found = of_shots(*((a, b) for a in ids for b in ids if a < b))
    assert {name for name, member in found.items() if member.suggested} == {"b/x.jpg", "b/x.nef"}
    found = of_shots(*((a, b) for a in ids[:3] for b in ids[:3] if a < b))
    assert not any(member.suggested for name, member in found.items() if name.startswith("a/"))
