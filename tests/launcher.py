"""What a run takes where it is started, as collections grow.

    python -m tests.launcher 1e4 1e5 1e6

Each size is run in a process of its own, which does all that the process does that starts a run on
an engine: it finds the input, builds the pipelines, counts, commits and draws the report. What
workers would write is written by other processes, without pictures (see `synthetic_runs`).
"""

from __future__ import annotations

import json
import pickle
import posixpath
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from copydetect.errors import RunError
from copydetect.grouping.group_job import GroupJob
from copydetect.inputs.finding import find_sources
from copydetect.inputs.listed_files import ListingFiles
from copydetect.inputs.piece_files import PieceFiles
from copydetect.inputs.sources import Sources
from copydetect.options import RunOptions
from copydetect.parts import RoleParts, part_count
from copydetect.pipelines import chains
from copydetect.pipelines.chains import Stage
from copydetect.pipelines.engine import Engine
from copydetect.pipelines.job import Job, run_job
from copydetect.settings import Settings
from copydetect.storage.scratch import scratch_folder
from copydetect.transforms.refs_to_descriptions import DescriberSetup
from copydetect.types import Role
from tests.synthetic_runs import ROOT, SyntheticStorage, SyntheticWork

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class LauncherCost:
    """What the process took that started a run. peak_bytes: of its memory; pipeline_bytes: of the
    largest pipeline; jobs: that were submitted; asked: of the storage, by kind; seconds: by the
    clock, without those of workers."""

    images: int
    parts: int
    peak_bytes: int
    pipeline_bytes: int
    jobs: int
    asked: dict[str, int]
    seconds: float


def measured(images: int) -> LauncherCost:
    """The cost of starting a run over so many images, in a process of its own; RunError where it
    fails."""
    code = f"from tests.launcher import launch; launch({images})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"the run over {images:,} images failed: {done.stderr.strip()[-2000:]}")
    return LauncherCost(**json.loads(done.stdout.splitlines()[-1]))


def launch(images: int) -> None:
    """Start a run over so many images, and print what it took."""
    with scratch_folder() as folder:
        started = time.monotonic()
        output = f"{folder}/out"
        storage = SyntheticStorage(output, images)
        options = RunOptions(check=False)
        settings = Settings.of(options, "dedup", storage)
        sources = find_sources(storage, ROOT)
        setup = DescriberSetup.chosen(settings, options)
        models = {"descriptor": "none", "local": "none"}
        engine = _Elsewhere(["--runner=FlinkRunner"], work=_Work(storage, images, sources))
        inputs: dict[Role, Sources] = {"image": sources}
        job = Job("dedup", inputs, output, options, settings, setup, models, engine, storage)
        str(run_job(job).summary)
        taken = time.monotonic() - started - engine.work.seconds
    cost = LauncherCost(
        images=images,
        parts=part_count(images),
        peak_bytes=_peak_bytes(),
        pipeline_bytes=max(engine.work.pipelines),
        jobs=len(engine.work.pipelines),
        asked=storage.asked,
        seconds=taken,
    )
    print(json.dumps(asdict(cost)))


@dataclass
class _Work:
    """Does what workers would do, and measures the pipelines. seconds: that this has taken."""

    storage: SyntheticStorage
    images: int
    sources: Sources
    pipelines: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def do(self, name: str, stages: Sequence[Stage[Any]]) -> None:
        """Do the work of a job in another process, as an engine would."""
        pipeline = beam.Pipeline(options=PipelineOptions(["--no_pipeline_type_check"]))
        chains.chain(pipeline, stages)
        self.pipelines.append(pipeline.to_runner_api().ByteSize())
        made = [stage.made for stage in stages]
        pieces = self.sources.pieces
        work = SyntheticWork(
            storage=self.storage,
            folder=next((one for one in map(_folder_of, made) if one), ""),
            images=self.images,
            job=name,
            pieces=() if isinstance(pieces, PieceFiles) else pieces,
            then=[stage.then for stage in stages if stage.then is not None],
            files=next((one for one in made if isinstance(one, ListingFiles)), None),
            group=next((one for one in made if isinstance(one, GroupJob)), None),
        )
        started = time.monotonic()
        with scratch_folder() as folder:
            packed = Path(folder) / "work"
            packed.write_bytes(pickle.dumps(work))
            subprocess.run([sys.executable, "-m", "tests.synthetic_runs", str(packed)], check=True)
        self.seconds += time.monotonic() - started


def _folder_of(made: object) -> str:
    """The folder of the run that a stage works for, by what it makes."""
    if isinstance(made, RoleParts):
        return posixpath.dirname(posixpath.dirname(made.image_files[0]))
    return made.folder if isinstance(made, GroupJob) else ""


@dataclass
class _Elsewhere(Engine):
    """An engine whose workers are other processes that do without pictures."""

    work: _Work = field(kw_only=True)

    def run_stages(self, job: str, stages: Sequence[Stage[Any]], parts: int = 0) -> None:
        self.work.do(job, stages)


def _peak_bytes() -> int:
    """The most memory that this process has had at once."""
    status = Path("/proc/self/status")
    found = _PEAK.search(status.read_text()) if status.exists() else None
    if found:
        return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    for size in sys.argv[1:]:
        print(json.dumps(asdict(measured(round(float(size))))), flush=True)
