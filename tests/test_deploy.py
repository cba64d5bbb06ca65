"""The files that schedule a night say what the command takes, in forms that their readers read."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from copydetect.pipelines.commands import nightly

DEPLOY = Path(__file__).parents[1] / "pipelines/deploy"


def _takes(words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The arguments of a night, as the command hands them on."""
    seen: list[object] = []
    monkeypatch.setattr("copydetect.api.nightly", lambda *given, **_: seen.extend(given))
    monkeypatch.setattr(nightly, "print", lambda *_: None, raising=False)
    assert nightly.main(words) == 0
    return seen[:3]


def test_the_cron_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (DEPLOY / "copydetect-nightly.cron").read_text().splitlines()
    (line,) = (line for line in lines if line and not line.startswith("#"))
    minute, hour, *_, user, command, action = line.split()[:8]
    assert (minute, hour, user, command, action) == (
        "30",
        "2",
        "copydetect",
        "copydetect",
        "nightly",
    )
    catalog, photos, output = _takes(line.split()[8:], monkeypatch)
    assert (catalog, photos) == ("/var/lib/copydetect/catalog", ["/srv/pictures"])
    assert output


def test_the_systemd_units(monkeypatch: pytest.MonkeyPatch) -> None:
    units = {}
    for name in ("service", "timer"):
        parser = configparser.RawConfigParser(strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read(DEPLOY / f"copydetect-nightly.{name}")
        units[name] = parser
    start = units["service"]["Service"]["ExecStart"].split()
    assert start[:3] == ["/usr/bin/env", "copydetect", "nightly"]
    assert _takes(start[3:], monkeypatch)[0] == "${CATALOG}"
    assert units["service"]["Service"]["SuccessExitStatus"] == "4"
    assert units["timer"]["Timer"]["OnCalendar"]
    if shutil.which("systemd-analyze"):
        files = [str(DEPLOY / f"copydetect-nightly.{name}") for name in units]
        done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True)
        assert not re.search(r"copydetect-nightly\.\w+:\d+", done.stderr), done.stderr


def test_the_cron_job(monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((DEPLOY / "kubernetes-cronjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["copydetect", "nightly"]
    assert _takes(container["args"], monkeypatch)[:2] == ["/catalog/catalog", ["/pictures"]]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


def test_the_airflow_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is loaded with stand-ins for Airflow, which keep what they are told."""
    told: list[dict[str, object]] = []

    class Told:
        def __init__(self, **options: object) -> None:
            told.append(options)

        def __enter__(self) -> Told:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    for name, member in (
        ("airflow", "DAG"),
        ("airflow.operators", ""),
        ("airflow.operators.bash", "BashOperator"),
    ):
        module = types.ModuleType(name)
        if member:
            setattr(module, member, Told)
        monkeypatch.setitem(sys.modules, name, module)
    source = (DEPLOY / "airflow_nightly.py").read_text()
    exec(compile(source, "airflow_nightly.py", "exec"), {"__name__": "dag"})
    dag, task = told
    assert (dag["max_active_runs"], dag["catchup"]) == (1, False)
    words = str(task["bash_command"]).split()
    assert words[:2] == ["copydetect", "nightly"]
    assert _takes(words[2:], monkeypatch)[0] == "/var/lib/copydetect/catalog"
