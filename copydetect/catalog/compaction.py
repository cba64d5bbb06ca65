"""Many small parts of a catalogue → few large ones. The numbers of images stay the same.

Each night adds a part. The last ones are put together as they become many, in the same way as the
shards of an index, see `grown_index`; `catalog compact` puts all together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from copydetect import runs
from copydetect.catalog.generations import (
    CatalogPart,
    FileEntry,
    entry_of,
    part_uris,
    with_files,
)
from copydetect.catalog.lists import joined_votes
from copydetect.catalog.packing import PART_ROWS, GenerationWriter, part_stem
from copydetect.search.neighbors import Neighbors, read_neighbors, write_neighbors
from copydetect.search.vote_parts import read_votes, write_votes

_LISTS = ("neighbors", "votes")


def merged_parts(writer: GenerationWriter, parts: Sequence[CatalogPart]) -> list[CatalogPart]:
    """Neighbouring parts put together, without their lists, which a search of everything makes
    anew. A part that stays alone stays as it is."""
    return [run[0] if len(run) == 1 else _merged(writer, run) for run in _runs(parts)]


def merged_tail(writer: GenerationWriter, parts: Sequence[CatalogPart]) -> tuple[CatalogPart, ...]:
    """The last parts put together, with their lists, as long as what follows a part is at least
    half as large and both fit into one."""
    first, rows = len(parts) - 1, parts[-1].rows if parts else 0
    while first > 0 and parts[first - 1].rows <= min(2 * rows, PART_ROWS - rows):
        first -= 1
        rows += parts[first].rows
    tail = parts[first:]
    if len(tail) < 2:
        return tuple(parts)
    one = _merged(writer, tail)
    return (*parts[:first], with_files(one, _lists_of(writer, tail, one)))


def _lists_of(
    writer: GenerationWriter, parts: Sequence[CatalogPart], whole: CatalogPart
) -> dict[str, FileEntry]:
    """The lists of several parts, written as those of one."""
    storage, catalog, entries = writer.storage, writer.catalog, {}
    for table in set(_LISTS) & set(parts[0].files):
        uris = part_uris(catalog, parts, table)
        suffix = uris[0].rpartition(".")[2]
        uri = runs.join(writer.folder, table, f"{_stem(whole)}.{suffix}")
        if table == "neighbors":
            write_neighbors(
                storage, uri, Neighbors.joined([read_neighbors(storage, u) for u in uris])
            )
        else:
            write_votes(storage, uri, joined_votes([read_votes(storage, u) for u in uris]))
        entries[table] = entry_of(storage, catalog, uri)
    return entries


def _runs(parts: Sequence[CatalogPart]) -> Iterator[list[CatalogPart]]:
    run: list[CatalogPart] = []
    for part in parts:
        if run and sum(one.rows for one in run) + part.rows > PART_ROWS:
            yield run
            run = []
        run.append(part)
    if run:
        yield run


def _merged(writer: GenerationWriter, run: Sequence[CatalogPart]) -> CatalogPart:
    one = CatalogPart(run[0].start, sum(part.rows for part in run), {})
    entries = {}
    # Later parts may have tables that the first has not, as those of another model.
    for table in dict.fromkeys(name for part in run for name in part.files):
        if table not in _LISTS:
            rows = pa.concat_tables([writer.read(p.files[table]) for p in run if table in p.files])
            entries[table] = writer.write(table, _stem(one), rows)
    return with_files(one, entries)


def _stem(part: CatalogPart) -> str:
    """What files of a part that was put together are called: not as those of its first."""
    return f"{part_stem(part.start)}-{part.rows}"
