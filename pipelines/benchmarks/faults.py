"""`copydetect benchmark faults`: runs that are killed or fail at random points, and are run again.

Each fault hits one run of `dedup` in a process of its own: it is killed at some operation on files
or at some moment, one operation fails, or from some point on the disk is full. Then the same
command runs undisturbed. Its tables must be those of a run that nothing befell, the files of the
user must be as they were, and nothing may be left behind.
"""

from __future__ import annotations

import errno
import faulthandler
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from copydetect import tables
from copydetect.errors import CopydetectError, InputError
from copydetect.inputs.finding import find_sources
from copydetect.inputs.sources import read_source
from copydetect.options import EngineOptions, RunOptions
from copydetect.runs import Manifest
from copydetect.storage.files import LocalStorage
from copydetect.storage.records import RECORDS
from copydetect.storage.scratch import scratch_folder
from copydetect.types import Failure

from ..exit_codes import DONE, exit_code_of
from ..job import checked_job, run_job
from .processes import forked

Kind = Literal["killed at an operation", "killed at a moment", "one I/O error", "full disk"]

_STORAGE = LocalStorage()
_OPERATIONS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.scandir", "os.listdir")
_WRITES = ("os.rename", "os.mkdir")
_OPTIONS = RunOptions(effort="fast", channels=("local",), max_failed_fraction=1.0, overwrite=True)
_EARLIER = RunOptions(effort="fast", channels=("local",), k=3, max_failed_fraction=1.0)
_ENGINE = EngineOptions(workers=1)
_PICTURES = 6
_HANGS_SECONDS = 900.0
_MINE = ("mine.txt", "report/mine.html", "listing/mine.parquet", "run-0123456789abcdef/mine")


class FaultsError(CopydetectError):
    """A fault has changed a result, touched a file of the user, or left something behind."""


@dataclass(frozen=True)
class Fault:
    """What befalls a run. place: 0…1, where in its operations or its time."""

    kind: Kind
    place: float


@dataclass(frozen=True)
class Arena:
    """Where runs work: a folder with photos, the output, and the temporary folder."""

    root: Path

    @property
    def photos(self) -> Path:
        return self.root / "photos"

    @property
    def output(self) -> Path:
        return self.root / "out"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def said(self) -> Path:
        """What a run has printed."""
        return self.root / "said.txt"


def run(arguments: Namespace, engine: EngineOptions) -> None:
    """Inject the faults and print what came of them; FaultsError where it is not what it was."""
    with scratch_folder() as folder:
        shop = Arena(Path(folder))
        _copy_photos(shop, arguments.photos)
        figures = inject(shop, arguments.faults, random.Random(arguments.seed))
    print(json.dumps(figures, indent=1))


def inject(shop: Arena, faults: int, rng: random.Random) -> dict[str, Any]:
    """The figures after `faults` faults, of every kind in turn; progress goes to standard error."""
    expected, operations, seconds, earlier = _undisturbed(shop)
    before = _digests(shop.photos)
    ended: Counter[str] = Counter()
    kinds = itertools.cycle(get_args(Kind))
    for number in range(faults):
        fault = Fault(next(kinds), rng.random())
        mine = _prepare(shop, earlier if number % 2 else None)
        code = _disturbed(shop, fault, operations, seconds)
        _check(_run_in_child(shop) == DONE, shop, fault, "the same command failed afterwards")
        found = _tables(shop.output)
        changed = [name for name in expected if found.get(name) != expected[name]]
        _check(not changed, shop, fault, f"other rows in {', '.join(changed)}")
        _check(_digests(shop.photos) == before, shop, fault, "the pictures have changed")
        _check(_mine(shop.output) == mine, shop, fault, "files of the user have changed")
        left = _left_behind(shop, mine)
        _check(not left, shop, fault, f"left behind: {', '.join(left)}")
        ended[f"{fault.kind}: exit code {code}"] += 1
        print(f"{number + 1} of {faults}: {fault.kind}, exit code {code}", file=sys.stderr)
    return {
        "faults": faults,
        "operations": operations,
        "ended": dict(sorted(ended.items())),
        "tables_changed": 0,
        "files_of_the_user_touched": 0,
        "left_behind": 0,
    }


def _undisturbed(shop: Arena) -> tuple[dict[str, list[str]], int, float, Path]:
    """The tables to expect, operations and seconds of a run, and the output of an earlier one."""
    earlier = shop.root / "earlier"
    shop.temporary.mkdir()
    _check(_run_in_child(shop, options=_EARLIER) == DONE, shop, None, "the earlier run failed")
    shutil.move(shop.output, earlier)
    counted = shop.root / "operations"
    started = time.monotonic()
    code = _run_in_child(shop, lambda: _count_operations(shop, counted))
    seconds = time.monotonic() - started
    _check(code == DONE, shop, None, "a run that nothing befell failed")
    return _tables(shop.output), counted.stat().st_size, seconds, earlier


def _prepare(shop: Arena, earlier: Path | None) -> dict[str, str]:
    """A new output, or an earlier run with files of the user among its own; digests of these."""
    shutil.rmtree(shop.output, ignore_errors=True)
    if earlier is None:
        return {}
    shutil.copytree(earlier, shop.output)
    for name in _MINE:
        (shop.output / name).parent.mkdir(parents=True, exist_ok=True)
        (shop.output / name).write_text(f"the user's {name}")
    return _mine(shop.output)


