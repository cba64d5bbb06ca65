"""What a run asks of an object store.

    python -m tests.bucket_requests s3://BUCKET/PHOTOS s3://BUCKET/OUT --s3_endpoint_url=http://HOST:PORT

The run is one of the command line, in a process of its own. The store is at an address of its own,
as an emulator is: that of `--s3_endpoint_url`, or of the environment variable
`STORAGE_EMULATOR_HOST` for Google's. A proxy in front of it counts the requests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from copydetect.errors import OptionError, RunError
from tests.counting_proxy import counted

_S3, _GOOGLE = "--s3_endpoint_url=", "STORAGE_EMULATOR_HOST"


def requests_of(photos: str, output: str, flags: Sequence[str]) -> dict[str, int]:
    """Run `dedup` in a bucket: how many images there are, and how many requests of each kind it
    sends. flags: of Beam."""
    address = _address(flags)
    with counted(address.partition("://")[2].rstrip("/")) as counts:
        images = _dedup(photos, output, flags, counts.url)
    return {"images": images, **counts.kinds}


def _address(flags: Sequence[str]) -> str:
    """That of the store; OptionError where there is none, or it is encrypted."""
    given = [flag.removeprefix(_S3) for flag in flags if flag.startswith(_S3)]
    address = given[-1] if given else os.environ.get(_GOOGLE, "")
    if not address.startswith("http://"):
        raise OptionError(
            f"give the address of a store, {_S3}http://HOST:PORT or {_GOOGLE}=http://HOST:PORT"
        )
    return address


def _dedup(photos: str, output: str, flags: Sequence[str], proxy: str) -> int:
    """Run it with requests sent to the proxy; the number of images. RunError where it fails."""
    others = [flag for flag in flags if not flag.startswith(_S3)]
    command = [sys.executable, "-m", "copydetect", "dedup", photos, "--output", output]
    command += ["--json", "--quiet", *others]
    if len(others) < len(flags):
        command.append(f"{_S3}{proxy}")
    environment = {**os.environ, _GOOGLE: proxy} if _GOOGLE in os.environ else None
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RunError(f"the run ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return int(json.loads(done.stdout)["images"])


if __name__ == "__main__":
    print(json.dumps(requests_of(sys.argv[1], sys.argv[2], sys.argv[3:]), indent=1))
