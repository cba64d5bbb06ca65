"""Listing is a stream: however many rows there are, few of them are held."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from copydetect import tables
from copydetect.inputs import listed_parts, repeated_ids
from copydetect.inputs.finding import find_sources
from copydetect.inputs.listed_parts import PartSorter, unpacked
from copydetect.inputs.listing import LISTING, ListedImage
from copydetect.inputs.repeated_ids import FoundImage, KnownIds, Renamed, hashes_of, make_ids_unique
from copydetect.parts import part_of, parts_of_hashes
from copydetect.transforms import images_to_refs
from tests.conftest import STORAGE


class Alive:
    """Counts objects that pass by: how many there are at once, at most."""

    def __init__(self) -> None:
        self.now = self.most = self.seen = 0

    def count(self, one: object) -> None:
        self.now += 1
        self.seen += 1
        self.most = max(self.most, self.now)
        weakref.finalize(one, self._gone)

    def _gone(self) -> None:
        self.now -= 1


def listed(number: int) -> ListedImage:
    name, sha256 = f"{number}.jpg", hashlib.sha256(b"%d" % number).hexdigest()
    return ListedImage(name, "image", f"in/{name}", "", sha256, number, origin="in")


def test_of_a_manifest_a_bounded_number_of_rows_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 20_000
    manifest = tmp_path / "missing.csv"
    manifest.write_text("uri\n" + "".join(f"none/{n}.jpg\n" for n in range(rows)))
    alive, real = Alive(), images_to_refs.list_images

    def counted(*given: object) -> Iterator[ListedImage]:
        for image in real(*given):
            alive.count(image)
            yield image
            del image

    monkeypatch.setattr(images_to_refs, "list_images", counted)
    (piece,) = find_sources(STORAGE, str(manifest)).pieces
    lister = images_to_refs._Lister(STORAGE, "image", str(tmp_path / "listing"))
    uri = lister.list((0, piece)).uri
    assert alive.seen == rows
    assert alive.most <= 2 * 8_192
    assert sum(table.num_rows for table in tables.read_batches(STORAGE, uri)) == rows
    assert max(table.num_rows for table in tables.read_batches(STORAGE, uri)) <= 8_192


def test_sorting_by_part_holds_a_bounded_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed_parts, "_TOGETHER", 100)
    images = [listed(number) for number in range(1_000)]
    sorter = PartSorter(7, frozenset({0, 2, 6}))
    found: dict[int, list[ListedImage]] = {}
    most = 0
    for start in range(0, len(images), 30):
        table = tables.rows_to_table(images[start : start + 30], LISTING)
        given = [*sorter.add(table), *(sorter.sorted() if start >= 960 else ())]
        most = max(most, sum(len(unpacked([rows])) for _, rows in given))
        for part, rows in given:
            found.setdefault(part, []).extend(unpacked([rows]))
    assert most <= 130
    assert found == {
        part: [image for image in images if part_of(image.sha256, 7) == part] for part in (0, 2, 6)
    }
    assert list(sorter.sorted()) == []
    assert unpacked([b"", b""]) == []


def test_packed_rows_are_small() -> None:
    images = [listed(number) for number in range(4_000)]
    sorter = PartSorter(1, frozenset({0}))
    assert list(sorter.add(tables.rows_to_table(images, LISTING))) == []
    ((part, rows),) = sorter.sorted()
    assert part == 0
    assert len(rows) < 100 * len(images)


@pytest.mark.parametrize("parts", [1, 2, 3, 257, 4_096, 2**31 + 11])
def test_parts_of_many_hashes_are_those_of_each(parts: int) -> None:
    hashes = [hashlib.sha256(bytes([n])).hexdigest() for n in range(250)]
    hashes += ["0" * 64, "f" * 64, "7" + "f" * 63, "8" + "0" * 63]
    assert parts_of_hashes(hashes, parts).tolist() == [part_of(one, parts) for one in hashes]
    assert parts_of_hashes([], parts).tolist() == []


@pytest.fixture
def listings(tmp_path: Path) -> list[str]:
    """Two shards whose images 1 and 2 have one id each, in groups of two rows."""
    uris = []
    for shard, numbers in (("a.tar", (0, 1, 2)), ("b.tar", (1, 2, 3))):
        images = [
            ListedImage(f"{n}.jpg", "image", shard, f"{512 * n}:9", "0" * 64, 9, origin=shard)
            for n in numbers
        ]
        uris.append(str(tmp_path / f"{shard}.parquet"))
        tables.write_rows(STORAGE, uris[-1], images, LISTING, together=2)
    return uris


def ids_in(uris: list[str]) -> list[str]:
    return [one for uri in uris for one in tables.read_table(STORAGE, uri)["image_id"].to_pylist()]


def told_apart(listings: list[str]) -> Renamed:
    hashes = [hashes_of(ids_in([uri])) for uri in listings]
    return make_ids_unique(STORAGE, listings, hashes, listings)


def test_repeated_ids_are_told_apart_in_their_files(listings: list[str]) -> None:
    assert told_apart(listings) == Renamed(4, "a/1.jpg", (0, 1))
    assert ids_in(listings) == ["0.jpg", "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "3.jpg"]
    assert told_apart(listings) == Renamed()


def test_only_rows_whose_ids_repeat_are_looked_at(
    listings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, real = [], repeated_ids.distinct_ids

    def seen(images: list[FoundImage], known: KnownIds) -> list[str]:
        given.append(images)
        return real(images, known)

    monkeypatch.setattr(repeated_ids, "distinct_ids", seen)
    told_apart(listings)
    assert [image.image_id for image in given[0]] == ["1.jpg", "2.jpg"] * 2


def test_a_new_name_is_not_that_of_an_image_whose_id_does_not_repeat(tmp_path: Path) -> None:
    images = [
        ListedImage("1.jpg", "image", "s/a.tar", "0:9", "0" * 64, 9, origin="s/a.tar"),
        ListedImage("1.jpg", "image", "s/b.tar", "0:9", "0" * 64, 9, origin="s/b.tar"),
        ListedImage("a/1.jpg", "image", "s/a/1.jpg", "", "0" * 64, 9, origin="s"),
    ]
    uri = str(tmp_path / "x.parquet")
    tables.write_rows(STORAGE, uri, images, LISTING)
    assert told_apart([uri]) == Renamed(2, "a/1.jpg#2", (0,))
    assert ids_in([uri]) == ["a/1.jpg#2", "b/1.jpg", "a/1.jpg"]
