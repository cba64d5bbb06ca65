"""The quantiser of local features: the recipe that made models/keypoints-pq16.safetensors.

    python -m copydetect.pipelines.recipes quantiser PICTURES … --output quantiser.safetensors

Principal components are taken of RootSIFT descriptors together with their mirrored twins. Each
component is even or odd under mirroring, so that mirroring is a change of signs. They are dealt to
the subspaces of a product quantiser so that each subspace has about the same product of variances
(Ge et al. 2013, parametric solution).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from copydetect.description.keypoints import CODEBOOK_STEP, extract, mirror_order
from copydetect.errors import OptionError
from copydetect.storage.files import LocalStorage, Storage
from copydetect.training.pictures import pack_pictures
from copydetect.types import Doubles, Floats

_CENTROIDS = 256
_ITERATIONS = 15
_SHORT_SIDE_PX = 448


def descriptors_of(inputs: Sequence[str]) -> Floats:
    """(n, 128) RootSIFT descriptors of pictures, as the search extracts them."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = pack_pictures(LocalStorage(), inputs, Path(folder), _SHORT_SIDE_PX)
        return np.concatenate([extract(pictures[i]).descriptors for i in range(len(pictures))])


def fit_quantiser(
    descriptors: Floats, dimension: int = 64, subspaces: int = 16
) -> dict[str, Floats]:
    """The tensors of `keypoints.Quantiser` by name, fitted to (n, 128) RootSIFT descriptors.

    OptionError where `subspaces` does not divide `dimension` or n is below 256.
    """
    if dimension % subspaces:
        raise OptionError(f"{subspaces} subspaces don't divide {dimension} dimensions")
    if len(descriptors) < _CENTROIDS:
        raise OptionError(f"{len(descriptors)} descriptors, must be at least {_CENTROIDS}")
    both = np.concatenate([descriptors, descriptors[:, mirror_order()]])
    mean = both.mean(axis=0)
    axes, variances, signs = _even_and_odd_axes(np.cov((both - mean).T))
    order = _dealt(variances, dimension, subspaces)
    rotation = np.ascontiguousarray(axes[order], np.float32)
    product = faiss.ProductQuantizer(dimension, subspaces, 8)
    product.cp.niter = _ITERATIONS
    product.train(np.ascontiguousarray((both - mean) @ rotation.T, np.float32))
    steps = np.rint(faiss.vector_to_array(product.centroids) / np.float32(CODEBOOK_STEP))
    centroids = (steps * np.float32(CODEBOOK_STEP)).astype(np.float32)
    return {
        "mean": mean.astype(np.float32),
        "rotation": rotation,
        "mirror_signs": signs[order].astype(np.float32),
        "centroids": centroids.reshape(subspaces, _CENTROIDS, dimension // subspaces),
    }


def write_quantiser(tensors: dict[str, Floats], storage: Storage, uri: str) -> None:
    """Write what `keypoints.load_quantiser` reads."""
    storage.write(uri, save(tensors, {"format": "copydetect-keypoint-quantiser"}))


def _even_and_odd_axes(
    covariance: Doubles,
) -> tuple[Doubles, Doubles, Doubles]:
    """Principal axes (128, 128) as rows, their variances, and +1 for even ones, −1 for odd ones.

    The covariance commutes with mirroring, so the even and the odd vectors can be solved apart.
    """
    order = mirror_order()
    unit = np.eye(len(order))
    pairs = [(i, j) for i, j in enumerate(order) if i < j]
    fixed = [unit[i] for i, j in enumerate(order) if i == j]
    even = np.array([*fixed, *((unit[i] + unit[j]) / np.sqrt(2) for i, j in pairs)])
    odd = np.array([(unit[i] - unit[j]) / np.sqrt(2) for i, j in pairs])
    axes, variances, signs = [], [], []
    for basis, sign in ((even, 1.0), (odd, -1.0)):
        values, vectors = np.linalg.eigh(basis @ covariance @ basis.T)
        axes.append(vectors.T @ basis)
        variances.append(values)
        signs.append(np.full(len(values), sign))
    return np.concatenate(axes), np.concatenate(variances), np.concatenate(signs)


def _dealt(variances: Doubles, dimension: int, subspaces: int) -> npt.NDArray[np.intp]:
    """(dimension,) numbers of the strongest axes, grouped by subspace."""
    groups: list[list[int]] = [[] for _ in range(subspaces)]
    products = np.zeros(subspaces)
    strongest = np.argsort(-variances, kind="stable")[:dimension]
    # Logarithms above 0, so that each axis fills its subspace.
    logarithms = np.log(variances[strongest] / variances[strongest].min()) + 1
    for axis, logarithm in zip(strongest, logarithms, strict=True):
        open_groups = [g for g in range(subspaces) if len(groups[g]) < dimension // subspaces]
        emptiest = min(open_groups, key=lambda group: products[group])
        groups[emptiest].append(int(axis))
        products[emptiest] += logarithm
    return np.array([axis for group in groups for axis in group], np.intp)
