"""The project works where its tree is not: from a wheel, editable, and on a worker.

The source distribution is what a remote worker is given, so the wheel is built from it.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from copydetect import __version__
from copydetect.pipelines.lost_copies import _JudgePart

ROOT = Path(__file__).parents[1]
STAND_IN = "copydetect/pipelines/__init__.py"
"""In a checkout; where the project is built, the folder `pipelines` is there."""


def run(command: list[str], cwd: Path, path: Path | None = None) -> str:
    """What a command prints; path: in place of all that PYTHONPATH names."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's files, without what building leaves."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("copydetect", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def archive(source: Path) -> Path:
    """The source distribution."""
    run(["setup.py", "-q", "sdist"], source)
    (archive,) = (source / "dist").glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def installed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of site-packages that holds the project's wheel alone."""
    unpacked, site = tmp_path_factory.mktemp("unpacked"), tmp_path_factory.mktemp("site")
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked, filter="data")
    (project,) = unpacked.iterdir()
    run(["setup.py", "-q", "bdist_wheel"], project)
    (wheel,) = (project / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    return site


def test_the_source_distribution_holds_code_models_and_pages(source: Path, archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = {member.name.split("/", 1)[-1] for member in tar.getmembers() if member.isfile()}
    wanted = {
        file.relative_to(source).as_posix()
        for package in ("copydetect", "pipelines")
        for file in (source / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert wanted - names == {STAND_IN}


def test_a_wheel_adds_one_name_and_works_outside_of_the_tree(
    installed: Path, tmp_path: Path
) -> None:
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"copydetect"}
    version = run(["-m", "copydetect", "--version"], tmp_path, installed)
    assert version == f"copydetect {__version__}"
    code = "import copydetect.pipelines.cli as cli; print(cli.__file__)"
    assert Path(run(["-c", code], tmp_path, installed)).is_relative_to(installed)


def test_a_worker_with_the_wheel_reads_what_a_checkout_sends(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "sent").write_bytes(pickle.dumps(_JudgePart))
    code = "import pickle; print(pickle.load(open('sent', 'rb')).__module__)"
    assert run(["-c", code], tmp_path, installed) == "copydetect.pipelines.lost_copies"


def test_an_editable_install_runs_the_files_of_the_tree(source: Path, tmp_path: Path) -> None:
    code = f"from setuptools import build_meta; build_meta.build_editable({str(tmp_path)!r})"
    run(["-c", code], source)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    code = (
        f"import site; site.addsitedir({str(tmp_path / 'site')!r}); "
        "import copydetect.pipelines.cli as cli; print(cli.__file__)"
    )
    # Without site-packages, where the project may be installed as well.
    assert run(["-S", "-c", code], tmp_path) == str(source / "pipelines" / "cli.py")


def test_the_command_starts_where_unix_modules_are_missing(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('fcntl', 'resource', 'pwd', 'termios')));"
        "from copydetect.pipelines import cli; cli.main(['--version']); "
        "import copydetect.pipelines.job"
    )
    assert run(["-c", code], tmp_path, installed) == f"copydetect {__version__}"


def test_jobs_start_without_the_libraries_of_training(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('sklearn', 'onnx')));"
        "import copydetect.pipelines.job, copydetect.pipelines.calibrate, copydetect.api"
    )
    run(["-c", code], tmp_path, installed)