def _disturbed(shop: Arena, fault: Fault, operations: int, seconds: float) -> int:
    """The exit code of a run that a fault hits; negative is the signal that has ended it."""
    if fault.kind == "killed at a moment":
        return _run_in_child(shop, kill_after=fault.place * seconds)
    at = int(fault.place * operations)
    code = _run_in_child(shop, lambda: _hit(shop, fault.kind, at))
    _check("Traceback" not in shop.said.read_text(), shop, fault, "a traceback was printed")
    return code


def _run_in_child(
    shop: Arena,
    prepare: Callable[[], None] = lambda: None,
    options: RunOptions = _OPTIONS,
    kill_after: float | None = None,
) -> int:
    """Run the job in a fork; its exit code."""
    started = time.monotonic()
    most = _HANGS_SECONDS if kill_after is None else kill_after
    code = forked(partial(_run_job, shop, prepare, options), most)
    hung = kill_after is None and time.monotonic() - started > _HANGS_SECONDS
    _check(not hung, shop, None, f"it hung for {_HANGS_SECONDS:g} s")
    return code


def _run_job(shop: Arena, prepare: Callable[[], None], options: RunOptions) -> int:
    """Run the job in this process; its exit code."""
    said = os.open(shop.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    tempfile.tempdir = str(shop.temporary)
    # A process that hangs says where.
    faulthandler.dump_traceback_later(0.9 * _HANGS_SECONDS, file=2)
    prepare()
    inputs: Any = {"image": str(shop.photos)}
    output = str(shop.output)
    return exit_code_of(lambda: run_job(checked_job("dedup", inputs, output, options, _ENGINE)))


def _before_operations(shop: Arena, called: Callable[[str, bool], object]) -> None:
    """Have a function called before each operation on files of the workshop, with the path and
    whether it writes."""
    root = f"{shop.root}/"

    def hook(event: str, given: tuple[Any, ...]) -> None:
        path = str(given[0]) if event in _OPERATIONS else ""
        if not path.startswith(root):
            return
        writes = event in _WRITES
        if event == "open" and isinstance(given[2], int):
            writes = bool(given[2] & (os.O_WRONLY | os.O_RDWR))
        called(path, writes)

    sys.addaudithook(hook)


def _count_operations(shop: Arena, counted: Path) -> None:
    """Have each operation add a byte to a file."""
    descriptor = os.open(counted, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _before_operations(shop, lambda path, writes: os.write(descriptor, b"."))


def _hit(shop: Arena, kind: Kind, at: int) -> None:
    """Have the fault happen at the operation of this number."""
    numbers = itertools.count()

    def called(path: str, writes: bool) -> None:
        number = next(numbers)
        if kind == "killed at an operation" and number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "one I/O error" and number == at:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if kind == "full disk" and number >= at and writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    _before_operations(shop, called)


def _tables(output: Path) -> dict[str, list[str]]:
    """The rows of every table of a run whose schema is fixed, as text: NaN is no other NaN."""
    manifest = Manifest.load(_STORAGE, str(output))
    names = sorted(manifest.tables.keys() & tables.SCHEMAS.keys())
    return {
        name: sorted(map(repr, manifest.table(_STORAGE, str(output), name).to_pylist()))
        for name in names
    }


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def _mine(output: Path) -> dict[str, str]:
    return {name: digest for name, digest in _digests(output).items() if name in _MINE}


def _left_behind(shop: Arena, mine: dict[str, str]) -> list[str]:
    """What should be in neither the temporary folder nor the output once a run is finished."""
    run_folder = Manifest.load(_STORAGE, str(shop.output)).folder
    ours = (f"{run_folder}/", "report/", "manifest.json")
    left = [f"tmp/{name}" for name in _digests(shop.temporary)]
    for name in _digests(shop.output):
        bare = name.removeprefix(f"{RECORDS}/")
        recorded = shop.output / bare.removesuffix(".json") if bare != name else shop.output / name
        if name not in mine and not (bare.startswith(ours) and recorded.is_file()):
            left.append(name)
    return left


def _check(right: bool, shop: Arena, fault: Fault | None, what: str) -> None:
    if not right:
        said = shop.said.read_text()[-6000:] if shop.said.exists() else ""
        print(said, file=sys.stderr)
        raise FaultsError(f"{fault or 'without a fault'}: {what}")


def _copy_photos(shop: Arena, photos: list[str]) -> None:
    """A few pictures of the input, and an exact copy of one, so that there is something to find."""
    shop.photos.mkdir()
    contents = list(itertools.islice(_readable(photos), _PICTURES))
    if not contents:
        raise InputError(f"{', '.join(photos)} holds no readable images")
    for number, content in enumerate([*contents, contents[0]]):
        (shop.photos / f"{number:02}.img").write_bytes(content)


def _readable(photos: list[str]) -> Iterator[bytes]:
    for piece in find_sources(_STORAGE, photos).pieces:
        for _, content in read_source(_STORAGE, piece):
            if not isinstance(content, Failure):
                yield content
