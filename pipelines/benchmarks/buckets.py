"""`copydetect benchmark buckets`: what a run asks of an object store.

The run is one of the command line, in a process of its own. The store is at an address of its own,
as an emulator is: that of `--s3_endpoint_url`, or of the environment variable
`STORAGE_EMULATOR_HOST` for Google's. A proxy in front of it counts the requests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence

from copydetect.errors import OptionError, RunError
from copydetect.options import EngineOptions

from .counting_proxy import counted

_S3, _GOOGLE = "--s3_endpoint_url=", "STORAGE_EMULATOR_HOST"


def run(arguments: Namespace, engine: EngineOptions) -> None:
    """Run `dedup` in a bucket; print a table and JSON."""
    address = _address(engine.flags)
    with counted(address.partition("://")[2].rstrip("/")) as counts:
        images = _dedup(arguments.photos, arguments.output, engine.flags, counts.url)
    print(table(counts.kinds, images))
    print(json.dumps({"images": images, "requests": dict(counts.kinds)}, indent=1))


def table(kinds: Mapping[str, int], images: int) -> str:
    """Requests by kind, the most first, as Markdown."""
    rows = [f"{images:,} images", "", "| requests | all | per thousand images |", "|---|---|---|"]
    each = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    for kind, count in [*each, ("together", sum(kinds.values()))]:
        rows.append(f"| {kind} | {count:,} | {1000 * count / max(images, 1):,.0f} |")
    return "\n".join(rows)


def _address(flags: Sequence[str]) -> str:
    """That of the store; OptionError where there is none, or it is encrypted."""
    given = [flag.removeprefix(_S3) for flag in flags if flag.startswith(_S3)]
    address = given[-1] if given else os.environ.get(_GOOGLE, "")
    if not address.startswith("http://"):
        raise OptionError(
            f"give the address of a store, {_S3}http://HOST:PORT or {_GOOGLE}=http://HOST:PORT"
        )
    return address


def _dedup(photos: Sequence[str], output: str, flags: Sequence[str], proxy: str) -> int:
    """Run it with requests sent to the proxy; the number of images. RunError where it fails."""
    others = [flag for flag in flags if not flag.startswith(_S3)]
    command = [sys.executable, "-m", "copydetect", "dedup", *photos, "--output", output]
    command += ["--json", "--quiet", *others]
    if len(others) < len(flags):
        command.append(f"{_S3}{proxy}")
    environment = {**os.environ, _GOOGLE: proxy} if _GOOGLE in os.environ else None
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RunError(f"the run ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return int(json.loads(done.stdout)["images"])
