"""Routing: a part of a collection, sampled for training, then coded and sorted by list."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from copydetect.errors import InputError
from copydetect.index.partitions import Partition, Vectors
from copydetect.index.spills import read_arrays, write_arrays, write_spill
from copydetect.storage.files import Storage
from copydetect.types import Bools, Floats, Ints

Part: TypeAlias = tuple[int, str]
"""A part of a collection: its number, and the URI that the reader is called with."""

_OF_THE_IMAGE = (1 << 32) - 1
"""The bits of an id that number the view or feature of its image."""

Read: TypeAlias = Callable[[str], tuple[Vectors, Ints]]
"""Reads one part: (n, d) floats or (n, m) uint8 codes, and (n,) int64 ids."""


def spill_uri(folder: str, part: int) -> str:
    """Where the routed vectors of a part are."""
    return f"{folder}/vectors/part-{part:05d}.spill"


def probes_uri(folder: str, part: int) -> str:
    """Where the lists that a part's vectors visit are, when it is searched for itself."""
    return f"{folder}/vectors/part-{part:05d}.probes.npz"


def record_type(code_bytes: int) -> np.dtype[np.void]:
    """One coded vector as it travels to its shard."""
    return np.dtype([("list", "<i4"), ("id", "<i8"), ("code", "u1", (code_bytes,))])


def sample_part(read: Read, part: Part, share: float) -> tuple[Vectors, Ints]:
    """The vectors of a part whose hashed content falls into `share` of all.

    The same for any parts, and whatever numbers the images have.
    """
    vectors, ids = read(part[1])
    chosen = _falls_into(content_keys(vectors, ids), share)
    return vectors[chosen], ids[chosen]


def in_sample(ids: Ints, share: float) -> Bools:
    """Which ids (n,) are in a sample of about `share` of all, by their hash."""
    return _falls_into(mixed(ids.astype(np.uint64) + np.uint64(1)), share)


def content_keys(vectors: Vectors, ids: Ints) -> npt.NDArray[np.uint64]:
    """(n,) hashes of vectors, and of what their ids say beside the number of the image.

    An order by these is one by content: the same images give it in whatever order they came.
    """
    width = vectors.itemsize * math.prod(vectors.shape[1:])
    raw = np.ascontiguousarray(vectors).view(np.uint8).reshape(len(vectors), width)
    words = np.pad(raw, ((0, 0), (0, -raw.shape[1] % 8))).view(np.uint64)
    keys = mixed((ids & _OF_THE_IMAGE).astype(np.uint64) + np.uint64(1))
    for column in words.T:
        keys = mixed(keys ^ column)
    return keys


def mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A hash of each value (the finaliser of splitmix64)."""
    hashed = values * np.uint64(0x9E3779B97F4A7C15)
    hashed = (hashed ^ (hashed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(hashed ^ (hashed >> np.uint64(32)), np.uint64)


def _falls_into(hashed: npt.NDArray[np.uint64], share: float) -> Bools:
    return np.asarray((hashed >> np.uint64(11)).astype(np.float64) < share * 2.0**53)


def write_sample(storage: Storage, folder: str, read: Read, part: Part, share: float) -> str:
    """Write the sampled vectors of a part for training; returns the URI."""
    uri = f"{folder}/sample/part-{part[0]:05d}.npz"
    if not storage.is_whole(uri):
        vectors, ids = sample_part(read, part, share)
        if vectors.dtype != np.uint8:
            check_vectors(vectors.astype(np.float32), ids, part[1])
        write_arrays(storage, uri, part[1], vectors=vectors, ids=ids)
    return uri


def read_sample(storage: Storage, uris: Sequence[str]) -> Vectors:
    """All sampled vectors, ordered by content."""
    pieces = [read_arrays(storage, uri)[1] for uri in uris]
    if not pieces:
        raise InputError("an index needs at least one vector: the collection has no parts")
    kept = [piece for piece in pieces if len(piece["ids"])] or pieces[:1]
    keys = [content_keys(piece["vectors"], piece["ids"]) for piece in kept]
    order = np.argsort(np.concatenate(keys), kind="stable")
    vectors: Vectors = np.concatenate([piece["vectors"] for piece in kept])[order]
    return vectors


def route_part(
    storage: Storage,
    folder: str,
    read: Read,
    part: Part,
    partition: Partition,
    probes: int = 1,
) -> str:
    """Code the vectors of a part and write them sorted by list; returns the spill's URI.

    With `probes` over 1, the lists nearest to each vector are kept too, for a search of the
    collection for itself. InputError names the part and what is wrong with a vector.
    """
    number, source = part
    uri = spill_uri(folder, number)
    if storage.is_whole(uri) and (probes == 1 or storage.is_whole(probes_uri(folder, number))):
        return uri
    vectors, ids = read(source)
    check_vectors(partition.decode(vectors), ids, source, partition.dimension)
    if vectors.dtype != np.uint8:
        # Two features of an image may share the geometry that is their id; descriptors may not.
        check_ids(ids, source)
    nearest = partition.nearest_lists(vectors, probes)
    if probes > 1:
        write_arrays(storage, probes_uri(folder, number), source, lists=nearest.astype(np.int32))
    records = np.empty(len(ids), dtype=record_type(partition.code_bytes))
    records["list"], records["id"] = nearest[:, 0], ids
    records["code"] = partition.encode(vectors)
    notes: dict[str, int | str] = {"content": hashlib.sha256(records.tobytes()).hexdigest()}
    if len(ids):
        notes |= {"lowest": int(ids.min()), "highest": int(ids.max())}
    write_spill(storage, uri, nearest[:, 0], records, notes)
    return uri


def check_vectors(vectors: Floats, ids: Ints, source: str, dimension: int = 0) -> None:
    """InputError that names what is wrong: dimension, NaN, zero vectors."""
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise InputError(f"{source}: {len(ids)} ids for vectors of shape {vectors.shape}")
    if dimension and vectors.shape[1] != dimension:
        raise InputError(
            f"{source}: vectors of dimension {vectors.shape[1]}; the index has {dimension}"
        )
    # One NaN or infinity makes the sum of squares one as well.
    squares = np.einsum("ij,ij->i", vectors, vectors)
    for wrong, text in ((~np.isfinite(squares), "not finite"), (squares == 0, "zero")):
        if wrong.any():
            raise InputError(f"{source}: the vector of id {ids[int(np.argmax(wrong))]} is {text}")


def check_ids(ids: Ints, source: str) -> None:
    """InputError that names an id which occurs twice."""
    ordered = np.sort(ids)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(repeated):
        raise InputError(f"{source}: id {repeated[0]} occurs more than once")
