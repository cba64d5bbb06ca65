"""The plan of an index: which records of which spill make which shard.

Made from the true sizes of the lists, once every part is routed. A shard is a range of lists, in
the order that keeps neighbours together; only a list that is larger than a shard is cut.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from copydetect.errors import InputError
from copydetect.index.partitions import Partition
from copydetect.index.spills import Spill, open_spill, read_arrays, read_range, write_arrays
from copydetect.storage.files import Storage
from copydetect.types import Ints

_PLAN = "plan.npz"


@dataclass(frozen=True)
class Plan:
    """Which records of which spill make which shard.

    uris: the spills; offsets: (spills,) where their records begin, in bytes; positions:
    (shards + 1, spills) int64: shard s takes records positions[s] … positions[s + 1] − 1.
    """

    uris: list[str]
    offsets: Ints
    positions: Ints
    code_bytes: int
    identity: str

    @property
    def shards(self) -> int:
        """How many."""
        return len(self.positions) - 1


def plan_shards(storage: Storage, spills: Sequence[str], partition: Partition) -> Plan:
    """Cut the lists, in their order, into shards of about equal size.

    The number of shards is that of the options, or as many as make files of `shard_bytes`. A cut
    is moved to the nearest end of a list; a list over half a shard is cut where it falls.
    """
    uris = sorted(spills)
    headers = [open_spill(storage, uri) for uri in uris]
    totals = np.zeros(partition.lists, dtype=np.int64)
    for header in headers:
        totals[header.keys] += np.diff(header.starts)
    _refuse_shared_ids(storage, headers)
    cuts = _cuts(totals, partition)
    positions = np.array([_positions(headers, totals, cut) for cut in cuts], dtype=np.int64)
    offsets = np.array([header.offset_bytes for header in headers], dtype=np.int64)
    digest = hashlib.sha256(positions.tobytes() + partition.identity.encode())
    for header in headers:
        digest.update(header.notes["content"].encode())
    return Plan(uris, offsets, positions, partition.code_bytes, digest.hexdigest()[:16])


def _cuts(totals: Ints, partition: Partition) -> list[int]:
    """Shard boundaries as numbers of vectors, counted list after list."""
    ends = np.cumsum(totals)
    vectors = int(ends[-1])
    size = partition.code_bytes + 8
    wanted = partition.options.shards or math.ceil(vectors * size / partition.options.shard_bytes)
    cuts = {0, vectors}
    for shard in range(1, wanted):
        ideal = shard * vectors / wanted
        nearest = int(ends[np.argmin(np.abs(ends - ideal))])
        cuts.add(nearest if abs(nearest - ideal) <= vectors / wanted / 4 else int(ideal))
    return sorted(cuts)


def _positions(headers: Sequence[Spill], totals: Ints, cut: int) -> list[int]:
    """For each spill, how many of its records come before a cut."""
    ends = np.cumsum(totals)
    at = int(np.searchsorted(ends, cut, side="right"))
    inside = cut - int(ends[at - 1] if at else 0)
    positions = []
    for header in headers:
        before = int(header.starts[np.searchsorted(header.keys, at)])
        start, stop = header.range_of(at)
        taken = min(inside, stop - start)
        inside -= taken
        positions.append(before + taken)
    return positions


def bundle_notes(storage: Storage, is_first: bool, spills: Sequence[Spill]) -> dict[str, Any]:
    """The notes of the spill that some are merged into: as they have, together.

    is_first: of the bundles of the same parts; it stands for all of their ids.
    """
    contents = "".join(spill.notes["content"] for spill in spills)
    notes: dict[str, Any] = {"content": hashlib.sha256(contents.encode()).hexdigest()}
    held = [spill for spill in spills if "lowest" in spill.notes]
    if is_first and held:
        _refuse_shared_ids(storage, held)
        notes["lowest"] = min(spill.notes["lowest"] for spill in held)
        notes["highest"] = max(spill.notes["highest"] for spill in held)
    return notes


def _refuse_shared_ids(storage: Storage, spills: Sequence[Spill]) -> None:
    """InputError where an id is in two parts. Only parts whose ranges of ids overlap are read."""
    held = [spill for spill in spills if "lowest" in spill.notes]
    ordered = sorted(held, key=lambda spill: spill.notes["lowest"])
    together: list[Spill] = []
    highest = -1
    for spill in [*ordered, None]:
        if spill is not None and together and spill.notes["lowest"] <= highest:
            together.append(spill)
            highest = max(highest, spill.notes["highest"])
            continue
        if len(together) > 1:
            _refuse_ids_of(storage, together)
        if spill is not None:
            together, highest = [spill], spill.notes["highest"]


def _refuse_ids_of(storage: Storage, spills: Sequence[Spill]) -> None:
    ids = [
        read_range(storage, s.uri, s.dtype, s.offset_bytes, 0, len(s))["id"].copy() for s in spills
    ]
    ordered = np.sort(np.concatenate(ids))
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(repeated):
        raise InputError(f"id {repeated[0]} occurs in more than one part of the collection")


def save_plan(storage: Storage, folder: str, plan: Plan) -> str:
    """Write the plan where the builders of shards find it; returns its URI."""
    uri = f"{folder}/{_PLAN}"
    described = [plan.uris, plan.code_bytes, plan.identity]
    write_arrays(storage, uri, described, offsets=plan.offsets, positions=plan.positions)
    return uri


def load_plan(storage: Storage, folder: str) -> Plan:
    """Read the plan; IndexFileError where there is none."""
    (uris, code_bytes, identity), arrays = read_arrays(storage, f"{folder}/{_PLAN}")
    return Plan(uris, arrays["offsets"], arrays["positions"], code_bytes, identity)
