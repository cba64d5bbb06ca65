"""What `import copydetect` offers: the jobs and their results as functions.

Each function loads what it needs when it is called. Errors are those of `copydetect.errors`, with
the sentences that the command line prints.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from copydetect.inputs.patterns import refuse_missing
from copydetect.options import EngineOptions, RunChanges, RunOptions
from copydetect.quiet_imports import quiet_imports

if TYPE_CHECKING:
    from typing_extensions import Unpack

    with quiet_imports():
        from copydetect.catalog.catalog import Catalog
        from copydetect.catalog.nights import NightSummary
        from copydetect.comparing import Comparison
        from copydetect.description.descriptors import Vectors
        from copydetect.exporting import Format, What
        from copydetect.inputs.image_like import ImageLike
        from copydetect.inputs.input_specs import Inputs, Location
        from copydetect.results import Result
        from copydetect.types import Role


def dedup(
    photos: Inputs,
    output: Location,
    options: RunOptions | None = None,
    *,
    engine: EngineOptions | None = None,
    **changes: Unpack[RunChanges],
) -> Result:
    """Find the copies inside a collection.

    photos: a folder, glob, manifest, shards or Parquet, a list of them, or `(image_id, bytes)`
    pairs; output: folder of the results; options, or single ones as keywords: see `RunOptions`;
    engine: where it runs. The same call continues a run that was interrupted, and finds a finished
    one done.

    InputError, OptionError or ModelError where an argument is wrong; TransientError where another
    run works in the folder; TooManyFailuresError where too many images could not be read.

    >>> import copydetect
    >>> result = copydetect.dedup("sample_data/photos", "out", effort="fast")
    >>> result.groups.num_rows > 10
    True
    >>> {"image_id", "uri", "keep", "kept_uri"} <= set(result.groups.column_names)
    True
    """
    return _run("dedup", {"image": photos}, output, options, engine, changes)


def match(
    queries: Inputs,
    references: Inputs,
    output: Location,
    options: RunOptions | None = None,
    *,
    engine: EngineOptions | None = None,
    **changes: Unpack[RunChanges],
) -> Result:
    """Find the queries that are copies of references. Arguments and errors are those of `dedup`.

    >>> import copydetect
    >>> cat = open("sample_data/photos/pictures/chelsea.jpg", "rb").read()
    >>> result = copydetect.match(
    ...     [("upload-1", cat)], "sample_data/photos", "matched", effort="fast")
    >>> found = [row["reference_id"] for row in result.matches.to_pylist() if row["is_copy"]]
    >>> "pictures/chelsea.jpg" in found
    True
    """
    inputs: dict[Role, Inputs] = {"query": queries, "reference": references}
    return _run("match", inputs, output, options, engine, changes)


def nightly(
    catalog: Location,
    photos: Inputs | None = None,
    output: Location | None = None,
    options: RunOptions | None = None,
    *,
    remove: Location | Sequence[str] = (),
    forget: Location | Sequence[str] = (),
    decisions: Location | None = None,
    keep_generations: int = 7,
    engine: EngineOptions | None = None,
    **changes: Unpack[RunChanges],
) -> NightSummary:
    """Find what is new in an input against everything before, and add it to a catalogue.

    catalog: a local folder, new or of an earlier night; photos: as in `dedup`; None where images
    are only removed; output: folder for tables of what the night has found, for `copydetect.open`;
    remove: image_ids that go, or a CSV or Parquet file with a column `image_id`; forget: the same,
    with all that is known of them, in every file of the catalogue; decisions: a CSV or Parquet file
    of what people have decided on pairs: `sha256_a`, `sha256_b`, `decision` (copy or not_copy),
    `who`, `when`; keep_generations: how many nights stay, so that one can go back to them. Options
    are those of `dedup`: the first night's hold for all that follow, and OptionError names one that
    is given otherwise later.

    InputError, OptionError or ModelError where an argument is wrong; CatalogBusyError where another
    process works on the catalogue; RunError where it is damaged; TooManyFailuresError, with nothing
    added, where too many new images could not be used.

    >>> import copydetect
    >>> night = copydetect.nightly("catalog", "sample_data/photos/pictures", effort="fast")
    >>> night.committed, copydetect.nightly("catalog", "sample_data/photos/pictures").committed
    (True, False)
    """
    chosen = (options or RunOptions()).changed(**changes)
    refuse_missing(photos)
    with quiet_imports():
        from copydetect.pipelines.nights.nightly import request_of, run_nightly

    removed, forgotten = (
        os.fspath(one) if isinstance(one, (str, os.PathLike)) else tuple(one)
        for one in (remove, forget)
    )
    given = None if decisions is None else os.fspath(decisions)
    request = request_of(removed, forgotten, given)
    night: NightSummary = run_nightly(
        os.fspath(catalog),
        photos,
        None if output is None else os.fspath(output),
        request,
        chosen,
        engine or EngineOptions(),
        keep_generations,
        changes,
    )
    return night


def ask(
    catalog: Location,
    uploads: Inputs,
    output: Location,
    options: RunOptions | None = None,
    *,
    engine: EngineOptions | None = None,
    **changes: Unpack[RunChanges],
) -> Result:
    """Find the uploads that are copies of images in a catalogue, and add none of them.

    The tables are those of `match`, with the uploads as the queries. Arguments and errors are those
    of `nightly`; InputError where there is no catalogue.

    >>> import copydetect
    >>> found = copydetect.ask("catalog", "sample_data/photos/downloads/cat_meme.jpg", "asked")
    >>> [row["reference_id"] for row in found.matches.to_pylist() if row["is_copy"]]
    ['chelsea.jpg']
    """
    chosen = (options or RunOptions()).changed(**changes)
    refuse_missing(uploads)
    with quiet_imports():
        from copydetect.pipelines.nights.nightly import run_asked

    result: Result = run_asked(
        os.fspath(catalog),
        uploads,
        os.fspath(output),
        chosen,
        engine or EngineOptions(),
        changes,
    )
    return result


def open_catalog(catalog: Location) -> Catalog:
    """The last generation of a catalogue: its tables, whatever nights come meanwhile.

    InputError where the folder holds none; RunError where it is damaged.

    >>> import copydetect
    >>> copydetect.open_catalog("catalog").images.num_rows
    11
    """
    with quiet_imports():
        from copydetect.catalog.catalog import Catalog
        from copydetect.storage.places import storage_for

    folder = os.fspath(catalog).rstrip("/") or "/"
    return Catalog(storage_for(folder), folder)


def open_run(output: Location) -> Result:
    """A finished run, by its output folder; it is exported as `copydetect.open`.

    InputError where the folder holds none.

    >>> import copydetect
    >>> result = copydetect.open("out")
    >>> result.summary.command
    'dedup'
    """
    with quiet_imports():
        from copydetect.results import Result
        from copydetect.runs import Manifest
        from copydetect.storage.places import storage_for

    folder = os.fspath(output).rstrip("/") or "/"
    storage = storage_for(folder)
    return Result(storage, folder, Manifest.load(storage, folder), made_before=True)


def compare(a: ImageLike, b: ImageLike, precision: float | None = None) -> Comparison:
    """Whether two images are copies of each other, and the evidence, without any collection.

    a, b: paths, bytes of image files, PIL images, or uint8 arrays (h, w, 3) or (h, w);
    precision: share of the pairs called copies that should be real ones (0.97). ImageError where
    one is no image.

    >>> import copydetect
    >>> found = copydetect.compare(
    ...     "sample_data/photos/pictures/chelsea.jpg", "sample_data/photos/downloads/cat_meme.jpg")
    >>> found.is_copy, found.relation
    (True, 'edited')
    """
    with quiet_imports():
        from copydetect.comparing import compare_images

    return compare_images(a, b, precision)


def describe(
    images: ImageLike | Sequence[ImageLike],
    model: str | None = None,
    device: str = "cpu",
    trust_model: bool = False,
) -> tuple[Vectors, Vectors]:
    """The descriptors of images, normalised as in a run.

    images: as in `compare`, one or a list; model: name or path of a descriptor model (the bundled
    one); trust_model: whether it may be TorchScript, which is a program.

    Returns unit vectors (n, d) float32 and their weights (n,) float32: the similarity of two
    images is the inner product of their vectors times both weights. ImageError names what cannot be
    read as an image.

    >>> import copydetect
    >>> vectors, weights = copydetect.describe(["sample_data/photos/pictures/chelsea.jpg"])
    >>> vectors.shape[0], weights.shape
    (1, (1,))
    """
    with quiet_imports():
        from copydetect.comparing import describe_images

    return describe_images(images, model, device, trust_model)


def export(
    output: Location,
    what: What = "drop",
    file_format: Format = "txt",
    to: Location | None = None,
) -> str:
    """Write results for scripts: see `copydetect.exporting.export_run`.

    Returns the text, or where `to` is given the path of what was written.

    >>> import copydetect
    >>> dropped = copydetect.export("out", "drop").splitlines()
    >>> len(dropped) == copydetect.open("out").summary.removable
    True
    """
    with quiet_imports():
        from copydetect.exporting import export_run

    return export_run(open_run(output), what, file_format, None if to is None else os.fspath(to))


def _run(
    command: str,
    inputs: dict[Role, Inputs],
    output: Location,
    options: RunOptions | None,
    engine: EngineOptions | None,
    changes: Any,
) -> Result:
    chosen = (options or RunOptions()).changed(**changes)
    for given in inputs.values():
        refuse_missing(given)
    with quiet_imports():
        from copydetect.pipelines.job import checked_job, run_job

    job = checked_job(command, inputs, os.fspath(output), chosen, engine or EngineOptions())
    try:
        result: Result = run_job(job)
        # After an error, other threads may still be at work; the pool would wait for them.
        job.engine.processes.stop()
        return result
    finally:
        job.engine.stop_server()
