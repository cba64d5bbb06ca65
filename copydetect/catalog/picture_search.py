"""One picture, looked up in a catalogue at once: what it is a copy of, with the evidence.

The picture is described as the queries of `match` are; the indexes of the last generation are
visited where they are, and the pairs that both channels propose are verified as in a run. The last
night has measured how crowded the collection is around each image.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from loky import cpu_count
from threadpoolctl import ThreadpoolController

from copydetect.candidates.densities import Densities, similarity_densities, vote_densities
from copydetect.candidates.density_steps import DensityScale
from copydetect.candidates.descriptor_pairs import joined, neighbor_pairs, proposed_pairs
from copydetect.candidates.fusion import CandidatePairs, LocalPairs, merge_pairs
from copydetect.candidates.mapped_tables import DescribedSide
from copydetect.catalog.bank import BankIndex, IndexedSide, index_folder
from copydetect.catalog.catalog import Catalog
from copydetect.catalog.generations import part_uris
from copydetect.description.describing import Describer, local_features
from copydetect.description.keypoints import (
    load_quantiser,
    mirror_vectors,
    quantise,
    reconstruct,
)
from copydetect.description.normalization import normalize_vectors
from copydetect.description.renderings import MOMENTS_DECODED, renderings_of
from copydetect.description.views import VIEW_NAMES, views_of
from copydetect.images.decoding import decode
from copydetect.index.channels import feature_ids, stored_keypoints
from copydetect.options import Channel
from copydetect.parts import RoleParts
from copydetect.search.neighbors import Neighbors
from copydetect.search.vote_parts import hit_rows, most_neighbors
from copydetect.search.votes import Votes, query_features, vote
from copydetect.settings import Settings
from copydetect.storage.files import LocalStorage
from copydetect.types import Bools, Candidate, Failure, Floats, Ints, Keypoints, Match
from copydetect.verification.image_pairs import prepare_decoded
from copydetect.verification.match_parts import PairImages, VerifyOptions, verdict_on
from copydetect.verification.pair_images import LARGEST_PX, PairImage, prepare_whole
from copydetect.verification.priors import Prior
from copydetect.workers.threads import limit_threads


@dataclass(frozen=True)
class PictureSearch:
    """Searches one generation of a catalogue for single pictures. Everything is loaded once.

    settings: of its era, as for `match`; describer: what describes the pictures.
    """

    catalog: Catalog
    settings: Settings
    describer: Describer

    def ask(self, content: bytes, name: str = "1") -> list[Match]:
        """The pairs that were verified, the surest first. content: the bytes of an image file;
        name: what the picture is called, as the query of each. ImageError where it is no image."""
        # Of products as small as these, threads that wait for each other are most of the work.
        with self._threads.limit(limits=1):
            return self._asked(content, name)

    def _asked(self, content: bytes, name: str) -> list[Match]:
        neighbors, side, stored = self._described(content, name)
        votes = self._votes(stored)
        pairs = self._pairs(neighbors, side, votes)
        options = self._verifying
        query = self._opened(content, name, stored)

        def verdict(row: int) -> Match | None:
            number = int(pairs.reference[row])
            reference = self._images.open(number)
            if isinstance(reference, Failure):
                return None
            candidate = _candidate(pairs, row, name)
            points = _points(votes, int(pairs.local_row[row]))
            prior = Prior(candidate.score)
            match = verdict_on(query, reference, candidate, points, prior, options)
            file = self.catalog.standing_files.of(number)
            return replace(match, reference_id=file.image_id, reference_uri=file.uri)

        rows = np.flatnonzero(pairs.score >= options.min_score).tolist()
        # One pair is verified here: a thread would have to be waited for.
        found = self._pool.map(verdict, rows) if len(rows) > 1 else map(verdict, rows)
        matches = [match for match in found if match]
        return sorted(matches, key=lambda match: (-match.confidence, match.reference_id))

    def warm(self) -> None:
        """Load all that the first picture would have to wait for."""
        _ = (self._descriptors, self._side, self._features, self._images)

    @cached_property
    def _threads(self) -> ThreadpoolController:
        """Of the libraries that compute; to look for them takes as long as a picture."""
        return ThreadpoolController()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(cpu_count(), "verify", initializer=limit_threads, initargs=(1,))

    @property
    def _verifying(self) -> VerifyOptions:
        return self.settings.verification.for_collection(len(self.catalog.standing_files))

    @cached_property
    def _living(self) -> Bools:
        living = np.zeros(max(self.catalog.generation.numbers, 1), np.bool_)
        living[self.catalog.standing_files.contents] = True
        return living

    @cached_property
    def _descriptors(self) -> BankIndex | None:
        return self._index("descriptors", "descriptor")

    @cached_property
    def _features(self) -> BankIndex | None:
        return self._index("keypoints", "local")

    def _index(self, name: str, channel: Channel) -> BankIndex | None:
        catalog = self.catalog
        if channel not in self.settings.channels:
            return None
        folder = index_folder(catalog.storage, catalog.folder, catalog.generation, name)
        return BankIndex(catalog.storage, folder, self._living)

    @cached_property
    def _side(self) -> DescribedSide | None:
        if self._descriptors is None:
            return None
        catalog, reader = self.catalog, self._descriptors.reader
        return IndexedSide.of(catalog.storage, catalog.folder, catalog.generation, reader)

    @cached_property
    def _images(self) -> PairImages:
        """Opens the pictures of the catalogue, and keeps the last few."""
        catalog = self.catalog
        images, features = (
            part_uris(catalog.folder, catalog.generation.parts, table)
            for table in ("images", "keypoints")
        )
        counts = tuple(part.rows for part in catalog.generation.parts)
        side = RoleParts(images, counts, keypoints=features)
        stored = stored_keypoints(catalog.storage, side)
        return PairImages(catalog.storage, side.numbers(catalog.storage), self._verifying, stored)

    def _described(
        self, content: bytes, name: str
    ) -> tuple[Neighbors | None, DescribedSide | None, Keypoints | None]:
        """The neighbours of a picture's descriptors, the descriptors themselves, and its local
        features."""
        describer, options = self.describer, self.describer.options
        decoded = decode(
            content, describer.side_px, options.decoding, in_pieces=True, moments=MOMENTS_DECODED
        )
        renderings = renderings_of(decoded)
        views = views_of(renderings, options.views)
        stored = None
        if describer.quantiser is not None:
            features = local_features(renderings, views, options.keypoints)
            stored = quantise(features, describer.quantiser, name, options.keypoints)
        if describer.embedder is None or self._descriptors is None:
            return None, None, stored
        vectors = describer.embedder.embed([view.pixels for view in views])
        vectors, weights = normalize_vectors(vectors, describer.background)
        ids = np.array([VIEW_NAMES.index(view.name) for view in views], np.int64)
        order = np.argsort(ids)
        ids, vectors, weights = ids[order], vectors[order], weights[order]
        search = self.settings.descriptor_search(symmetric=False)
        found = self._descriptors.nearest(vectors, ids, search)
        return found, _QuerySide(vectors, ids, weights), stored

    def _votes(self, stored: Keypoints | None) -> Votes | None:
        """The votes of a picture's local features."""
        if stored is None or self._features is None:
            return None
        quantiser = load_quantiser()
        features, _ = query_features([0], [stored], quantiser)
        vectors = mirror_vectors(reconstruct(stored.codes, quantiser), quantiser)
        options = self.settings.feature_search(symmetric=False)
        asked = [feature_ids(0, stored, mirrored) for mirrored in (False, True)]
        nearest = partial(self._features.nearest, options=options)
        found = list(self._pool.map(nearest, (stored.codes, vectors), asked))
        width = max(1, *map(most_neighbors, found))
        rows = [hit_rows(one, ids, width) for one, ids in zip(found, asked, strict=True)]
        ids, distances = (np.concatenate(column) for column in zip(*rows, strict=True))
        return vote(features, ids, distances)

    def _pairs(
        self, neighbors: Neighbors | None, side: DescribedSide | None, votes: Votes | None
    ) -> CandidatePairs:
        """What both channels propose, scored by how crowded it is around the picture."""
        scale = DensityScale(
            **{
                name: self.catalog.generation.quality.get(name, value)
                for name, value in vars(DensityScale()).items()
            }
        )
        described = local = None
        densities: tuple[Densities | None, Densities | None] = (None, None)
        if neighbors is not None and side is not None and self._side is not None:
            found = neighbor_pairs(neighbors, side, self._side)
            crowd = similarity_densities(
                found[0].query, found[0].score, 1, fallback=np.full(1, scale.usual, np.float32)
            )
            densities = (replace(crowd, spread=scale.similarity_spread), None)
            if votes is not None:
                more = proposed_pairs((votes.query, votes.reference), found[0], side, self._side)
                found = joined(found, more)
            described = found[0]
        if votes is not None:
            may_be = None if densities[0] is None else densities[0].crowded
            unit = scale.unit or None
            voted = vote_densities(votes.query, votes.votes, 1, unit=unit, may_be_crowded=may_be)
            densities = (densities[0], replace(voted, spread=scale.vote_spread))
            local = LocalPairs(votes.query, votes.reference, votes.votes)
        options = self.settings.candidates
        return merge_pairs(described, local, densities, options, symmetric=False)

    def _opened(self, content: bytes, name: str, stored: Keypoints | None) -> PairImage:
        options = self._verifying
        side_px = options.matching.working_px * 2
        decoded = decode(
            content, side_px, options.decoding, in_pieces=True, moments=MOMENTS_DECODED
        )
        image = prepare_decoded(name, decoded, options.matching, stored)

        def reopen() -> PairImage:
            return prepare_whole(name, decode(content, LARGEST_PX, options.decoding))

        return replace(image, uri=name, reopen=reopen)


class _QuerySide(DescribedSide):
    """The descriptors of one picture, in memory."""

    def __init__(self, held: Floats, ids: Ints, weights: Floats) -> None:
        unasked, start = np.zeros(len(ids), np.bool_), np.zeros(1, np.int64)
        super().__init__(LocalStorage(), "", ids, weights, unasked, start)
        object.__setattr__(self, "_held", held.astype(np.float16).astype(np.float32))

    def vectors(self, rows: Ints) -> Floats:
        held: Floats = self.__dict__["_held"][rows]
        return held


def _candidate(pairs: CandidatePairs, row: int, name: str) -> Candidate:
    return Candidate(
        query_id=name,
        reference_id=str(int(pairs.reference[row])),
        similarity=float(pairs.similarity[row]),
        descriptor_score=float(pairs.descriptor_score[row]),
        votes=float(pairs.votes[row]),
        local_score=float(pairs.local_score[row]),
        score=float(pairs.score[row]),
        query_view="",
        reference_view="",
        rank=int(pairs.rank[row]),
    )


def _points(votes: Votes | None, row: int) -> Floats:
    if votes is None or row < 0:
        return np.empty((0, 4), np.float32)
    return votes.points[votes.starts[row] : votes.starts[row + 1]]
