"""One part of candidates → its matches and failures; images are opened once for many pairs."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from copydetect import tables
from copydetect.candidates.candidate_parts import read_pairs
from copydetect.errors import ImageError
from copydetect.evaluation.calibration import IDENTITY, Calibration
from copydetect.images import DecodeOptions, decode
from copydetect.index.channels import StoredKeypoints
from copydetect.inputs.sources import read_refs
from copydetect.parts import ImageNumbers
from copydetect.storage import Storage
from copydetect.types import Candidate, Failure, ImageRow, Match
from copydetect.verification.matches import MatchOptions, prepare_image, verify_pair
from copydetect.verification.pair_images import PairImage
from copydetect.verification.proved_families import counted_score, in_proved_families

IMAGES_KEPT = 512


@dataclass(frozen=True)
class VerifyOptions:
    """Which candidates are verified, and how.

    min_score: candidates below, in log-odds, are no copies without a look; matching, decoding: of
    the pairs that are looked at.
    """

    min_score: float = -7.0
    matching: MatchOptions = field(default_factory=MatchOptions)
    decoding: DecodeOptions = field(default_factory=DecodeOptions)
    calibration: Calibration = IDENTITY


class PairImages:
    """Opens the images of one side for verification, and keeps the last few, for any thread."""

    def __init__(
        self,
        storage: Storage,
        numbers: ImageNumbers,
        options: VerifyOptions,
        stored: StoredKeypoints | None = None,
        kept: int = IMAGES_KEPT,
    ) -> None:
        """stored: the local features that the search has compared, None where it has not; kept: how
        many images stay open, of 1 to 2 MB each."""
        self._storage = storage
        self._numbers = numbers
        self._options = options
        self._stored = stored
        self._most = kept
        self._kept: OrderedDict[int, PairImage | Failure] = OrderedDict()
        self._lock = Lock()

    def open(self, number: int) -> PairImage | Failure:
        """The image with this image_no, or why it cannot be opened any more."""
        with self._lock:
            found = self._kept.get(number) or self._numbers.row(number)
        if isinstance(found, ImageRow):
            # Not under the lock: two threads may open the same image, and the later one stays.
            found = self._opened(number, found)
        with self._lock:
            self._kept[number] = found
            self._kept.move_to_end(number)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found

    def _opened(self, number: int, row: ImageRow) -> PairImage | Failure:
        ((_, content),) = read_refs(self._storage, [row.ref])
        if isinstance(content, Failure):
            return replace(content, stage="verify")
        if hashlib.sha256(content).hexdigest() != row.sha256:
            return _failure(row, "the file changed while the run went on")
        options = self._options
        try:
            # Twice the working size, so that the last reduction is a good one.
            side = options.matching.working_px * 2
            decoded = decode(content, side, options.decoding)
            size = (decoded.width_px, decoded.height_px)
            keypoints = (
                self._stored.of(number, row.duplicate_of or row.image_id) if self._stored else None
            )
            image = prepare_image(row.image_id, decoded.pixels, options.matching, size, keypoints)
            return replace(image, uri=row.uri)
        except ImageError as error:
            return _failure(row, str(error))


@dataclass(frozen=True)
class MatchTables:
    """What verifying one part gives: rows of `matches` and of `failures`."""

    matches: pa.Table
    failures: pa.Table


OpenedPair = tuple[Candidate, PairImage | Failure, PairImage | Failure, npt.NDArray[np.float32]]
"""A candidate, its two images, and the correspondences of the search."""


def verify_part(
    storage: Storage,
    candidates_uri: str,
    pairs_uri: str,
    sides: tuple[PairImages, PairImages],
    options: VerifyOptions,
) -> MatchTables:
    """Verify the candidates of one part, from `min_score` up, in the order of their table.

    sides: images of the queries and of the references. A pair with an image that cannot be opened
    is a failure of that image, named once.
    """
    verdicts: dict[int, _Verdict] = {}
    failures: dict[tuple[str, str], Failure] = {}
    opened = opened_pairs(storage, candidates_uri, pairs_uri, sides, options)
    for row, (candidate, query, reference, points) in opened:
        for image in (query, reference):
            if isinstance(image, Failure):
                failures[image.role, image.image_id] = image
        if not isinstance(query, Failure) and not isinstance(reference, Failure):
            counted = counted_score(candidate)
            verdicts[row] = _verdict(query, reference, candidate, points, counted, options)
    candidates = {row: verdict.candidate for row, verdict in verdicts.items()}
    copies = [verdict.match.is_copy for verdict in verdicts.values()]
    families = in_proved_families(list(candidates.values()), copies)
    for row in np.array(list(verdicts))[families].tolist():
        verdicts[row] = verdicts[row].counting(candidates[row].score, options)
    again = frozenset(row for row, verdict in verdicts.items() if verdict.overturned)
    opened = opened_pairs(storage, candidates_uri, pairs_uri, sides, options, again)
    for row, (candidate, query, reference, points) in opened if again else ():
        if not isinstance(query, Failure) and not isinstance(reference, Failure):
            verdicts[row] = _verdict(query, reference, candidate, points, candidate.score, options)
    matches = [verdict.match for verdict in verdicts.values()]
    return MatchTables(
        tables.rows_to_table(matches, tables.MATCHES),
        tables.rows_to_table(failures.values(), tables.FAILURES),
    )


def opened_pairs(
    storage: Storage,
    candidates_uri: str,
    pairs_uri: str,
    sides: tuple[PairImages, PairImages],
    options: VerifyOptions,
    rows: Collection[int] | None = None,
) -> Iterator[tuple[int, OpenedPair]]:
    """The candidates of one part that are verified, with their rows, in the order of their table.

    rows: of those that are wanted, None for all.
    """
    table = tables.read_table(storage, candidates_uri)
    pairs = read_pairs(storage, pairs_uri)
    for row, candidate in _chosen(table, options):
        if rows is None or row in rows:
            query = sides[0].open(int(pairs.query[row]))
            reference = sides[1].open(int(pairs.reference[row]))
            yield row, (candidate, query, reference, pairs.correspondences(row))


@dataclass(frozen=True)
class _Verdict:
    """A match with a calibrated confidence, and what it was made from.

    proof: the decision's own confidence; overturned: whether it is a copy by a score that has come
    to count, which the rest of the match does not show yet.
    """

    candidate: Candidate
    match: Match
    proof: float
    overturned: bool = False

    def counting(self, score: float, options: VerifyOptions) -> _Verdict:
        """The same with another score."""
        confidence = float(options.calibration.apply(self.proof, score))
        is_copy = self.proof >= options.calibration.needed(options.matching.min_confidence, score)
        match = replace(self.match, confidence=confidence)
        return _Verdict(self.candidate, match, self.proof, is_copy != self.match.is_copy)


def _verdict(
    query: PairImage,
    reference: PairImage,
    candidate: Candidate,
    points: npt.NDArray[np.float32],
    score: float,
    options: VerifyOptions,
) -> _Verdict:
    """The verdict on a pair by its pixels and this score, in log-odds."""
    calibration, matching = options.calibration, options.matching
    needed = calibration.needed(matching.min_confidence, score)
    match = verify_pair(
        query, reference, candidate, points, replace(matching, min_confidence=needed)
    )
    confidence = float(calibration.apply(match.confidence, score))
    found = replace(match, confidence=confidence, query_uri=query.uri, reference_uri=reference.uri)
    return _Verdict(candidate, found, match.confidence)


def _chosen(table: pa.Table, options: VerifyOptions) -> Iterator[tuple[int, Candidate]]:
    """Rows of a candidates table that are verified; NaN instead of null."""
    for row, values in enumerate(table.to_pylist()):
        if values["score"] >= options.min_score:
            for name in ("similarity", "descriptor_score", "votes", "local_score"):
                values[name] = np.nan if values[name] is None else values[name]
            yield row, Candidate(**values)


def _failure(row: ImageRow, message: str) -> Failure:
    return Failure(row.image_id, row.uri, "verify", "ImageError", message, row.role)
