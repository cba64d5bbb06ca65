"""The pages of a finished run, from its tables and its images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain

from copydetect.errors import ImageError
from copydetect.images import decoding
from copydetect.inputs.sources import read_refs
from copydetect.report import RunTables, render_report, thumbnail_jpeg
from copydetect.runs import Manifest, join
from copydetect.storage.files import Storage
from copydetect.storage.places import storage_for
from copydetect.transforms.on_one_worker import InTurn
from copydetect.transforms.run_in_processes import OnWorkers
from copydetect.types import Failure, ImageRef
from copydetect.workers.processes import Processes

_THUMBNAIL_PX, _TOGETHER = 280, 4
_PLOTS = {
    "Reliability: how often a confidence comes true": "evaluation/reliability.svg",
    "Precision over recall": "evaluation/precision_recall.svg",
}


def write_report(storage: Storage, output: str, processes: Processes) -> str:
    """Write OUT/report for the run that OUT/manifest.json names; returns the page to open.

    Pages of an earlier report are replaced. processes: make the thumbnails. InputError where there
    is no finished run.
    """
    manifest = Manifest.load(storage, output)
    rows = partial(partial, manifest.batches, storage, output)
    run = RunTables(
        rows("images"), rows("matches"), rows("groups"), rows("failures"), manifest.removable_bytes
    )
    plots = {
        title: storage.read(join(output, name))
        for title, name in _PLOTS.items()
        if storage.exists(join(output, name))
    }
    thumbnails = partial(_thumbnails, processes)
    folder = join(output, "report")
    written = []
    for name, page in render_report(manifest, run, thumbnails, plots):
        written.append(join(folder, name))
        storage.write(written[-1], page)
    for file in storage.files_under(folder):
        if file.uri not in written:
            storage.delete(file.uri)
    return written[-1]


def _thumbnails(processes: Processes, refs: Sequence[ImageRef]) -> Iterable[bytes | None]:
    """Those of some images, in their order."""
    some = [refs[start : start + _TOGETHER] for start in range(0, len(refs), _TOGETHER)]
    made = InTurn(some) | OnWorkers(_thumbnails_of, processes, _without_deadly)
    return chain.from_iterable(made.elements)


def _without_deadly(refs: Sequence[ImageRef]) -> list[ImageRef | None]:
    """Images, with None in place of those that end the process which opens them."""
    return [None if Processes().ends(_thumbnail, ref) else ref for ref in refs]


def _thumbnails_of(refs: Sequence[ImageRef | None]) -> list[bytes | None]:
    return [None if ref is None else _thumbnail(ref) for ref in refs]


def _thumbnail(ref: ImageRef) -> bytes | None:
    """An image, where it is now, decoded down to a thumbnail; None where that cannot be."""
    ((_, data),) = read_refs(storage_for(ref.uri), [ref])
    if isinstance(data, Failure):
        return None
    try:
        return thumbnail_jpeg(decoding.decode(data, _THUMBNAIL_PX).pixels)
    except ImageError:
        return None
