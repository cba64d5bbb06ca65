"""`copydetect benchmark speed`: where the time of dedup goes, and what fastdup takes beside it.

fastdup (visual-layer) is the usual C++ tool. It computes a feature of every image and its nearest
neighbours, and proves nothing.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import cv2

from copydetect import runs
from copydetect.description.describing import DESCRIBED_SIDE_PX, Describer, describe_part
from copydetect.errors import ImageError, InputError
from copydetect.images.decoding import decode
from copydetect.inputs.listing import ListedImage, list_images
from copydetect.inputs.sources import read_refs, read_source
from copydetect.options import EngineOptions
from copydetect.parts import part_count, part_of
from copydetect.runs import Manifest
from copydetect.storage.scratch import scratch_folder
from copydetect.types import Failure
from copydetect.workers.threads import work_in_one_thread

from ..job import Job, checked_job, run_job
from ..run_arguments import run_options

_USUAL_WORKERS = 2
_FASTDUP = """
import sys, time
started = time.monotonic()
import fastdup
dataset = fastdup.create(work_dir=sys.argv[2], input_dir=sys.argv[1])
dataset.run(num_threads=int(sys.argv[3]), overwrite=True, print_summary=False)
print("seconds", time.monotonic() - started)
"""
"""Import and all: a command line tool has to load, too."""


def run(arguments: Namespace, engine: EngineOptions) -> None:
    """Measure, and print JSON."""
    workers = engine.workers or _USUAL_WORKERS
    options = run_options(arguments, report=False, max_failed_fraction=1.0)
    with scratch_folder() as folder:
        output = runs.join(folder, "out")
        silent = replace(engine, workers=workers, progress=False)
        job = checked_job("dedup", {"image": arguments.photos}, output, options, silent)
        figures = _figures(job, workers)
        if arguments.fastdup:
            beside = _fastdup_seconds(arguments.fastdup, arguments.photos, folder, workers)
            figures["fastdup_seconds"] = round(beside, 2)
            figures["dedup_over_fastdup"] = round(beside / figures["whole_seconds"], 3)
        print(json.dumps(figures, indent=2))


def _fastdup_seconds(python: str, photos: list[str], folder: str, workers: int) -> float:
    """How long fastdup takes for one folder, whole process."""
    (photo_folder,) = photos if len(photos) == 1 else ("",)
    if not os.path.isdir(photo_folder):
        raise InputError("fastdup is measured on one local folder")
    command = [python, "-c", _FASTDUP, os.path.abspath(photo_folder)]
    command += [runs.join(folder, "fastdup"), str(workers)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise InputError(f"{python} does not run fastdup: {said.strip()[-300:]}") from error
    return float(ended.stdout.rsplit("seconds ", 1)[1])


def _figures(job: Job, workers: int) -> dict[str, Any]:
    """The pipeline first, then the same functions in a bare loop over as many threads."""
    started, started_cpu = time.monotonic(), time.process_time()
    run_job(job)
    whole = time.monotonic() - started
    own_cpu = time.process_time() - started_cpu
    job.engine.processes.stop()
    manifest = Manifest.load(job.storage, job.output)
    return {
        "images": manifest.counts["images"],
        "pairs_verified": manifest.counts["matches"],
        **_rates(job, workers, manifest, whole),
        "seconds": {name: round(value, 2) for name, value in manifest.seconds.items()},
        "cpu_seconds": {
            **{name: round(value, 3) for name, value in job.engine.cpu_seconds.items()},
            "launcher": round(own_cpu, 2),
        },
        "whole_seconds": round(whole, 2),
        "workers": workers,
        "instruction_sets": _instruction_sets(),
        "peak_memory_gb": round(_peak_gb(job.engine.processes.count), 2),
    }


def _rates(job: Job, workers: int, manifest: Manifest, whole: float) -> dict[str, Any]:
    """Images per second of each step; whole: seconds that the run took."""
    images = manifest.counts["images"]
    listed = [
        image
        for source in job.inputs["image"].pieces
        for image in list_images(read_source(job.storage, source))
    ]
    describer = job.setup.load()
    only_descriptors = replace(describer, quantiser=None)
    bare = _seconds(lambda: _describe_bare(job, listed, describer, workers))
    embedding = _seconds(lambda: _describe_bare(job, listed, only_descriptors, workers))
    decoding = _seconds(lambda: _decode_bare(job, listed, workers))
    describing = manifest.seconds["describe images"]
    return {
        "images_per_second": {
            "decode": round(images / decoding, 1),
            "describe": round(images / describing, 1),
            "descriptors_only": round(images / embedding, 1),
            "dedup": round(images / whole, 1),
        },
        "describe_over_bare_loop": round(describing / bare, 3),
    }


def _describe_bare(job: Job, listed: list[ListedImage], describer: Describer, workers: int) -> None:
    count = part_count(len(listed))
    parts: list[list[ListedImage]] = [[] for _ in range(count)]
    for image in listed:
        parts[part_of(image.sha256, count)].append(image)
    with ThreadPoolExecutor(workers, initializer=work_in_one_thread) as pool:
        list(pool.map(lambda part: describe_part(job.storage, part, describer), parts))


def _decode_bare(job: Job, listed: list[ListedImage], workers: int) -> None:
    def decode_one(image: ListedImage) -> None:
        for _, content in read_refs(job.storage, [image.ref]):
            if not isinstance(content, Failure):
                try:
                    decode(content, DESCRIBED_SIDE_PX, job.setup.options.decoding)
                except ImageError:
                    continue

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(decode_one, listed))


def _instruction_sets() -> list[str]:
    """Those of this processor that OpenCV has code for: that it lacks are marked."""
    names = cv2.getCPUFeaturesLine().split()
    return [name.strip("*") for name in names if not name.endswith("?")]


def _seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _peak_gb(processes: int) -> float:
    """Of this process so far, and of those that it started, as if all were at their peaks at once.

    Linux counts kilobytes, macOS bytes.
    """
    own, largest = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return (own + processes * largest) / (1e9 if sys.platform == "darwin" else 1e6)
