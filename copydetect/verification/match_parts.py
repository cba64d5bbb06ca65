"""One part of candidates → its matches and failures; images are opened once for many pairs."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from copydetect import tables
from copydetect.candidates.pair_numbers import read_pairs
from copydetect.description.renderings import MOMENTS_DECODED
from copydetect.errors import ImageError, is_transient
from copydetect.images.decoding import DecodeOptions, decode
from copydetect.index.channels import StoredKeypoints
from copydetect.inputs.listing import CHANGED
from copydetect.inputs.sources import read_refs
from copydetect.parts import ImageNumbers
from copydetect.storage.files import Storage
from copydetect.types import DEADLY, Candidate, Failure, ImageRow, Match
from copydetect.verification.calibration import (
    IDENTITY,
    Calibration,
    are_copies,
    bundled_calibration,
)
from copydetect.verification.image_pairs import prepare_decoded, verify_images
from copydetect.verification.matches import MatchOptions
from copydetect.verification.pair_images import LARGEST_PX, PairImage, prepare_whole
from copydetect.verification.priors import Prior, Standing
from copydetect.verification.proved_families import in_proved_families, numbered

IMAGES_KEPT = 512
_CROWD = 100
_LARGE_KEPT = 8


@dataclass(frozen=True)
class VerifyOptions:
    """Which candidates are verified, and how. min_score: candidates below it, in log-odds, count as
    strangers and are not verified; matching, decoding: of the pairs that are looked at; enough:
    proved copies of an image after which its spare candidates need no look, where groups are not
    made with them (as in nights); standing: what other pairs say of these, None where
    those of the part itself tell; threshold: tells the confidence from which pairs count as copies,
    where that is found out on a worker, before any pair is verified.
    """

    min_score: float = -7.0
    enough: int = 10
    standing: Standing | None = None
    matching: MatchOptions = field(default_factory=MatchOptions)
    decoding: DecodeOptions = field(default_factory=DecodeOptions)
    calibration: Calibration = IDENTITY
    threshold: Callable[[], float] | None = None

    def reporting_from(self, min_confidence: float) -> VerifyOptions:
        """The same with another confidence from which pairs count as copies."""
        matching = replace(self.matching, min_confidence=min_confidence)
        return replace(self, matching=matching, threshold=None)

    def for_collection(self, references: int) -> VerifyOptions:
        """The same options, adapted to the number of images that were searched and, on a worker,
        to the threshold that was found.

        Among few images nothing tells how crowded it is around one, so that scores mean nothing:
        all may be copies of each other. There all candidates are verified.
        """
        if self.threshold is not None:
            return self.reporting_from(self.threshold()).for_collection(references)
        if references >= _CROWD:
            return self
        by_confidence = bundled_calibration(()) if self.calibration.channels else self.calibration
        matching = replace(self.matching, scored=False)
        return replace(self, min_score=-math.inf, matching=matching, calibration=by_confidence)


class PairImages:
    """Opens the images of one side for verification and keeps the last few; safe for threads."""

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
        self._unreadable: dict[int, list[Failure]] = {}
        self._large: OrderedDict[int, PairImage | None] = OrderedDict()
        self._lock = Lock()
        self._deadly: frozenset[int] = frozenset()

    def avoid(self, numbers: Collection[int]) -> None:
        """Have images with these numbers fail without a look: they end the process that opens
        them."""
        self._deadly |= frozenset(numbers)

    def unreadable(self, number: int) -> Sequence[Failure]:
        """Of an image that was opened: its byte-identical files that could not be, each once."""
        return self._unreadable.get(number, ())

    def open(self, number: int) -> PairImage | Failure:
        """The image with this image_no, from the first of its byte-identical files that can be
        read, or why the first cannot be opened any more."""
        with self._lock:
            found = self._kept.get(number) or self._numbers.row(number)
        if isinstance(found, ImageRow):
            # Not under the lock: two threads may open the same image, and the later one stays.
            found = self._opened(number, found)
            if isinstance(found, Failure):
                found = self._opened_in_its_place(number, found)
        with self._lock:
            self._kept[number] = found
            self._kept.move_to_end(number)
            held = sum(map(_pictures, self._kept.values())) if _pictures(found) > 1 else 0
            while len(self._kept) > 1 and max(len(self._kept), held) > self._most:
                _, dropped = self._kept.popitem(last=False)
                held -= _pictures(dropped)
        return found

    def _opened_in_its_place(self, number: int, failure: Failure) -> PairImage | Failure:
        """A twin of an image that failed; the failure where there is none that can be opened."""
        with self._lock:
            first, *others = self._numbers.twins(number)
        failures = [failure]
        found: PairImage | Failure = failure
        for row in others:
            found = self._opened(number, row)
            if not isinstance(found, Failure):
                found = replace(found, image_id=first.image_id)
                break
            failures.append(found)
        self._unreadable[number] = failures
        return found if not isinstance(found, Failure) else failure

    def _opened(self, number: int, row: ImageRow) -> PairImage | Failure:
        if number in self._deadly:
            # Memory may have run out, and there may be more another time.
            return replace(_failure(row, DEADLY, retryable=True), error_type="WorkerError")
        content = self._read(row)
        if isinstance(content, Failure):
            return content
        options = self._options
        try:
            # Twice the working size, so that the last reduction is a good one.
            side = options.matching.working_px * 2
            decoded = decode(
                content, side, options.decoding, in_pieces=True, moments=MOMENTS_DECODED
            )
            keypoints = (
                self._stored.of(number, row.duplicate_of or row.image_id) if self._stored else None
            )
            image = prepare_decoded(row.image_id, decoded, options.matching, keypoints)
            reopen = partial(self._at_full_size, number, row)
            return replace(image, uri=row.uri, reopen=reopen)
        except ImageError as error:
            return _failure(row, str(error), is_transient(error))

    def _at_full_size(self, number: int, row: ImageRow) -> PairImage | None:
        """With as many pixels as are ever compared; None where it cannot be read any more."""
        with self._lock:
            if number in self._large:
                self._large.move_to_end(number)
                return self._large[number]
        content = self._read(row)
        image = None
        if not isinstance(content, Failure):
            try:
                decoded = decode(content, LARGEST_PX, self._options.decoding)
                image = prepare_whole(row.image_id, decoded)
            except ImageError:
                image = None  # it was decoded before, smaller: memory may be short
        with self._lock:
            self._large[number] = image
            if len(self._large) > _LARGE_KEPT:
                self._large.popitem(last=False)
        return image

    def _read(self, row: ImageRow) -> bytes | Failure:
        """The bytes of a file, if they are what they were when the run began."""
        ((_, content),) = read_refs(self._storage, [row.ref])
        if isinstance(content, Failure):
            return replace(content, stage="verify")
        if hashlib.sha256(content).hexdigest() != row.sha256:
            return _failure(row, CHANGED, retryable=True)
        return content


@dataclass(frozen=True)
class MatchTables:
    """The results of verifying one part: rows of `matches` and of `failures`."""

    matches: pa.Table
    failures: pa.Table


class OpenedPair(NamedTuple):
    """A candidate, its two images, the correspondences of the search, and files that failed."""

    candidate: Candidate
    query: PairImage | Failure
    reference: PairImage | Failure
    points: npt.NDArray[np.float32]
    failures: tuple[Failure, ...]


def verify_part(
    storage: Storage,
    candidates_uri: str,
    pairs_uri: str,
    sides: tuple[PairImages, PairImages],
    options: VerifyOptions,
) -> MatchTables:
    """Verify the candidates of one part, from `min_score` up; rows in the order of their table.

    Spare ones are left out: the work grows with the number of copies, not with its square.

    sides: images of the queries and of the references. A file that cannot be opened is a failure,
    named once; its pairs are left out unless a byte-identical file can be opened in its place.
    """
    verdicts: dict[int, _Verdict] = {}
    failures: dict[tuple[str, str], Failure] = {}
    opened = opened_pairs(
        storage, candidates_uri, pairs_uri, sides, options, lambda _, candidate: not candidate.spare
    )
    for row, (candidate, query, reference, points, failed) in opened:
        failures |= {(failure.role, failure.image_id): failure for failure in failed}
        if not isinstance(query, Failure) and not isinstance(reference, Failure):
            prior = Prior.of(candidate, options.standing or Standing.ALONE)
            verdicts[row] = _verdict(query, reference, candidate, points, prior, options)
    candidates = {row: verdict.candidate for row, verdict in verdicts.items()}
    sure = np.array([verdict.match.confidence for verdict in verdicts.values()], np.float64)
    least = options.matching.min_confidence
    ends = numbered([(one.query_id, one.reference_id) for one in candidates.values()])
    crowded = np.array([one.crowded for one in candidates.values()], np.bool_)
    families = in_proved_families(ends, crowded, sure, least)
    told = options.standing is not None
    for row in () if told else np.array(list(verdicts))[families].tolist():
        prior = Prior.of(candidates[row], Standing.FAMILY)
        verdicts[row] = verdicts[row].judged_again(prior, options)
    again = {row for row, verdict in verdicts.items() if verdict.overturned}
    opened = opened_pairs(
        storage, candidates_uri, pairs_uri, sides, options, lambda row, _: row in again
    )
    for row, (candidate, query, reference, points, _) in opened if again else ():
        if not isinstance(query, Failure) and not isinstance(reference, Failure):
            prior = Prior.of(candidate, Standing.FAMILY)
            verdicts[row] = _verdict(query, reference, candidate, points, prior, options)
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
    wanted: Callable[[int, Candidate], bool] = lambda row, candidate: True,
) -> Iterator[tuple[int, OpenedPair]]:
    """The candidates of one part that are verified, with their rows, in the order of their table.

    wanted: returns whether a row, with its candidate, is verified; it is called when the row's turn
    comes.
    """
    table = tables.read_table(storage, candidates_uri)
    pairs = read_pairs(storage, pairs_uri)
    for row, candidate in _chosen(table, options):
        if not wanted(row, candidate):
            continue
        numbers = int(pairs.query[row]), int(pairs.reference[row])
        query, reference = (side.open(number) for side, number in zip(sides, numbers, strict=True))
        failed = (side.unreadable(number) for side, number in zip(sides, numbers, strict=True))
        points = pairs.correspondences(row)
        yield row, OpenedPair(candidate, query, reference, points, tuple(chain(*failed)))


@dataclass(frozen=True)
class _Verdict:
    """A match with a calibrated confidence, and the inputs that it was calibrated from.

    overturned: whether another prior makes it a copy, which the rest of the match does not show
    yet.
    """

    candidate: Candidate
    match: Match
    overturned: bool = False

    def judged_again(self, prior: Prior, options: VerifyOptions) -> _Verdict:
        """The same by another prior."""
        proof, other_content = self.match.proof or 0.0, self.match.other_content or 0.0
        confidence = prior.confidence(proof, other_content, options.calibration)
        least = options.matching.min_confidence
        is_copy = bool(are_copies(confidence, other_content, least))
        match = replace(self.match, confidence=confidence)
        return _Verdict(self.candidate, match, is_copy != self.match.is_copy)


def _verdict(
    query: PairImage,
    reference: PairImage,
    candidate: Candidate,
    points: npt.NDArray[np.float32],
    prior: Prior,
    options: VerifyOptions,
) -> _Verdict:
    """The verdict on a pair by its pixels and its prior."""
    believe = partial(prior.confidence, calibration=options.calibration)
    match = verify_images(query, reference, candidate, points, options.matching, believe)
    return _Verdict(candidate, replace(match, query_uri=query.uri, reference_uri=reference.uri))


def verdict_on(
    query: PairImage,
    reference: PairImage,
    candidate: Candidate,
    points: npt.NDArray[np.float32],
    prior: Prior,
    options: VerifyOptions,
) -> Match:
    """The calibrated verdict on one pair; points: what the search found to agree."""
    return _verdict(query, reference, candidate, points, prior, options).match


def _chosen(table: pa.Table, options: VerifyOptions) -> Iterator[tuple[int, Candidate]]:
    """Rows of a candidates table that are verified; NaN instead of null."""
    for row, values in enumerate(table.to_pylist()):
        if values["score"] >= options.min_score:
            yield row, Candidate.of_row(values)


def _pictures(image: PairImage | Failure) -> int:
    """How many pictures are held for an image: an animation is as many as its moments."""
    return 1 if isinstance(image, Failure) else 1 + len(image.later)


def _failure(row: ImageRow, message: str, retryable: bool) -> Failure:
    return Failure(row.image_id, row.uri, "verify", "ImageError", message, row.role, retryable)
