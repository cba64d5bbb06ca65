"""`copydetect benchmark engines`: a run on an engine beside one on this machine.

All are runs of the command line, each in a process of its own. There are two on the engine: servers
that have just been started compile their own code during the first. Processor time of the engine is
counted where its workers descend from processes of this machine, whose ids are given; with them,
workers and their managers can be killed at random moments, and managers are started again as a
supervisor would do.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from copydetect import runs, tables
from copydetect.errors import OptionError, RunError
from copydetect.options import EngineOptions
from copydetect.runs import Manifest
from copydetect.storage.files import LocalStorage
from copydetect.storage.scratch import scratch_folder

from ..exit_codes import DONE
from .processes import CpuMeter, Program, below, end

_JOB = re.compile(r"^copydetect: job (\S+): ", re.MULTILINE)
_RESTARTED_AFTER_SEC = 3.0
_STORAGE = LocalStorage()


@dataclass(frozen=True)
class RunCost:
    """What one run took. seconds: by the clock; cpu_seconds: of all its processes, as far as they
    are known; jobs: that were submitted; images: how many there are."""

    seconds: float
    cpu_seconds: float
    jobs: int
    images: int


def run(arguments: Namespace, engine: EngineOptions) -> None:
    """Run here, and there twice, compare, kill; print a table and JSON."""
    if not any(flag.startswith("--runner") for flag in engine.flags):
        raise OptionError("give the engine that is to be compared: --runner and its options")
    managers = [int(one) for one in arguments.managers]
    with scratch_folder() as folder:
        here, wanted = _measured(arguments.photos, f"{folder}/here", (), [])
        first, there = (
            _measured(arguments.photos, f"{folder}/{name}", engine.flags, managers)
            for name in ("first", "there")
        )
        equal = first[1] == there[1] == wanted
        costs = {"here": here, "first": first[0], "there": there[0]}
        print(_table(costs, equal, bool(managers)))
        figures = {**{name: asdict(cost) for name, cost in costs.items()}, "equal": equal}
        if arguments.kills:
            figures["kills"] = kills = _killed(
                arguments, engine.flags, managers, there[0].seconds, wanted
            )
            survived = sum(bool(one["equal"]) for one in kills)
            print(f"\n{survived} of {len(kills)} killed runs: equal tables")
            print(f"the managers are now {','.join(map(str, managers))}")
        print(json.dumps(figures, indent=1))


def _measured(
    photos: Sequence[str],
    output: str,
    flags: Sequence[str],
    managers: Sequence[int],
    disturb: Callable[[], object] | None = None,
) -> tuple[RunCost, dict[str, list[str]]]:
    """Run `dedup`; its cost and the rows of its tables. RunError where it fails."""
    command = [sys.executable, "-m", "copydetect", "dedup", *photos, "--output", output]
    command += ["--no_report", "--max_failed_fraction=1", *flags]
    said = Path(f"{output}.said")
    started = time.monotonic()
    with said.open("wb") as stream, CpuMeter(managers) as meter:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
        if disturb is not None:
            threading.Thread(target=disturb, daemon=True).start()
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    code = process.returncode = os.waitstatus_to_exitcode(status)
    text = said.read_text(errors="replace")
    if code != DONE:
        raise RunError(f"a run ended with {code}: {text.strip()[-2000:]}")
    manifest = Manifest.load(_STORAGE, output)
    worked = used.ru_utime + used.ru_stime + meter.seconds
    cost = RunCost(
        round(seconds, 1), round(worked, 1), len(_JOB.findall(text)), manifest.counts["images"]
    )
    return cost, _rows(manifest, output)


def _rows(manifest: Manifest, output: str) -> dict[str, list[str]]:
    """The rows of all tables as texts, in an order of their own, without where files are."""
    found = {}
    for name in manifest.tables:
        parts = (tables.read_table(_STORAGE, uri) for uri in manifest.table_uris(output, name))
        rows = (row for part in parts for row in part.to_pylist())
        found[name] = sorted(
            repr({key: value for key, value in row.items() if not key.endswith("uri")})
            for row in rows
        )
    return found


def _killed(
    arguments: Namespace,
    flags: Sequence[str],
    managers: list[int],
    expected: float,
    wanted: dict[str, list[str]],
) -> list[dict[str, object]]:
    """Runs of which a process is killed at a random moment, a worker or a manager in turn.

    expected: seconds that an undisturbed run takes.
    """
    if not managers:
        raise OptionError("give --managers: nothing else says what may be killed")
    chance, found = random.Random(arguments.seed), list[dict[str, object]]()
    for number in range(arguments.kills):
        kind = "manager" if number % 2 else "worker"
        moment = chance.uniform(0.05, 0.95) * expected
        told: list[str] = []

        def disturb(kind: str = kind, moment: float = moment, told: list[str] = told) -> None:
            time.sleep(moment)
            told.append(_kill(kind, managers, chance))

        one: dict[str, object] = {"kind": kind, "moment": round(moment, 1)}
        with scratch_folder() as folder:
            try:
                cost, rows = _measured(
                    arguments.photos, runs.join(folder, "out"), flags, managers, disturb
                )
                one |= {"seconds": cost.seconds, "equal": rows == wanted}
            except RunError as error:
                one |= {"equal": False, "said": str(error)}
        one["killed"] = "".join(told)
        found.append(one)
        print(json.dumps(one), file=sys.stderr)
    return found


def _kill(kind: str, managers: list[int], chance: random.Random) -> str:
    """Kill a worker, or a manager with all its workers, which is started again; what it was."""
    manager = chance.choice(managers)
    workers = [one for one in below([manager]) if one != manager]
    if kind == "worker":
        if workers:
            end(chance.choice(workers))
        return "a worker" if workers else "nothing: there was no worker"
    program = Program.of(manager)
    end(manager)
    for worker in workers:
        end(worker)
    time.sleep(_RESTARTED_AFTER_SEC)
    managers[managers.index(manager)] = program.start()
    return "a manager"


def _table(costs: Mapping[str, RunCost], equal: bool, counted: bool) -> str:
    """costs: of the runs "here", "first" (the first one there) and "there" (the second one)."""
    here, first, there = costs["here"], costs["first"], costs["there"]
    rows = [("seconds", here.seconds, first.seconds, there.seconds)]
    if counted:
        rows.append(("CPU seconds", here.cpu_seconds, first.cpu_seconds, there.cpu_seconds))
    lines = ["| | here | there, first | over here | again | over here |", "|" + "---|" * 6]
    lines += [
        f"| {name} | {a:.1f} | {b:.1f} | {b / a:.2f} | {c:.1f} | {c / a:.2f} |"
        for name, a, b, c in rows
    ]
    lines.append(f"| jobs | | {first.jobs} | | {there.jobs} | |")
    lines.append(f"| tables equal | | {'yes' if equal else 'no'} | | | |")
    return "\n".join([f"{here.images:,} images", "", *lines])
