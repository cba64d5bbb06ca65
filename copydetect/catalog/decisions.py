"""Decisions of people on pairs. They hold whatever the files are called later.

A decision names two contents by their SHA-256. A pair that was refused is not reported again; one
that was confirmed is, and its images are copies of each other in every later night.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from copydetect import tables
from copydetect.catalog.files import CatalogFile, key_of
from copydetect.catalog.readable import numbers_of
from copydetect.errors import InputError, first_line
from copydetect.storage.files import Storage
from copydetect.types import COPY_RELATIONS, Match

DECISIONS = pa.schema(
    [
        pa.field("sha256_a", pa.string(), nullable=False),
        pa.field("sha256_b", pa.string(), nullable=False),
        pa.field("decision", pa.string(), nullable=False),
        pa.field("who", pa.string(), nullable=False),
        pa.field("when", pa.string(), nullable=False),
    ]
)
"""One row per pair, the smaller hash first; decision: copy or not_copy."""

_CHOICES = ("copy", "not_copy")
_HEX = set("0123456789abcdef")


def read_table_of(storage: Storage, uri: str) -> pa.Table:
    """A CSV or Parquet file, all columns of a CSV as text; InputError where it is neither."""
    data = storage.read(uri)
    try:
        if uri.lower().endswith(".parquet"):
            return parquet.read_table(io.BytesIO(data))
        names = csv.read_csv(io.BytesIO(data)).column_names
        types = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        )
        return csv.read_csv(io.BytesIO(data), convert_options=types)
    except tables.DAMAGED as error:
        raise InputError(f"{uri} is not a CSV or Parquet file: {first_line(error)}") from error


def read_decisions(storage: Storage, uri: str) -> pa.Table:
    """Rows of `DECISIONS`; InputError names the row that is none. `who` and `when` may lack."""
    table = read_table_of(storage, uri)
    missing = {"sha256_a", "sha256_b", "decision"} - set(table.column_names)
    if missing:
        raise InputError(f"{uri} has no column {', '.join(sorted(missing))}")
    rows = []
    for number, row in enumerate(table.to_pylist(), start=1):
        ends = sorted(str(row[name] or "").strip().lower() for name in ("sha256_a", "sha256_b"))
        decision = str(row["decision"] or "").strip()
        if any(len(end) != 64 or set(end) - _HEX for end in ends):
            raise InputError(f"{uri}: row {number} needs two SHA-256 of 64 hex digits each")
        if ends[0] == ends[1]:
            raise InputError(f"{uri}: row {number} names one content twice")
        if decision not in _CHOICES:
            raise InputError(f"{uri}: row {number} decides {decision!r}; write copy or not_copy")
        who, when = (str(row.get(name) or "") for name in ("who", "when"))
        rows.append((*ends, decision, who, when))
    return pa.Table.from_pylist(
        [dict(zip(DECISIONS.names, row, strict=True)) for row in rows], schema=DECISIONS
    )


def joined_decisions(before: pa.Table, new: pa.Table) -> pa.Table:
    """All decisions, each pair once: the later one counts."""
    latest = {
        (row["sha256_a"], row["sha256_b"]): row
        for table in (before, new)
        for row in table.to_pylist()
    }
    rows = [row for _, row in sorted(latest.items())]
    return pa.Table.from_pylist(rows, schema=DECISIONS)


def decided(
    matches: pa.Table, decisions: pa.Table, standing: Mapping[int, CatalogFile]
) -> pa.Table:
    """Rows of `matches`, by keys, with the decisions of people. A pair that they have confirmed is
    there even where no search proposed it."""
    if not decisions.num_rows:
        return matches
    numbers = {file.sha256: number for number, file in standing.items()}
    wanted: dict[frozenset[int], dict[str, str]] = {}
    for row in decisions.to_pylist():
        ends = numbers.get(row["sha256_a"]), numbers.get(row["sha256_b"])
        if ends[0] is not None and ends[1] is not None:
            wanted[frozenset((ends[0], ends[1]))] = row
    queries, references = (numbers_of(matches[n]).tolist() for n in ("query_id", "reference_id"))
    pairs = [frozenset(pair) for pair in zip(queries, references, strict=True)]
    known = np.array([pair in wanted for pair in pairs], np.bool_)
    said = [wanted[pair] for pair in pairs if pair in wanted]
    rows = matches.filter(pa.array(known)).to_pylist()
    changed = [_decided(row, one) for row, one in zip(rows, said, strict=True)]
    there = set(pairs)
    changed += [
        _confirmed(sorted(pair), row)
        for pair, row in sorted(wanted.items(), key=lambda item: sorted(item[0]))
        if pair not in there and row["decision"] == "copy"
    ]
    rest = matches.filter(pc.invert(pa.array(known)))
    return pa.concat_tables([rest, pa.Table.from_pylist(changed, schema=tables.MATCHES)])


def undecided(
    matches: pa.Table, decisions: pa.Table, standing: Mapping[int, CatalogFile]
) -> pa.Table:
    """The rows of `matches`, by keys, on which nobody has decided."""
    if not decisions.num_rows:
        return matches
    said = {(row["sha256_a"], row["sha256_b"]) for row in decisions.to_pylist()}
    hashes = [
        [standing[number].sha256 for number in numbers_of(matches[name]).tolist()]
        for name in ("query_id", "reference_id")
    ]
    ends = zip(*hashes, strict=True)
    return matches.filter(
        pa.array([(min(pair), max(pair)) not in said for pair in ends], pa.bool_())
    )


def _decided(row: dict[str, object], decision: Mapping[str, str]) -> dict[str, object]:
    is_copy = decision["decision"] == "copy"
    relation = row["relation"]
    if (relation in COPY_RELATIONS) != is_copy:
        relation = "edited" if is_copy else "none"
    return {
        **row,
        "is_copy": is_copy,
        "confidence": 1.0 if is_copy else 0.0,
        "relation": relation,
        "reason": f"{_said(decision)}; {row['reason']}",
    }


def _confirmed(numbers: list[int], decision: Mapping[str, str]) -> dict[str, object]:
    query, reference = map(key_of, numbers)
    unproved = Match.of_strangers(query, reference, 0.0, 0.0, _said(decision))
    match = replace(unproved, confidence=1.0, is_copy=True, relation="edited")
    return {**vars(match), "similarity": None}


def _said(decision: Mapping[str, str]) -> str:
    verb = "confirmed" if decision["decision"] == "copy" else "refused"
    return f"{verb} by {decision['who'] or 'a person'}"
