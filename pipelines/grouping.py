"""The last stage of `dedup`: matches → groups that are whole, and whose kept images have been
compared with all that could go for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.grouping.comparisons import (
    comparisons_name,
    spare_candidates,
    write_comparisons,
)
from copydetect.grouping.groups import (
    COMPARISONS,
    GroupOptions,
    group_copies,
    images_to_look_at,
    pairs_to_compare,
    pairs_to_connect,
)
from copydetect.grouping.involved import involved
from copydetect.grouping.places import groups_table
from copydetect.parts import Sides
from copydetect.settings import Settings
from copydetect.transforms.candidates_to_matches import CandidatesToMatches
from copydetect.types import Candidate
from copydetect.verification.match_parts import VerifyOptions
from copydetect.verification.whole_families import PartFiles, judge_families

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
    judged = _judge_families(place, sides, uris, verifying)
    spare = spare_candidates(place.storage, uris["candidates"])
    images, matches = involved(
        lambda: (tables.read_table(place.storage, uri) for uri in uris["images"]),
        tables.read_tables(place.storage, judged, tables.MATCHES),
        spare,
    )
    unreadable = _unreadable(place, uris["failures"], images)
    options = GroupOptions(keep=settings.keeping, neighbors=settings.k)
    compared, failed = [], []

    def compare(stage: str, pairs: Sequence[Candidate]) -> pa.Table:
        found, not_read = _compare(place, sides, stage, pairs, images, verifying)
        compared.extend(found)
        failed.extend(not_read)
        unreadable.extend(_unreadable(place, not_read, images))
        return tables.read_tables(place.storage, found, tables.MATCHES)

    pairs = pairs_to_connect(images, matches, spare, options, unreadable) if len(spare) else []
    matches = pa.concat_tables([matches, compare("connect families", pairs)])
    looked = look_back(place, images_to_look_at(images, matches), settings.decoding)
    histories = tables.read_tables(place.storage, looked, tables.HISTORIES)
    more = tables.MATCHES.empty_table()
    for _ in range(COMPARISONS):
        pairs = pairs_to_compare(images, matches, options, histories, unreadable, spare, more)
        more = pa.concat_tables([more, compare("compare with the kept", pairs)])
    members = group_copies(images, matches, options, histories, unreadable, spare, more)
    grouped = runs.join(place.folder, "groups", runs.part_name(0))
    tables.write_table(place.storage, grouped, groups_table(members, images))
    return {
        "histories": looked,
        "groups": [grouped],
        "matches": judged + compared,
        "failures": uris["failures"] + failed,
    }


def _judge_families(
    place: Workplace, sides: Sides, uris: Mapping[str, list[str]], options: VerifyOptions
) -> list[str]:
    """The matches tables, by part, with what the families of all parts say of their pairs."""
    storage, matches = place.storage, list(uris["matches"])
    parts = range(len(matches))
    pairs = [runs.join(place.folder, "pairs", runs.part_name(part, "npz")) for part in parts]
    files = zip(parts, uris["candidates"], pairs, matches, strict=True)
    work = [PartFiles(*one) for one in files]
    options = options.for_collection(sides.references.images)
    scratch = runs.join(place.folder, "search", "families")

    def verify(name: str, todo: list[PartFiles], told: VerifyOptions) -> list[pa.Table]:
        transform = CandidatesToMatches(storage, sides, told, runs.join(scratch, name))
        some = [files[:3] for files in todo]
        place.engine.run("judge families", lambda p: p | beam.Create(some) | transform)
        return [tables.read_table(storage, files.matches) for files in todo]

    for part, table in judge_families(storage, scratch, work, options, verify).items():
        matches[part] = place.part_uri("judged", part)
        tables.write_table(storage, matches[part], table)
    return matches


def _compare(
    place: Workplace,
    sides: Sides,
    stage: str,
    pairs: Sequence[Candidate],
    images: pa.Table,
    options: VerifyOptions,
) -> tuple[list[str], list[str]]:
    """Verify pairs that were left out before; the tables of matches and of failures.

    images: those that are involved.
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
        stage,
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
