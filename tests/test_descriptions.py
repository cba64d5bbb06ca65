"""Describing a part: order, folding, failures, and that nothing depends on batches."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from copydetect import tables
from copydetect.description import describing as descriptions
from copydetect.description.describing import Describer, DescriberOptions, PartTables, describe_part
from copydetect.description.descriptors import load_model
from copydetect.description.keypoints import extract, load_quantiser, quantise
from copydetect.description.renderings import Rendering
from copydetect.description.views import VIEW_NAMES, ViewOptions, views_of
from copydetect.grouping.groups import group_copies
from copydetect.images.decoding import decode
from copydetect.inputs.finding import find_sources
from copydetect.inputs.listing import ListedImage, list_images
from copydetect.inputs.sources import read_source
from copydetect.types import Failure, ImageRef
from tests.conftest import BROKEN, EMPTY, STORAGE, TWIN, Planted
from tests.scenes import scene

VIEWS = ViewOptions(("whole", "crops"))


@pytest.fixture(scope="module")
def describer() -> Describer:
    """Both channels, and crops."""
    embedder = load_model()
    options = DescriberOptions(views=VIEWS)
    return Describer(options, embedder, embedder.background(), load_quantiser())


@pytest.fixture(scope="module")
def listed(planted: Planted) -> list[ListedImage]:
    (piece,) = find_sources(STORAGE, str(planted.folder)).pieces
    return list(list_images(read_source(STORAGE, piece, "image")))


@pytest.fixture(scope="module")
def described(listed: list[ListedImage], describer: Describer) -> PartTables:
    return describe_part(STORAGE, listed, describer)


def local_only(describer: Describer) -> Describer:
    return Describer(describer.options, None, np.empty((0, 0), np.float32), describer.quantiser)


def test_images_are_ordered_by_content_then_id(described: PartTables) -> None:
    rows = described.images.to_pylist()
    assert rows == sorted(rows, key=lambda row: (row["sha256"], row["image_id"]))
    assert described.images.schema.equals(tables.IMAGES)


def test_sizes_and_formats_are_those_of_the_files(described: PartTables, planted: Planted) -> None:
    rows = {row["image_id"]: row for row in described.images.to_pylist()}
    assert (rows["0.jpg"]["width"], rows["0.jpg"]["height"]) == (320, 240)
    turned = rows["copies/turned.png"]
    assert (turned["width"], turned["height"], turned["format"]) == (240, 320, "PNG")
    for name in ("0.jpg", BROKEN, EMPTY):
        assert rows[name]["bytes"] == (planted.folder / name).stat().st_size
    assert rows[EMPTY]["width"] is None


def test_every_image_has_each_view_once_and_twins_share_theirs(described: PartTables) -> None:
    assert described.descriptors is not None
    images = {row["image_id"]: row["status"] for row in described.images.to_pylist()}
    expected = [
        (name, view)
        for name, status in images.items()
        if status == "ok"
        for view in VIEW_NAMES
        if view == "whole" or view.startswith("crop-")
    ]
    columns = (described.descriptors[name].to_pylist() for name in ("image_id", "view"))
    assert list(zip(*columns, strict=True)) == expected
    assert images[TWIN] == "duplicate"
    assert described.keypoints["image_id"].to_pylist() == expected_ids(expected)


def expected_ids(pairs: list[tuple[str, str]]) -> list[str]:
    return [name for name, view in pairs if view == "whole"]


def test_keypoints_are_those_of_the_pure_functions(
    described: PartTables, planted: Planted, describer: Describer
) -> None:
    (row,) = (r for r in described.keypoints.to_pylist() if r["image_id"] == "2.jpg")
    pixels = decode((planted.folder / "2.jpg").read_bytes(), 448).pixels
    options = describer.options.keypoints
    expected = quantise(extract(pixels, options), load_quantiser(), "2.jpg", options)
    assert row["x"] == expected.x.tolist()
    assert row["codes"] == expected.codes.tobytes()


def test_batches_and_order_make_no_difference(
    described: PartTables,
    listed: list[ListedImage],
    describer: Describer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(descriptions, "_BATCH_IMAGES", 3)
    shuffled = random.Random(2).sample(listed, len(listed))
    again = describe_part(STORAGE, shuffled, describer)
    for name in ("images", "descriptors", "keypoints"):
        assert getattr(again, name).equals(getattr(described, name)), name


def test_a_channel_that_is_off_makes_nothing(
    listed: list[ListedImage], describer: Describer
) -> None:
    ok = [image for image in listed if image.image_id in ("0.jpg", BROKEN)]
    alone = describe_part(STORAGE, ok, local_only(describer))
    assert alone.descriptors is None
    assert alone.keypoints.num_rows == 1
    assert alone.failures["image_id"].to_pylist() == [BROKEN]


def test_an_empty_part_has_tables_without_rows(describer: Describer) -> None:
    empty = describe_part(STORAGE, [], describer)
    assert empty.images.schema.equals(tables.IMAGES)
    assert empty.descriptors is not None
    assert [len(table) for table in vars(empty).values()] == [0, 0, 0, 0]
    assert empty.descriptors.schema.equals(tables.descriptors(describer.embedder.dimension))


def test_files_that_change_vanish_or_could_not_be_listed(
    tmp_path: Path, planted: Planted, describer: Describer
) -> None:
    content = (planted.folder / "0.jpg").read_bytes()
    refs = [ImageRef(name, str(tmp_path / name)) for name in ("changed.jpg", "gone.jpg", "no.jpg")]
    reason = Failure("no.jpg", refs[2].uri, "list", "PermissionError", "no access")
    listed = list(
        list_images([(refs[0], content + b"1"), (refs[1], content + b"2"), (refs[2], reason)])
    )
    (tmp_path / "changed.jpg").write_bytes(content)
    described = describe_part(STORAGE, listed, local_only(describer))
    failures = {row["image_id"]: row for row in described.failures.to_pylist()}
    assert [failures[ref.image_id]["retryable"] for ref in refs] == [True, False, False]
    assert "changed while the run went on" in failures["changed.jpg"]["message"]
    assert failures["gone.jpg"]["stage"] == "read"
    assert (failures["no.jpg"]["stage"], failures["no.jpg"]["message"]) == ("list", "no access")
    assert described.images["status"].to_pylist() == ["failed"] * 3
    (row,) = (r for r in described.images.to_pylist() if r["image_id"] == "no.jpg")
    assert (row["sha256"], row["bytes"]) == (None, None)


def test_each_of_several_broken_files_is_a_failure_and_none_a_copy(
    tmp_path: Path, describer: Describer
) -> None:
    for number in range(5):
        (tmp_path / f"empty{number}.jpg").write_bytes(b"")
        (tmp_path / f"text{number}.png").write_bytes(b"no picture")
    (piece,) = find_sources(STORAGE, str(tmp_path)).pieces
    listed = list_images(read_source(STORAGE, piece, "image"))
    described = describe_part(STORAGE, listed, local_only(describer))
    assert described.failures.num_rows == 10
    assert described.failures["retryable"].to_pylist() == [False] * 10
    assert described.images["status"].to_pylist() == ["failed"] * 10
    assert described.images["duplicate_of"].null_count == 10
    assert not group_copies(described.images, tables.MATCHES.empty_table())


def test_the_twin_of_a_file_that_vanished_stands_for_it(
    tmp_path: Path, planted: Planted, describer: Describer
) -> None:
    content = (planted.folder / "0.jpg").read_bytes()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(content)
    (piece,) = find_sources(STORAGE, str(tmp_path)).pieces
    listed = list(list_images(read_source(STORAGE, piece, "image")))
    (tmp_path / "a.jpg").unlink()
    described = describe_part(STORAGE, listed, local_only(describer))
    assert described.failures["image_id"].to_pylist() == ["a.jpg"]
    assert described.images["status"].to_pylist() == ["failed", "ok", "duplicate"]
    assert described.images["duplicate_of"].to_pylist() == [None, None, "b.jpg"]
    assert described.keypoints["image_id"].to_pylist() == ["b.jpg"]
    members = group_copies(described.images, tables.MATCHES.empty_table())
    assert {member.image_id for member in members} == {"b.jpg", "c.jpg"}


def test_want_of_memory_may_pass(
    listed: list[ListedImage], describer: Describer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starved(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", starved)
    failures = describe_part(STORAGE, listed, local_only(describer)).failures.to_pylist()
    assert {row["image_id"] for row in failures if row["retryable"]} >= {"0.jpg", TWIN}
    assert not {row["retryable"] for row in failures if row["image_id"] == EMPTY} - {False}


def test_pictures_inside_take_their_features_from_the_same_few(tmp_path: Path) -> None:
    """Four pictures side by side: no more bytes than of a whole picture, and each has some."""
    tiles = [scene(seed, 300, 220) for seed in range(4)]
    collage = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    Image.fromarray(collage).save(tmp_path / "collage.png")
    (piece,) = find_sources(STORAGE, str(tmp_path)).pieces
    listed = list(list_images(read_source(STORAGE, piece, "query")))
    options = DescriberOptions(views=ViewOptions(("whole", "frames")))
    describer = Describer(options, None, np.empty((0, 0), np.float32), load_quantiser())
    (row,) = describe_part(STORAGE, listed, describer).keypoints.to_pylist()
    most = options.keypoints.max_keypoints
    assert most // 2 < len(row["x"]) <= most
    assert len(row["codes"]) + 4 * len(row["x"]) <= 4096
    assert len(views_of([Rendering("whole", collage)], options.views)) > 1
