"""The last stage of `dedup`: matches → groups, whose kept images have been compared with all that
could go for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.grouping.comparisons import comparisons_name, write_comparisons
from copydetect.grouping.groups import (
    GroupOptions,
    group_copies,
    images_to_look_at,
    pairs_to_compare,
)
from copydetect.grouping.involved import involved
from copydetect.grouping.places import groups_table
from copydetect.parts import Sides
from copydetect.settings import Settings
from copydetect.transforms.candidates_to_matches import CandidatesToMatches
from copydetect.types import Candidate
from copydetect.verification.match_parts import VerifyOptions

from .stages import PAIRS_WORTH_PROCESSES, Workplace, look_back


def group(
    place: Workplace,
    sides: Sides,
    uris: Mapping[str, list[str]],
    settings: Settings,
    verifying: VerifyOptions,
) -> dict[str, list[str]]:
    """Group the verified pairs, in one step: only edges and rows of copies are held.

    uris: of the tables so far; verifying: as all pairs were. Returns those that are new or longer:
    histories of copies, groups, matches, failures.
    """
    verified = tables.read_tables(place.storage, uris["matches"], tables.MATCHES)
    images, matches = involved(
        lambda: (tables.read_table(place.storage, uri) for uri in uris["images"]),
        verified,
    )
    looked = look_back(place, images_to_look_at(images, matches), settings.decoding)
    histories = tables.read_tables(place.storage, looked, tables.HISTORIES)
    options = GroupOptions(keep=settings.keeping, neighbors=settings.k)
    unreadable = _unreadable(place, uris["failures"], images)
    pairs = pairs_to_compare(images, matches, options, histories, unreadable)
    compared, failed = _compare_with_kept(place, sides, pairs, images, verifying)
    more = tables.read_tables(place.storage, compared, tables.MATCHES)
    matches = pa.concat_tables([matches, more])
    unreadable += _unreadable(place, failed, images)
    members = group_copies(images, matches, options, histories, unreadable)
    grouped = runs.join(place.folder, "groups", runs.part_name(0))
    tables.write_table(place.storage, grouped, groups_table(members, images))
    return {
        "histories": looked,
        "groups": [grouped],
        "matches": uris["matches"] + compared,
        "failures": uris["failures"] + failed,
    }


def _compare_with_kept(
    place: Workplace,
    sides: Sides,
    pairs: Sequence[Candidate],
    images: pa.Table,
    options: VerifyOptions,
) -> tuple[list[str], list[str]]:
    """Verify pairs of kept images and members that were not compared; the tables of matches and of
    failures. images: those that are involved.
    """
    if not pairs:
        return [], []
    name = comparisons_name(pairs)
    folder = runs.join(place.folder, "comparisons", name)
    work = write_comparisons(
        place.storage, runs.join(place.folder, "search", "comparisons", name), pairs, images
    )
    matches, failures = (
        [runs.join(folder, table, runs.part_name(part)) for part, _, _ in work]
        for table in ("matches", "verify-failures")
    )
    wanted = place.unfinished(list(zip(matches, failures, strict=True)), failures)
    todo = [one for one in work if one[0] in wanted]
    processes = place.processes(len(pairs), PAIRS_WORTH_PROCESSES)
    transform = CandidatesToMatches(place.storage, sides, options, folder, processes)
    place.engine.run(
        "compare with the kept",
        lambda pipeline: pipeline | beam.Create(todo) | transform,
        total=len(pairs),
        unit="pairs",
        done=lambda: place.done(matches, len(pairs)),
    )
    return matches, failures


def _unreadable(place: Workplace, failures: Sequence[str], images: pa.Table) -> list[str]:
    """Those of some images that tables of failures name."""
    found: list[str] = []
    for uri in failures:
        named = tables.read_table(place.storage, uri, ["image_id"])["image_id"]
        found += named.filter(pc.is_in(named, images["image_id"])).to_pylist()
    return found
