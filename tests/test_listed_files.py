"""What is known of all listing files together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from copydetect import tables
from copydetect.errors import InputError
from copydetect.inputs.listed_files import ListedFile, ListingFiles, read_listed, settle_listing
from copydetect.inputs.listing import LISTING, ListedImage, RowSum, content_digest
from copydetect.inputs.repeated_ids import hashes_of
from tests.conftest import STORAGE


def listed(files: ListingFiles, shards: list[list[str]], extension: str) -> list[ListedFile]:
    """Listing files of shards that hold images of these names; the last one first."""
    found = []
    for number, names in enumerate(shards):
        images = [
            ListedImage(
                name,
                "image",
                f"{number}{extension}",
                f"{at}:9",
                f"{at}" * 64,
                9,
                origin=f"s/{number}{extension}",
            )
            for at, name in enumerate(names)
        ]
        tables.write_rows(STORAGE, files.first[number], images, LISTING)
        rows = sum((RowSum.of(image) for image in images), RowSum())
        found.append(ListedFile(number, files.first[number], rows, hashes_of(names).tobytes()))
    return found[::-1]


def test_ids_that_repeat_are_told_apart_whoever_tries_again(tmp_path: Path) -> None:
    files = ListingFiles(str(tmp_path), "image", 3)
    shards = listed(files, [["a", "b"], ["c"], ["b", "d"]], ".tar")
    for _ in range(2):
        settle_listing(STORAGE, files, shards)
    known = read_listed(STORAGE, str(tmp_path), "image")
    assert (known.images, known.renamed, known.example, known.files) == (5, 2, "0/b", [0, 2])
    now = replace(files, renamed=frozenset(known.files or ()))
    assert [tables.read_table(STORAGE, uri)["image_id"].to_pylist() for uri in now] == [
        ["a", "0/b"],
        ["c"],
        ["2/b", "d"],
    ]
    assert known.digest == content_digest(tables.read_table(STORAGE, uri) for uri in now)
    assert now[-1:] == (files.again[2],)


def test_ids_that_may_not_repeat_are_an_error_of_who_reads(tmp_path: Path) -> None:
    files = ListingFiles(str(tmp_path), "image", 1)
    settle_listing(STORAGE, files, listed(files, [["a", "a"]], ".csv"))
    with pytest.raises(InputError, match="has the image_id 'a' twice"):
        read_listed(STORAGE, str(tmp_path), "image")


def test_no_images_are_no_error_yet(tmp_path: Path) -> None:
    settle_listing(STORAGE, ListingFiles(str(tmp_path), "query", 0), [])
    assert read_listed(STORAGE, str(tmp_path), "query").images == 0
