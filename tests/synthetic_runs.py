"""A run without pictures: the tables that workers would write, of any size, for `launcher`.

Every 20th image has a copy beside it, every tenth a look-alike, and every 500th cannot be read.
What a stage leaves to be counted is counted by the run's own code.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from copydetect import runs, tables
from copydetect.grouping.group_job import ROUNDS, GroupJob
from copydetect.index.spills import write_arrays
from copydetect.inputs.listed_files import ListedFile, ListingFiles, settle_listing
from copydetect.inputs.listing import LISTING, ListedImage, RowSum
from copydetect.inputs.piece_files import pieces_uri, read_pieces
from copydetect.inputs.repeated_ids import hashes_of
from copydetect.inputs.sources import Source, below
from copydetect.parts import PART, PartNames, part_count, parts_of_hashes
from copydetect.search.neighbors import Neighbors, neighbors_uris, write_neighbors
from copydetect.storage.files import StoredFile, Survey
from copydetect.storage.remote import RecordedStorage
from copydetect.types import Ints

ROOT = "synthetic-pictures"
_SHELF = 1000
_COPIES, _ALIKE, _FAILED = 20, 10, 500
_SQUARE = [[0.0, 0.0, 640.0, 0.0, 640.0, 480.0, 0.0, 480.0]]


class SyntheticStorage(RecordedStorage):
    """The storage of a run whose input is so many pictures that nobody has; counts what it is asked
    for, by kind."""

    def __init__(self, folder: str, images: int) -> None:
        super().__init__(folder)
        self._images = images
        self.asked: dict[str, int] = {}

    def survey(self, uri: str) -> Survey:
        self._count("list")
        if uri != ROOT:
            return super().survey(uri)
        return Survey(StoredFile(below(ROOT, name), 1) for name in names(self._images))

    def open(self, uri: str) -> Any:
        self._count("open")
        return super().open(uri)

    def write(self, uri: str, data: bytes) -> None:
        self._count("write")
        super().write(uri, data)

    def exists(self, uri: str) -> bool:
        self._count("look for")
        return super().exists(uri)

    def delete(self, uri: str) -> None:
        self._count("delete")
        super().delete(uri)

    def _count(self, kind: str) -> None:
        self.asked[kind] = self.asked.get(kind, 0) + 1


def names(images: int) -> Iterator[str]:
    """The names of all pictures."""
    for number in range(images):
        yield f"shelf-{number // _SHELF:05d}/picture-{number:09d}.jpg"


@dataclass(frozen=True)
class SyntheticWork:
    """What is left to be done on workers: of which run, how large, and of which job.

    job: its name; pieces: of the input, where these are not in files; then: what its stages leave
    to be counted; group: the grouping of the run.
    """

    storage: SyntheticStorage
    folder: str
    images: int
    job: str
    pieces: Sequence[Source]
    then: Sequence[Callable[[], None]]
    files: ListingFiles | None = None
    group: GroupJob | None = None

    def run(self) -> None:
        """Write what the job would write."""
        if self.files is not None:
            _list(self, self.files)
        elif self.job == "search":
            _Rows.of(self).write_searched()
        elif self.group is not None:
            _Rows.of(self).write_verified(self.group)
        for count in self.then:
            count()


def _list(work: SyntheticWork, files: ListingFiles) -> None:
    listed = []
    for number in range(files.files):
        pieces = (
            [work.pieces[number]]
            if work.pieces
            else read_pieces(work.storage, pieces_uri(files.folder, files.role, number))
        )
        images = [
            ListedImage(name, "image", below(ROOT, name), "", _hash(name), 1, origin=ROOT)
            for piece in pieces
            for name in piece.names
        ]
        tables.write_rows(work.storage, files.first[number], images, LISTING)
        rows = sum((RowSum.of(image) for image in images), RowSum())
        ids = hashes_of([image.image_id for image in images]).tobytes()
        listed.append(ListedFile(number, files.first[number], rows, ids))
    settle_listing(work.storage, files, listed)


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass(frozen=True)
class _Rows:
    """All images in the order of their hashes. ids: (n,) names; hashes: (n,); parts: (n,) the part
    of each; place: (n,) where the image of a number is."""

    work: SyntheticWork
    ids: npt.NDArray[Any]
    hashes: npt.NDArray[Any]
    parts: Ints
    place: Ints

    @classmethod
    def of(cls, work: SyntheticWork) -> _Rows:
        ids = np.array(list(names(work.images)))
        hashes = np.array([_hash(name) for name in ids.tolist()])
        order = np.argsort(hashes)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        parts = parts_of_hashes(hashes[order].tolist(), part_count(work.images))
        return cls(work, ids[order], hashes[order], parts, place)

    def write_searched(self) -> None:
        """The tables of described images, and candidates."""
        failed = np.zeros(len(self.ids), np.bool_)
        failed[self.place[::_FAILED]] = True
        for part in range(part_count(self.work.images)):
            rows = np.flatnonzero(self.parts == part)
            self._write("images", "image", part, self._images(rows, failed[rows]))
            self._write("failures", "image", part, self._failures(rows[failed[rows]]))
            for name, schema in (("descriptors", tables.descriptors(8)), ("keypoints", None)):
                empty = (schema or tables.KEYPOINTS).empty_table()
                self._write(name, "image", part, empty)
        for part, (query, reference, copies) in enumerate(self._pairs()):
            self._write("candidates", PART, part, self._candidates(query, reference, copies))
        nothing = Neighbors(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        folder = runs.join(self.work.folder, "search", "descriptors")
        for uri in neighbors_uris(folder, part_count(self.work.images)):
            write_neighbors(self.work.storage, uri, nothing)
        sampled = runs.join(self.work.folder, "search", "candidates", "sample")
        for uri in PartNames(sampled, PART, part_count(self.work.images), "npz"):
            write_arrays(self.work.storage, uri, "", capped=np.array(0))
        for channel in ("descriptors", "keypoints"):
            folder = runs.join(self.work.folder, "search", "quality", channel)
            self.work.storage.write(runs.join(folder, "recall.json"), b"[]")

    def write_verified(self, group: GroupJob) -> None:
        """The tables of matches and groups."""
        for part, (query, reference, copies) in enumerate(self._pairs()):
            self._write("matches", PART, part, self._matches(query, reference, copies))
            self._write("verify-failures", PART, part, tables.FAILURES.empty_table())
        for name in (*ROUNDS, "histories"):
            noted = json.dumps({"count": 0, "digest": ""}).encode()
            uri = runs.join(group.asked_folder(name), "batches.json")
            self.work.storage.write(uri, noted)
        groups = self._groups()
        tables.write_table(self.work.storage, group.groups_uri, groups, 65_536)
        copied = self._images(np.arange(len(self.ids)), np.zeros(len(self.ids), np.bool_))
        tables.write_table(self.work.storage, group.involved_uri("images"), copied)

    def _pairs(self) -> Iterator[tuple[Ints, Ints, npt.NDArray[np.bool_]]]:
        """By part: images and their partners, and which of these are copies."""
        numbers = np.arange(1, self.work.images, _ALIKE)
        ends = np.sort(np.stack([self.place[numbers - 1], self.place[numbers]]), axis=0)
        copies = (numbers - 1) % _COPIES == 0
        of_part = self.parts[ends[0]]
        for part in range(part_count(self.work.images)):
            rows = np.flatnonzero(of_part == part)
            yield ends[0][rows], ends[1][rows], copies[rows]

    def _write(self, table: str, before: str, part: int, rows: pa.Table) -> None:
        folder = runs.join(self.work.folder, table)
        uri = PartNames(folder, before, part_count(self.work.images))[part]
        tables.write_table(self.work.storage, uri, rows)

    def _images(self, rows: Ints, failed: npt.NDArray[np.bool_]) -> pa.Table:
        status = np.where(failed, "failed", "ok")
        ids = self.ids[rows]
        columns = {"image_id": ids, "uri": ids, "sha256": self.hashes[rows], "status": status}
        same = {"role": "image", "member": "", "format": "JPEG", "bytes": 200_000}
        return _table(tables.IMAGES, len(rows), columns, same | {"width": 640, "height": 480})

    def _failures(self, rows: Ints) -> pa.Table:
        same = {"role": "image", "stage": "decode", "error_type": "ImageError", "retryable": False}
        columns = {"image_id": self.ids[rows], "uri": self.ids[rows]}
        return _table(tables.FAILURES, len(rows), columns, same | {"message": "it is synthetic"})

    def _candidates(self, query: Ints, reference: Ints, copies: npt.NDArray[np.bool_]) -> pa.Table:
        columns = {"query_id": self.ids[query], "reference_id": self.ids[reference]}
        same = {"score": 1.0, "crowded": False, "spare": False, "rank": 1}
        return _table(tables.CANDIDATES, len(copies), columns, same)

    def _matches(self, query: Ints, reference: Ints, copies: npt.NDArray[np.bool_]) -> pa.Table:
        columns = {
            "query_id": self.ids[query],
            "reference_id": self.ids[reference],
            "query_uri": self.ids[query],
            "reference_uri": self.ids[reference],
            "is_copy": copies,
            "confidence": np.where(copies, 0.99, 0.01),
        }
        regions = dict.fromkeys(("query_region", "reference_region"), _SQUARE)
        same = {"score": 1.0, "relation": "edited", "direction": "unknown", "inliers": 99}
        same |= {"transform": [1.0, 0, 0, 0, 1, 0, 0, 0, 1], "edits": ["crop"], "reason": "why"}
        same |= regions | {"differs_region": []}
        return _table(tables.MATCHES, len(copies), columns, same)

    def _groups(self) -> pa.Table:
        kept = np.arange(0, self.work.images - 1, _COPIES)
        ids = np.repeat(self.ids[self.place[kept]], 2)
        members = self.ids[self.place[np.stack([kept, kept + 1], 1).ravel()]]
        first = np.tile([True, False], len(kept))
        columns = {"group_id": ids, "image_id": members, "uri": members, "keep": first}
        columns |= {"suggested": ~first, "kept_id": ids, "kept_uri": ids}
        same = {"relation": "edited", "certain": True, "reason": "why"}
        return _table(tables.GROUPS, len(members), columns, same)


def _table(
    schema: pa.Schema, rows: int, columns: dict[str, npt.NDArray[Any]], same: dict[str, Any]
) -> pa.Table:
    """Columns, values that are the same in all rows, and nulls for all others."""
    arrays = [
        pa.array(columns[field.name].tolist(), field.type)
        if field.name in columns
        else pa.array([same.get(field.name)] * rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


if __name__ == "__main__":
    pickle.loads(Path(sys.argv[1]).read_bytes()).run()
