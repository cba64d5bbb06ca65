"""Flink's REST interface, at the address of its dashboard: the state of a cluster and its jobs."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions

_ANSWERS_SEC = 10
_EMBEDDED = ("[local]", "[auto]", "[collection]")
_BUFFER_BYTES = 32 << 10
_BUFFERS_PER_SLOT = 900
"""Of network memory, that a slot needs where all exchanges are written before they are read: 512
for what it writes (`taskmanager.network.sort-shuffle.min-buffers`), the rest for what it reads."""
_OVER = frozenset(("FINISHED", "FAILED", "CANCELED"))


@dataclass(frozen=True)
class Capacity:
    """What a cluster has room for.

    slots: of all TaskManagers; fitting: how many parts can be worked on at once, wherever Flink
    puts them; network_mb: what a TaskManager would need for all of its slots.
    """

    slots: int
    fitting: int
    network_mb: int


@dataclass(frozen=True)
class Dashboard:
    """Flink's REST interface, which also serves its dashboard. address: http://HOST:PORT."""

    address: str

    def slots(self) -> int:
        """How many slots the cluster has, 0 where it does not say."""
        return int(self._asked("overview").get("slots-total", 0))

    def capacity(self) -> Capacity | None:
        """What the TaskManagers' memory for exchanges allows; None where they do not say."""
        managers = self._asked("taskmanagers").get("taskmanagers", [])
        slots = [int(one.get("slotsNumber", 0)) for one in managers]
        memory = [one.get("memoryConfiguration", {}).get("networkMemory", 0) for one in managers]
        if not managers or not all(slots) or not all(memory):
            return None
        able = [size // (_BUFFER_BYTES * _BUFFERS_PER_SLOT) for size in memory]
        # Flink may fill one TaskManager first.
        enough = all(one >= most for one, most in zip(able, slots, strict=True))
        fitting = sum(slots) if enough else max(1, min(able))
        return Capacity(sum(slots), fitting, -(-max(slots) * _BUFFERS_PER_SLOT // 32))

    def job(self, name: str) -> str:
        """The id of the latest job of this name, "" where there is none."""
        latest = max(self._jobs(name), key=lambda job: int(job.get("start-time", 0)), default={})
        return str(latest.get("jid", ""))

    def cancel(self, name: str) -> bool:
        """End the jobs of this name that are not over; whether there were any."""
        found = [job for job in self._jobs(name) if job.get("state") not in _OVER]
        for job in found:
            self._asked(f"jobs/{job['jid']}?mode=cancel", "PATCH")
        return bool(found)

    def page_of(self, name: str) -> str:
        """Where a person reads why the job of this name failed, or looks at all jobs."""
        job = self.job(name)
        return f"{self.address}/#/job/completed/{job}/exceptions" if job else self.address

    def _jobs(self, name: str) -> list[dict[str, Any]]:
        jobs = self._asked("jobs/overview").get("jobs", [])
        return [job for job in jobs if job.get("name") == name]

    def _asked(self, path: str, method: str = "GET") -> dict[str, Any]:
        """The answer of the cluster; an empty one where there is none."""
        request = urllib.request.Request(f"{self.address}/{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=_ANSWERS_SEC) as answer:
                said = json.load(answer)
        except (OSError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}


def dashboard_of(flags: Sequence[str]) -> Dashboard | None:
    """The dashboard of the cluster that `--flink_master` names; None where it names none."""
    options = PipelineOptions(list(flags))
    if not any(flag.startswith("--flink_master") for flag in flags):
        return None
    master = str(options.view_as(FlinkRunnerOptions).flink_master).strip().rstrip("/")
    if not master or master in _EMBEDDED:
        return None
    return Dashboard(master if "://" in master else f"http://{master}")
