"""The source distribution that a remote worker is given holds all that a worker needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_source_distribution_holds_code_models_and_pages(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".git", "sample_data")
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("copydetect", "pipelines"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(tmp_path / "dist")],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (archive,) = (tmp_path / "dist").iterdir()
    with tarfile.open(archive) as tar:
        names = {member.name.split("/", 1)[-1] for member in tar.getmembers() if member.isfile()}
    wanted = {
        str(file.relative_to(source))
        for package in ("copydetect", "pipelines")
        for file in (source / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert wanted - names == set()
