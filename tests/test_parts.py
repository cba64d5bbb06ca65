from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from copydetect import parts, tables
from copydetect.errors import InputError
from copydetect.inputs.listing import (
    LISTING,
    ListedImage,
    byte_identical,
    content_digest,
    list_images,
    read_in_turn,
)
from copydetect.parts import ImageNumbers, RowCounts
from copydetect.storage.files import LocalStorage
from copydetect.types import Failure, ImageRef, ImageRow


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def listed(image_id: str, content: bytes) -> ListedImage:
    return ListedImage(image_id, "image", f"in/{image_id}", "", sha256_of(content), len(content))


def test_listing_hashes_the_bytes_and_keeps_what_could_not_be_read() -> None:
    good, bad = ImageRef("a.jpg", "in/a.jpg"), ImageRef("b.jpg", "in/b.jpg")
    failure = Failure("b.jpg", "in/b.jpg", "list", "PermissionError", "no access")
    first, second = list_images([(good, b"abc"), (bad, failure)])
    assert first.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert (first.bytes, first.error_type) == (3, "")
    assert (second.bytes, second.error_type, second.message) == (0, "PermissionError", "no access")


def test_content_digest_ignores_order_and_sees_content_and_names() -> None:
    images = [listed(f"{i}.jpg", bytes([i])) for i in range(20)]
    table = tables.rows_to_table(images, LISTING)
    random.Random(1).shuffle(images)
    shuffled = tables.rows_to_table(images, LISTING)
    assert content_digest([shuffled[:7], shuffled[7:]]) == content_digest([table])
    other = [*images[1:], listed(images[0].image_id, b"other")]
    renamed = [*images[1:], listed("renamed", bytes([int(images[0].image_id[:-4])]))]
    for changed in (other, renamed, images[1:]):
        digest = content_digest([tables.rows_to_table(changed, LISTING)])
        assert digest != content_digest([table])


@pytest.mark.parametrize("count", [1, 2, 7, 256])
def test_parts_are_ranges_of_the_hash(count: int) -> None:
    hashes = sorted(hashlib.sha256(bytes([i])).hexdigest() for i in range(200))
    numbers = [parts.part_of(sha256, count) for sha256 in hashes]
    assert numbers == sorted(numbers)
    assert set(numbers) <= set(range(count))
    assert parts.part_of("f" * 64, count) == count - 1
    assert parts.part_of("0" * 64, count) == 0


@pytest.mark.parametrize(
    ("images", "expected"), [(0, 1), (1, 1), (65, 5), (2040, 128), (10**6, 257)]
)
def test_part_count_follows_the_size(images: int, expected: int) -> None:
    assert parts.part_count(images) == expected


def ids(families: Iterable[Sequence[ListedImage]]) -> set[tuple[str, ...]]:
    return {tuple(image.image_id for image in twins) for twins in families}


def test_byte_identical_images_are_together_and_what_could_not_be_read_is_alone() -> None:
    images = [listed("c", b"same"), listed("a", b"same"), listed("b", b"other")]
    failed = [ListedImage(f"f{i}", "image", "in/f", "", "0" * 64, 0, "OSError") for i in range(2)]
    assert ids(byte_identical(images + failed)) == {("a", "c"), ("b",), ("f0",), ("f1",)}


def test_twins_are_read_in_turn_until_one_can_be(tmp_path: Path) -> None:
    twins = [
        ListedImage(name, "image", str(tmp_path / name), "", sha256_of(b"same"), 4)
        for name in ("gone", "other", "good", "spare")
    ]
    (tmp_path / "other").write_bytes(b"else")
    for name in ("good", "spare"):
        (tmp_path / name).write_bytes(b"same")
    *failures, (read, content) = read_in_turn(LocalStorage(), [twins])
    assert [tried[0].image_id for tried, _ in failures] == ["gone", "other"]
    assert [failure.retryable for _, failure in failures] == [False, True]
    assert ([image.image_id for image in read], content) == (["good", "spare"], b"same")


def test_numbers_do_not_depend_on_the_number_of_parts() -> None:
    images = [listed(str(i), bytes([i])) for i in range(50)]

    def order(count: int) -> list[str]:
        by_part = [
            byte_identical(i for i in images if parts.part_of(i.sha256, count) == part)
            for part in range(count)
        ]
        return [image.image_id for part in by_part for (image,) in part]

    assert order(1) == order(3) == order(17)


@pytest.fixture
def five(tmp_path) -> tuple[list[ImageRow], list[str]]:
    """Five images in two parts, of 2 and 3."""
    rows = [
        ImageRow(str(i), "image", f"in/{i}", "", None, "JPEG", 4, 3, 10, None, None, "ok")
        for i in range(5)
    ]
    uris = [str(tmp_path / "0.parquet"), str(tmp_path / "1.parquet")]
    tables.write_table(LocalStorage(), uris[0], tables.rows_to_table(rows[:2], tables.IMAGES))
    tables.write_table(LocalStorage(), uris[1], tables.rows_to_table(rows[2:], tables.IMAGES))
    return rows, uris


def test_numbers_lead_to_rows(five) -> None:
    rows, uris = five
    numbers = ImageNumbers(LocalStorage(), uris, [2, 3])
    assert len(numbers) == 5
    assert [numbers.row(i) for i in (4, 0, 1, 2, 3)] == [rows[i] for i in (4, 0, 1, 2, 3)]
    assert numbers.start_of(1) == 2
    with pytest.raises(IndexError, match="5"):
        numbers.row(5)


def test_a_table_whose_names_are_damaged_is_named(five) -> None:
    _, uris = five
    Path(uris[0]).write_bytes(Path(uris[0]).read_bytes().replace(b"frames", b"fsames"))
    with pytest.raises(InputError, match=r"0\.parquet is not a readable Parquet file"):
        ImageNumbers(LocalStorage(), uris, [2, 3]).row(0)


@pytest.mark.parametrize(("held", "reads"), [(1, 4), (2, 2)])
def test_only_so_many_parts_are_held(five, monkeypatch, held: int, reads: int) -> None:
    rows, uris = five
    read, read_table = [], tables.read_table

    def counted(storage, uri, columns):
        read.append(uri)
        return read_table(storage, uri, columns)

    monkeypatch.setattr(parts, "_PARTS_HELD", held)
    monkeypatch.setattr(tables, "read_table", counted)
    numbers = ImageNumbers(LocalStorage(), uris, [2, 3])
    assert [numbers.row(i) for i in (0, 1, 4, 3, 0, 2)] == [rows[i] for i in (0, 1, 4, 3, 0, 2)]
    assert len(read) == reads


def test_listing_schema_holds_every_field() -> None:
    table = tables.rows_to_table([listed("a", b"1")], LISTING)
    assert [ListedImage(**row) for row in table.to_pylist()] == [listed("a", b"1")]
    assert table.schema.equals(LISTING)
    assert isinstance(LISTING, pa.Schema)


def test_parts_are_counted_once_in_a_process_and_anew_in_each_run(tmp_path: Path) -> None:
    """A description of parts is sent to a process with each of them."""
    table = tables.rows_to_table([listed("a", b"1")], LISTING)
    uri = str(tmp_path / "part.parquet")
    tables.write_table(LocalStorage(), uri, table)
    sent = pickle.dumps(RowCounts(LocalStorage(), [uri]))
    assert list(pickle.loads(sent)) == [1]
    tables.write_table(LocalStorage(), uri, pa.concat_tables([table, table]))
    assert list(pickle.loads(sent)) == [1]
    assert list(RowCounts(LocalStorage(), [uri])) == [2]
