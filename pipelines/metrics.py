"""A run's figures in Prometheus' text format, for the textfile collector of its node exporter."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from copydetect.storage.files import LocalStorage


def write_metrics(
    path: str,
    labels: Mapping[str, str],
    counts: Mapping[str, float],
    seconds: Mapping[str, float],
    quality: Mapping[str, float],
) -> None:
    """Write the figures of a run that has ended well; a run that failed leaves the earlier ones,
    whose `copydetect_last_success_timestamp_seconds` tells how old they are.

    labels: of every sample; counts, seconds, quality: as in the manifest of the run.
    """
    lines: list[str] = []

    def tell(name: str, meaning: str, samples: Mapping[str, float]) -> None:
        lines.append(f"# HELP copydetect_{name} {meaning}")
        lines.append(f"# TYPE copydetect_{name} gauge")
        for own, value in samples.items():
            lines.append(f"copydetect_{name}{{{own}}} {float(value)!r}")

    common = _labels(labels)
    tell("last_success_timestamp_seconds", "When the run ended.", {common: round(time.time(), 3)})
    tell("seconds", "Wall time of the run.", {common: sum(seconds.values())})
    stages = {_labels({**labels, "stage": name}): value for name, value in seconds.items()}
    tell("stage_seconds", "Wall time of a stage.", stages)
    for name, value in counts.items():
        tell(_name(name), f"Counted by the run: {name}.", {common: value})
    for name, value in quality.items():
        tell(f"quality_{_name(name)}", f"Measured by the run: {name}.", {common: value})
    LocalStorage().write(path, ("\n".join(lines) + "\n").encode())


def _name(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", text)


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{_name(name)}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
