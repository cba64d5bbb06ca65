"""Verdicts → groups with lasting ids, events, and the tables that tell what a night has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from copydetect import runs, tables
from copydetect.catalog.decisions import decided
from copydetect.catalog.drift import crowding, list_sizes
from copydetect.catalog.files import FILES, CatalogFile, NightPlan, key_of, standing_files
from copydetect.catalog.generations import FileEntry, Generation, read_part_table
from copydetect.catalog.grown_index import index_files
from copydetect.catalog.lasting_groups import Event
from copydetect.catalog.readable import images_of, matches_of, named
from copydetect.index.shards import INDEX

from .touched import Results, TouchedGroups
from .verdicts import Found

NIGHT_TABLES = ("images", "matches", "groups", "failures", "events")
"""What a night tells; in a generation they are called "night-images" and so on."""


INDEXES = ("descriptors", "keypoints")
"""Folders of the indexes, one for each channel."""


def results_of(
    results: Results, generation: Generation, found: Found, files: Mapping[int, CatalogFile]
) -> Generation:
    """The generation with its groups, events and tables of the night."""
    standing = standing_files(files.values())
    found = replace(
        found,
        matches=decided(found.matches, results.decided, standing),
        before=decided(found.before, results.decided_before, standing),
    )
    grouping = TouchedGroups(results, generation, found, files)
    groups, lasting, given = grouping.grouped()
    events = [*_image_events(results.plan, files), *grouping.events(lasting)]
    shown = _shown(results, grouping, groups, events, generation)
    write = results.writer.write
    entries: dict[str, tuple[FileEntry, ...]] = {
        name: (write(name, name, table),) for name, table in shown.items()
    }
    told = results.before.tables["events"] if results.before else ()
    entries["events"] = (*told, *entries["events"])
    if results.job.request.forget:
        entries["events"] = (_without_forgotten(results, entries["events"]),)
    entries["groups"] = (write("groups", "groups", groups),)
    entries["decisions"] = (write("decisions", "decisions", results.decided),)
    entries["index"] = _index_files(results)
    entries["histories"] = (write("histories", "histories", grouping.histories),)
    entries["comparisons"] = (write("comparisons", "comparisons", grouping.comparisons),)
    return replace(
        generation,
        group_ids=given,
        events=generation.events + len(events),
        tables=entries,
        counts={"groups": len(lasting)} | _counts(results, found, grouping, files),
        quality={name: float(value) for name, value in found.scale.items()}
        | {"grown": _grown(results, len(grouping.standing), found.trained)}
        | _drift(results, found.trained),
        seconds=dict(results.job.engine.seconds),
    )


def _counts(
    results: Results, found: Found, grouping: TouchedGroups, files: Mapping[int, CatalogFile]
) -> dict[str, int]:
    """What the catalogue holds by now, and what the night has done."""
    return {
        "images": len(grouping.ledger.by_id),
        "contents": len(grouping.standing),
        "pairs": found.matches.num_rows,
        "copies": int(pc.sum(found.matches["is_copy"]).as_py() or 0),
        "added": sum(files[one.number].status == "ok" for one in results.plan.added),
        "removed": len(results.plan.removed),
        "changed": len(results.plan.changed),
        "failed": len(results.failures),
        "verified": found.verified + grouping.compared[1],
        "small": int(found.small),
    }


def _grown(results: Results, contents: int, trained: bool) -> float:
    """How many times as many contents there are as when the partitions were trained."""
    before = results.before
    if trained or before is None or not before.counts.get("contents"):
        return 1.0
    return before.quality.get("grown", 1.0) * contents / before.counts["contents"]


def _drift(results: Results, trained: bool) -> dict[str, float]:
    """How crowded the lists of each channel were when they were trained, and `drift`: how many
    times as crowded they are by now, in the worse channel."""
    before = results.before.quality if results.before else {}
    figures, drift = dict[str, float](), 1.0
    for channel in INDEXES:
        folder = runs.join(results.place.index, channel)
        if results.job.storage.exists(runs.join(folder, INDEX)):
            now, name = crowding(list_sizes(results.job.storage, folder)), f"trained_{channel}"
            figures[name] = now if trained else before.get(name, now)
            drift = max(drift, now / figures[name])
    return {**figures, "drift": drift}


def _without_forgotten(results: Results, events: Sequence[FileEntry]) -> FileEntry:
    """All events, in one file, without what names images that are forgotten."""
    before = results.before
    names = set(results.job.request.forget)
    if before is not None:
        storage, catalog = results.job.storage, results.job.catalog
        files = read_part_table(storage, catalog, before.parts, "files", FILES)
        names |= {
            row["uri"]
            for row in files.select(["image_id", "uri"]).to_pylist()
            if row["image_id"] in names
        }
    table = pa.concat_tables([results.writer.read(entry) for entry in events])
    gone = pa.array(sorted(names), pa.string())
    columns = {
        name: pc.if_else(pc.is_in(table[name], value_set=gone), "", table[name])
        for name in ("image_id", "other")
    }
    return results.writer.write("events", "all-events", tables.with_columns(table, columns))


def _index_files(results: Results) -> tuple[FileEntry, ...]:
    """The files that the indexes are made of; what only making them needed is left for pruning."""
    folders = [runs.join(results.place.index, channel) for channel in INDEXES]
    storage, catalog = results.job.storage, results.job.catalog
    return tuple(entry for folder in folders for entry in index_files(storage, catalog, folder))


def _image_events(plan: NightPlan, files: Mapping[int, CatalogFile]) -> list[Event]:
    """What happened to images, in the order of their numbers."""
    new = set(plan.changed.values())
    events = [
        Event("image_removed", files[number].image_id)
        for number in sorted(plan.removed)
        if number not in plan.changed
    ]
    for file in (files[one.number] for one in (*plan.new, *plan.twins)):
        if file.status == "ok":
            kind = "image_changed" if file.number in new else "image_added"
            events.append(Event(kind, file.image_id, other=file.uri))
    events += [
        Event("image_moved", file.image_id, other=file.uri)
        for file in plan.moved
        if file.number not in plan.removed
    ]
    return events


def _shown(
    results: Results,
    grouping: TouchedGroups,
    groups: pa.Table,
    events: Sequence[Event],
    generation: Generation,
) -> dict[str, pa.Table]:
    """The tables of the night: what is new, the pairs and groups that it is in or has changed."""
    plan, files = results.plan, grouping.files
    new = [
        files[one.number] for one in (*plan.new, *plan.twins) if files[one.number].status == "ok"
    ]
    ends = pa.array(sorted({key_of(file.content) for file in new}), pa.string())
    everything = grouping.matches
    of_new = pc.or_(
        pc.is_in(everything["query_id"], value_set=ends),
        pc.is_in(everything["reference_id"], value_set=ends),
    )
    matches = matches_of(everything.filter(of_new), grouping.standing)
    changed = {event.group_id for event in events} | {event.other for event in events}
    own = pa.array(sorted({file.number for file in new}), pa.int64())
    changed |= set(groups.filter(pc.is_in(groups["number"], value_set=own))["group_id"].to_pylist())
    shown = groups.filter(
        pc.is_in(groups["group_id"], value_set=pa.array(sorted(changed), pa.string()))
    )
    names = {file.image_id for file in new}
    names |= {one for side in ("query_id", "reference_id") for one in matches[side].to_pylist()}
    names |= set(shown["image_id"].to_pylist())
    images = images_of(
        [file for file in grouping.ledger.living() if file.image_id in names], grouping.contents
    )
    return {
        "night-images": images,
        "night-matches": matches,
        "night-groups": shown.select(tables.GROUPS.names),
        "night-failures": _failures(results, grouping),
        "events": _events_table(events, generation),
    }


def _failures(results: Results, grouping: TouchedGroups) -> pa.Table:
    """Files that could not be read, new ones and those that were to be compared."""
    found = tables.rows_to_table(results.failures, tables.FAILURES)
    opened = named(grouping.found.failures, grouping.standing)
    return pa.concat_tables([found, opened.cast(tables.FAILURES)])


def _events_table(events: Sequence[Event], generation: Generation) -> pa.Table:
    rows = [
        {**vars(event), "event": number, "generation": generation.number}
        for number, event in enumerate(events, start=generation.events + 1)
    ]
    return pa.Table.from_pylist(rows, schema=tables.EVENTS)


def entries_of(generation: Generation) -> dict[str, tuple[FileEntry, ...]]:
    """The files of the tables of the night, by the names that people know."""
    return {
        name: generation.tables["events"][-1:]
        if name == "events"
        else generation.tables[f"night-{name}"]
        for name in NIGHT_TABLES
    }
