"""Ground truths: which images are copies, in this project's files and in published layouts.

- pairs: a CSV of query_id, reference_id, where an empty reference marks a query that is no copy
  (DISC21's dev_ground_truth.csv, NDEC's public_ground_truth_h5.csv; a header is optional);
- relations: a CSV of query_id, reference_id, relation, as `types.Relation` has them, of pairs that
  are copies and of others;
- groups: a CSV of image_id, group_id, one row per image of one pile, optionally with `original`
  (1 or 0) and `edits`;
- Copydays: a folder with original/, strong/, jpegqual/3/ … crops/80/.

A folder stands for the one such file in it. `edits.csv` beside a file of pairs (query_id, edits,
source) says what was done to each query.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from copydetect.errors import InputError
from copydetect.storage.files import Storage
from copydetect.types import COPY_RELATIONS, Relation

_PAIRS = ["query_id", "reference_id"]
_PREDICTIONS = [*_PAIRS, "score"]
_IMAGE_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


@dataclass(frozen=True)
class PairTruth:
    """Copies among queries: (query_id, reference_id), each once.

    queries: every query that the truth names, those without a copy too; edits, sources, blocks:
    by query, what was done to it, where it is from, and its part of the benchmark; relations: by
    pair, also of pairs that are no copies.
    """

    pairs: list[tuple[str, str]]
    queries: list[str]
    edits: Mapping[str, list[str]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    blocks: Mapping[str, str] = field(default_factory=dict)
    relations: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class GroupTruth:
    """Copies in one pile: the group of every image; all images of a group are copies.

    originals: the images that were not edited, where known; edits, sources: by image.
    """

    group_of: dict[str, str]
    originals: frozenset[str] = frozenset()
    edits: Mapping[str, list[str]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of_pairs(truth: PairTruth) -> GroupTruth:
        """The same truth for one pile that holds queries and references together."""
        ids = sorted({*truth.queries, *(reference for _, reference in truth.pairs)})
        number = {image_id: place for place, image_id in enumerate(ids)}
        ends = np.array([[number[a], number[b]] for a, b in truth.pairs], np.int64).reshape(-1, 2)
        weights = np.ones(len(ends), bool)
        graph = coo_array((weights, (ends[:, 0], ends[:, 1])), shape=(len(ids), len(ids)))
        _, component = connected_components(graph, directed=False)
        groups = {image_id: str(component[number[image_id]]) for image_id in ids}
        copies = {query for query, _ in truth.pairs}
        originals = frozenset(image_id for image_id in ids if image_id not in copies)
        return GroupTruth(groups, originals, truth.edits, truth.sources)


def read_truth(storage: Storage, uri: str) -> PairTruth | GroupTruth:
    """Read any of the layouts; InputError where it is none, empty, ambiguous or contradictory."""
    if not storage.exists(uri):
        raise InputError(f"there is no ground truth at {uri}")
    files = [file.uri for file in storage.files_under(uri)]
    if files:
        inside = [posixpath.relpath(file, uri) for file in files]
        if any(name.startswith("original/") for name in inside):
            return copydays_truth(inside)
        uri = _truth_in_folder(uri, inside)
    rows = _csv_rows(storage, uri)
    if "group_id" in rows[0]:
        return _group_truth(uri, rows)
    if rows[0] == [*_PAIRS, "relation"]:
        return _relation_truth(uri, rows[1:])
    if rows[0] == _PAIRS:
        return _with_edits(storage, uri, _pair_truth(uri, rows[1:]))
    if all(len(row) == 2 for row in rows):
        return _with_edits(storage, uri, _pair_truth(uri, rows))
    raise InputError(
        f"{uri} is not a ground truth: its columns are {', '.join(rows[0])[:80]}; expected "
        "query_id, reference_id or image_id, group_id"
    )


def read_predictions(storage: Storage, uri: str) -> tuple[list[str], list[str], list[float]]:
    """Queries, references and scores of a CSV with these three columns; a header is optional."""
    rows = _csv_rows(storage, uri)
    if rows[0] == _PREDICTIONS:
        rows = rows[1:]
    queries, references, scores = [], [], []
    for number, row in enumerate(rows, start=1):
        try:
            query, reference, score = row
            scores.append(float(score))
        except ValueError as error:
            raise InputError(
                f"{uri}: row {number} is not a prediction; expected query_id, reference_id, score"
            ) from error
        queries.append(query)
        references.append(reference)
    return queries, references, scores


def copydays_truth(names: Iterable[str]) -> PairTruth:
    """The truth of INRIA Copydays from its file names, relative to its folder.

    A query of strong/ is a copy of the originals that share its first four characters; a query of
    jpegqual/N/ or crops/N/ of the original of the same name.
    """
    images = sorted(name for name in names if name.lower().endswith((".jpg", ".jpeg", ".png")))
    originals = [name for name in images if name.startswith("original/")]
    pairs, blocks = [], {}
    for query in images:
        block, name = posixpath.split(query)
        if block == "original" or block.split("/")[0] not in ("strong", "jpegqual", "crops"):
            continue
        key = 4 if block == "strong" else None
        blocks[query] = block
        pairs += [
            (query, original)
            for original in originals
            if posixpath.basename(original)[:key] == name[:key]
        ]
    if not pairs:
        raise InputError("a Copydays folder has original/ beside strong/, jpegqual/ or crops/")
    return PairTruth(pairs, sorted(blocks), blocks=blocks)


def match_ids(truth_ids: Iterable[str], run_ids: Iterable[str], what: str) -> dict[str, str]:
    """The truth's id of each image of a run that the truth names.

    Ids are compared as they are, else without the extension, else by the file name alone without
    it, whichever agrees for most and confuses none. InputError where no image agrees.
    """
    truth, run = sorted(set(truth_ids)), sorted(set(run_ids))
    best: dict[str, str] = {}
    keys: list[Callable[[str], str]] = [str, _without_suffix, _bare_name]
    for key in keys:
        named = {key(truth_id): truth_id for truth_id in truth}
        found = {run_id: named[key(run_id)] for run_id in run if key(run_id) in named}
        unambiguous = len(named) == len(truth) and len(set(found.values())) == len(found)
        if unambiguous and len(found) > len(best):
            best = found
    if not best and truth and run:
        raise InputError(
            f"no {what} of the run is in the ground truth: the run has {run[0]!r}, "
            f"the truth {truth[0]!r}"
        )
    return best


def _without_suffix(image_id: str) -> str:
    return _IMAGE_SUFFIX.sub("", image_id)


def _bare_name(image_id: str) -> str:
    return _without_suffix(posixpath.basename(image_id))


def _truth_in_folder(uri: str, inside: list[str]) -> str:
    names = [
        name
        for name in inside
        if "/" not in name and (name == "groups.csv" or re.search(r"ground_?truth.*\.csv$", name))
    ]
    if len(names) == 1:
        return posixpath.join(uri, names[0])
    found = f"several ({', '.join(names)}); name the file" if names else "none"
    raise InputError(f"{uri} should hold one groups.csv or *ground_truth*.csv; it has {found}")


def _csv_rows(storage: Storage, uri: str) -> list[list[str]]:
    try:
        text = storage.read(uri).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [[value.strip() for value in row] for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{uri} is not a CSV file") from error
    if not rows:
        raise InputError(f"{uri} is empty")
    return rows


def _pair_truth(uri: str, rows: list[list[str]]) -> PairTruth:
    pairs, queries = [], []
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or not row[0]:
            raise InputError(f"{uri}: row {number} is not query_id, reference_id: {row[:4]}")
        queries.append(row[0])
        if row[1]:
            pairs.append((row[0], row[1]))
    if len(set(pairs)) != len(pairs):
        raise InputError(f"{uri} has a pair twice; each copy is named once")
    if not pairs:
        raise InputError(f"{uri} names no copy; there is nothing to find")
    return PairTruth(pairs, sorted(set(queries)))


def _relation_truth(uri: str, rows: list[list[str]]) -> PairTruth:
    known = get_args(Relation)
    for number, row in enumerate(rows, start=1):
        if len(row) != 3 or row[2] not in known:
            raise InputError(
                f"{uri}: row {number} is not query_id, reference_id, relation: {row[:4]}; "
                f"relations are {', '.join(known)}"
            )
    copies = [row[:2] for row in rows if row[2] in COPY_RELATIONS]
    others = [[row[0], ""] for row in rows if row[2] not in COPY_RELATIONS]
    relations = {(query, reference): relation for query, reference, relation in rows}
    return replace(_pair_truth(uri, copies + others), relations=relations)


def _with_edits(storage: Storage, uri: str, truth: PairTruth) -> PairTruth:
    beside = posixpath.join(posixpath.dirname(uri), "edits.csv")
    if not storage.exists(beside):
        return truth
    header, *rows = _csv_rows(storage, beside)
    if "query_id" not in header or "edits" not in header:
        return truth
    table = [dict(zip(header, row, strict=False)) for row in rows]
    return PairTruth(
        truth.pairs,
        truth.queries,
        {row["query_id"]: _kinds(row.get("edits", "")) for row in table},
        {row["query_id"]: row["source"] for row in table if row.get("source")},
    )


def _group_truth(uri: str, rows: list[list[str]]) -> GroupTruth:
    header, *body = rows
    if "image_id" not in header:
        raise InputError(f"{uri} has a column group_id but no image_id")
    if any(len(row) != len(header) for row in body):
        raise InputError(f"{uri}: a row has other columns than {', '.join(header)}")
    table = [dict(zip(header, row, strict=True)) for row in body]
    groups = {row["image_id"]: row["group_id"] for row in table}
    if len(groups) != len(table):
        raise InputError(f"{uri} has an image_id twice")
    if len(set(groups.values())) == len(groups):
        raise InputError(f"{uri} names no copy: every image has a group of its own")
    return GroupTruth(
        groups,
        frozenset(row["image_id"] for row in table if row.get("original") in ("1", "true")),
        {row["image_id"]: _kinds(row.get("edits", "")) for row in table},
        {row["image_id"]: row["source"] for row in table if row.get("source")},
    )


def _kinds(edits: str) -> list[str]:
    return sorted({kind for kind in edits.split("+") if kind})
