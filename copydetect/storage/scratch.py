"""Temporary folders named by their process, so that those of a killed one can be removed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile

_NAME = re.compile(r"copydetect-(?P<host>[0-9a-f]{8})-(?P<process>\d+)-.*")


def scratch_prefix() -> str:
    """What the names of this process's temporary folders begin with."""
    return f"copydetect-{_host()}-{os.getpid()}-"


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A new temporary folder, removed when the `with` block ends."""
    return tempfile.TemporaryDirectory(prefix=scratch_prefix())


def adopt(folder: str) -> str:
    """Rename a temporary folder that another library has just made; returns its new name."""
    parent, name = os.path.split(folder)
    named = os.path.join(parent, scratch_prefix() + name)
    os.rename(folder, named)
    return named


def remove_abandoned() -> None:
    """Remove temporary folders of ours whose processes have gone without removing them."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found and found["host"] == _host() and _is_abandoned(entry, int(found["process"])):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_abandoned(entry: os.DirEntry[str], process: int) -> bool:
    if entry.is_symlink() or not entry.is_dir():
        return False
    if hasattr(os, "geteuid") and entry.stat().st_uid != os.geteuid():
        return False
    if sys.platform == "win32":
        return False  # there, asking for a process like this would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _host() -> str:
    """Tells this machine or container from others that share its temporary folder."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]
