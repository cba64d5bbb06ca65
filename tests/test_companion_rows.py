"""What belongs to a picture goes or stays with it: RAW and JPEG, films, sidecars."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

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
    table = with_companions(STORAGE, pa.Table.from_pylist(rows, schema=SCHEMA))
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


def test_pictures_inside_shards_have_no_companions() -> None:
    row = {**dict.fromkeys(SCHEMA.names), "image_id": "x.jpg", "uri": "a.tar", "member": "512:9"}
    table = with_companions(STORAGE, pa.Table.from_pylist([row], schema=SCHEMA))
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
