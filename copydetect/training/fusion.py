"""The output of `copydetect calibrate` → the weights of both channels in a candidate's score.

    copydetect calibrate PICTURES --sample 450 --collection 1400 --output CAL
    python -m copydetect.pipelines.recipes fusion CAL

prints the `Fusion` to be written into `copydetect.candidates.fusion`. The descriptor must not have
been trained on PICTURES: there it does too well, and its weight comes out too high. Each made copy
is a query, and the images that it was made of and among are references; a pair of both is a copy
where the one was made of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyarrow import parquet
from sklearn.linear_model import LogisticRegression

from copydetect.candidates.densities import similarity_densities, vote_densities
from copydetect.candidates.fusion import (
    DescriptorPairs,
    Fusion,
    LocalPairs,
    PairSurpluses,
    match_surpluses,
)
from copydetect.errors import InputError
from copydetect.index.channels import read_vectors
from copydetect.search.vote_parts import read_votes
from copydetect.storage.files import LocalStorage
from copydetect.types import Bools, Floats, Ints

_NEIGHBORS = 50


@dataclass(frozen=True)
class Study:
    """A searched collection of originals and their made copies, by image_no.

    originals: (n,) int64, of a copy the image that it was made of, of any other image itself;
    vectors: (n, d) float32, as long as their weights, of zeros where there is no descriptor; votes:
    of every image for others.
    """

    originals: Ints
    vectors: Floats
    votes: LocalPairs

    @property
    def is_copy(self) -> Bools:
        """(n,) bool."""
        return np.not_equal(self.originals, np.arange(len(self.originals)))


def read_study(folder: Path) -> Study:
    """Read the output of `copydetect calibrate`; InputError where it is not finished."""
    found = sorted(folder.glob("run-*/search/keypoints/votes"))
    if len(found) != 1:
        raise InputError(f"{folder} must hold what one run of copydetect calibrate left")
    run = found[0].parents[2]
    ids = [name for file in _files(run, "images") for name in _column(file, "image_id")]
    number = {image_id: row for row, image_id in enumerate(ids)}
    originals = np.arange(len(ids))
    for file in sorted(run.glob("edits/*/copies/*.parquet")):
        mix = file.parents[1].name
        for copy in parquet.read_table(file).to_pylist():
            originals[number[f"{mix}/{copy['query_id']}"]] = number[copy["reference_id"]]
    tables = [parquet.read_table(file) for file in _files(run, "descriptors")]
    if not tables:
        raise InputError(f"{folder} holds no descriptors: both channels are needed")
    described = np.concatenate(
        [read_vectors(table) * table["weight"].to_numpy()[:, None] for table in tables]
    )
    vectors = np.zeros((len(ids), described.shape[1]), np.float32)
    vectors[[number[name] for table in tables for name in table["image_id"].to_pylist()]] = (
        described
    )
    votes = [read_votes(LocalStorage(), str(file)) for file in sorted(found[0].iterdir())]
    columns = (
        np.concatenate([getattr(part, name) for part in votes])
        for name in ("query", "reference", "votes")
    )
    return Study(originals.astype(np.int64), vectors, LocalPairs(*columns))


def surpluses_of(study: Study) -> tuple[PairSurpluses, Bools]:
    """The surpluses of copies among originals, and which of these pairs are copies."""
    copies = np.flatnonzero(study.is_copy)
    asked = study.is_copy[study.votes.query] & ~study.is_copy[study.votes.reference]
    # Copies are numbered anew, so that densities are those of queries.
    query = np.searchsorted(copies, study.votes.query[asked]).astype(np.int64)
    local = LocalPairs(query, study.votes.reference[asked], study.votes.votes[asked])
    near, exact = _descriptor_pairs(study, copies, local)
    densities = (
        similarity_densities(near.query, near.score, len(copies)),
        vote_densities(local.query, local.votes, len(copies)),
    )
    found = match_surpluses(exact, local, densities)
    return found, study.originals[copies[found.query]] == found.reference


def fit_fusion(pairs: PairSurpluses, labels: Bools) -> Fusion:
    """The weights, by logistic regression; InputError where nothing can be learnt."""
    if pairs.descriptor is None or pairs.local is None or len(np.unique(labels)) < 2:
        raise InputError("the weights need copies and strangers that both channels have searched")
    values = np.stack([pairs.descriptor, pairs.local], axis=1)
    model = LogisticRegression(C=1000.0, max_iter=1000).fit(values, labels)
    return Fusion(float(model.intercept_[0]), float(model.coef_[0, 0]), float(model.coef_[0, 1]))


def _descriptor_pairs(
    study: Study, copies: Ints, local: LocalPairs
) -> tuple[DescriptorPairs, DescriptorPairs]:
    """The nearest originals of each copy; and with them all that votes propose."""
    others = np.flatnonzero(~study.is_copy)
    similarities = study.vectors[copies] @ study.vectors[others].T
    count = min(_NEIGHBORS, len(others))
    nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
    asked = np.repeat(np.arange(len(copies)), count)
    keys = np.unique(
        np.concatenate([asked, local.query]) * len(study.originals)
        + np.concatenate([others[nearest.ravel()], local.reference])
    )
    pairs = []
    for query, reference in (
        (asked, others[nearest.ravel()]),
        np.divmod(keys, len(study.originals)),
    ):
        values = similarities[query, np.searchsorted(others, reference)]
        pairs.append(DescriptorPairs(query, reference, values, values))
    return pairs[0], pairs[1]


def _files(run: Path, table: str) -> list[Path]:
    return sorted((run / table).glob("image-*.parquet"))


def _column(file: Path, name: str) -> list[str]:
    values: list[str] = parquet.read_table(file, columns=[name])[name].to_pylist()
    return values
