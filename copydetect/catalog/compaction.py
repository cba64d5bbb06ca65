"""Many small parts of a catalogue → few large ones. The numbers of images stay the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from copydetect.catalog.generations import CatalogPart
from copydetect.catalog.packing import PART_ROWS, GenerationWriter, part_stem

_LISTS = ("neighbors", "votes")


def merged_parts(writer: GenerationWriter, parts: Sequence[CatalogPart]) -> list[CatalogPart]:
    """Neighbouring parts put together, without their lists, which a search of everything makes
    anew. A part that stays alone stays as it is."""
    return [run[0] if len(run) == 1 else _merged(writer, run) for run in _runs(parts)]


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
    start = run[0].start
    entries = {}
    for table in run[0].files:
        if table not in _LISTS:
            rows = pa.concat_tables([writer.read(p.files[table]) for p in run if table in p.files])
            entries[table] = writer.write(table, part_stem(start), rows)
    return CatalogPart(start, sum(part.rows for part in run), entries)
