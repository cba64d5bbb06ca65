"""Vectors for search benchmarks: like real descriptors, as many as wanted, with planted pairs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import faiss
import numpy as np

from copydetect.description.descriptors import load_model
from copydetect.errors import ImageError, InputError
from copydetect.images.decoding import decode
from copydetect.inputs.finding import find_sources
from copydetect.inputs.sources import Sources, read_source
from copydetect.storage.files import Storage
from copydetect.types import Doubles, Failure, Floats, ImageRef, Ints, Pixels

PART_VECTORS = 8192
_BATCH_IMAGES = 64


def describe(storage: Storage, pictures: str) -> Floats:
    """Descriptors (n, d) of all pictures of an input, by the bundled model."""
    embedder = load_model()
    images = (pixels for _, pixels in decoded(storage, find_sources(storage, pictures)))
    batches = []
    while batch := list(islice(images, _BATCH_IMAGES)):
        batches.append(embedder.embed(batch))
    if not batches:
        raise InputError(f"{pictures} holds no picture that can be decoded")
    return np.concatenate(batches)


def decoded(
    storage: Storage, sources: Sources, side_px: int = 448
) -> Iterator[tuple[ImageRef, Pixels]]:
    """The pictures of an input that can be decoded, each scaled down to `side_px`."""
    for source in sources.pieces:
        for ref, content in read_source(storage, source):
            if not isinstance(content, Failure):
                with contextlib.suppress(ImageError):
                    yield ref, decode(content, side_px).pixels


def shortened(vectors: Floats, dimension: int) -> Floats:
    """The first components, unit length again: what whitening to fewer dimensions gives."""
    short = vectors[:, :dimension]
    units: Floats = (short / np.linalg.norm(short, axis=1, keepdims=True)).astype(np.float32)
    return units


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians: each of a mean, `rank` directions and a diagonal rest.

    weights: (c,); means: (c, d); directions: (c, rank, d), scaled; rest: (c, d), deviations.
    """

    weights: Doubles
    means: Floats
    directions: Floats
    rest: Floats

    def sample(self, count: int, rng: np.random.Generator) -> Floats:
        """Unit vectors (count, d)."""
        component = rng.choice(len(self.weights), count, p=self.weights)
        vectors = np.empty((count, self.means.shape[1]), np.float32)
        for number in np.unique(component):
            rows = np.flatnonzero(component == number)
            inside = rng.normal(size=(len(rows), self.directions.shape[1])).astype(np.float32)
            outside = rng.normal(size=(len(rows), vectors.shape[1])).astype(np.float32)
            vectors[rows] = self.means[number] + inside @ self.directions[number]
            vectors[rows] += outside * self.rest[number]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


def fit_mixture(vectors: Floats, components: int = 512, rank: int = 8) -> Mixture:
    """Fit the mixture by k-means and, in each cluster, principal components.

    With 512 components of rank 8 a sample has the same mean similarity to its nearest and to its
    ten nearest as the descriptors of 19,680 pictures that it was fitted to (.536 and .444).
    """
    components = min(components, max(1, len(vectors) // 8))
    kmeans = faiss.Kmeans(vectors.shape[1], components, niter=15, seed=1, min_points_per_centroid=1)
    kmeans.train(vectors)
    member = kmeans.index.search(vectors, 1)[1][:, 0]
    means = np.zeros((components, vectors.shape[1]), np.float32)
    directions = np.zeros((components, rank, vectors.shape[1]), np.float32)
    rest = np.zeros_like(means)
    for number in np.unique(member):
        rows = vectors[member == number]
        means[number] = rows.mean(axis=0)
        centred = rows - means[number]
        _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
        kept = min(rank, len(rows) - 1)
        directions[number, :kept] = axes[:kept] * (sizes[:kept, None] / np.sqrt(len(rows)))
        left = (centred**2).mean(axis=0) - (directions[number] ** 2).sum(axis=0)
        rest[number] = np.sqrt(np.maximum(left, 0))
    weights = np.bincount(member, minlength=components) / len(vectors)
    return Mixture(weights, means, directions, rest)


@dataclass(frozen=True)
class Planted:
    """Pairs at known similarities: first, second: (p,) int64 ids; similarity: (p,)."""

    first: Ints
    second: Ints
    similarity: Floats


def plant(vectors: Floats, pairs: int, rng: np.random.Generator) -> Planted:
    """Make pairs of rows alike, in place: inner products of .5, .6, .7, .8 and .9, as many each."""
    rows = rng.choice(len(vectors), (2, pairs), replace=False)
    similarity = np.resize(np.array([0.5, 0.6, 0.7, 0.8, 0.9], np.float32), pairs)
    first, other = vectors[rows[0]], vectors[rows[1]]
    other = other - (other * first).sum(axis=1, keepdims=True) * first
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    along = similarity[:, None]
    vectors[rows[1]] = along * first + np.sqrt(1 - along**2) * other
    return Planted(rows[0].astype(np.int64), rows[1].astype(np.int64), similarity)


@dataclass(frozen=True)
class VectorFiles:
    """Vectors in files of `PART_VECTORS`; an id is the row in all of them. Reads a part."""

    folder: str
    vectors: int
    dimension: int

    def parts(self) -> list[tuple[int, str]]:
        """(number, path) of each part."""
        count = -(-self.vectors // PART_VECTORS)
        return [(number, f"{self.folder}/part-{number:05d}.npy") for number in range(count)]

    def __call__(self, path: str) -> tuple[Floats, Ints]:
        vectors = np.load(path).astype(np.float32)
        start = int(Path(path).stem.split("-")[1]) * PART_VECTORS
        return vectors, np.arange(start, start + len(vectors))


def write_vectors(
    folder: str, real: Floats, count: int, seed: int = 0
) -> tuple[VectorFiles, Planted]:
    """Real descriptors, then as many of the mixture as make `count`, shuffled; 1 % are planted."""
    rng = np.random.default_rng(seed)
    more = max(0, count - len(real))
    vectors = np.empty((count, real.shape[1]), np.float32)
    vectors[: count - more] = real[rng.permutation(len(real))[: count - more]]
    mixture = fit_mixture(real)
    for start in range(count - more, count, 1 << 16):
        stop = min(start + (1 << 16), count)
        vectors[start:stop] = mixture.sample(stop - start, rng)
    rng.shuffle(vectors)
    planted = plant(vectors, max(5, count // 100), rng)
    files = VectorFiles(folder, count, real.shape[1])
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, path in files.parts():
        start = number * PART_VECTORS
        np.save(path, vectors[start : start + PART_VECTORS].astype(np.float16))
    return files, planted
