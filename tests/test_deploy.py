"""The files that deploy a run or a night say what it takes, in forms that their readers read."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
)

from copydetect.pipelines.arguments import CommandParser, refuse_unknown_flags
from copydetect.pipelines.commands import nightly
from copydetect.pipelines.deploy import flex_template
from tests.conftest import Planted

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


def test_the_dockerfile_builds_what_its_users_ask_for() -> None:
    """Its stages, in a form that Docker's own parser reads where there is one."""
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    words = [word for word, _ in steps]
    assert set(words) <= {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "ENTRYPOINT"}
    stages = {rest.split(" AS ")[1] for word, rest in steps if word == "FROM" and " AS " in rest}
    for word, rest in steps:
        if word == "COPY" and (source := re.match(r"--from=(\w+)", rest)):
            assert source[1] in stages
        elif word == "COPY" and rest.split()[0] != ".":
            assert (DEPLOY.parents[1] / rest.split()[0]).is_file()
    # Nobody is root when it starts, and models are loaded as that user.
    assert words.index("USER") < len(words) - 2
    assert steps[-1] == ["ENTRYPOINT", '["/opt/apache/beam/boot"]']
    assert dict(steps)["ENV"] == "FLEX_TEMPLATE_PYTHON_PY_FILE=/template/flex_template.py"
    (beam_version,) = (rest[5:] for word, rest in steps if word == "ARG" and rest[:5] == "BEAM=")
    allowed = re.search(
        r"apache-beam>=([\d.]+),<([\d.]+)", (DEPLOY.parents[1] / "setup.py").read_text()
    )
    assert allowed is not None
    low, at, high = (tuple(map(int, v.split("."))) for v in (allowed[1], beam_version, allowed[2]))
    assert low <= at < high


def test_the_flink_cluster_and_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml")
    cluster, job = yaml.safe_load_all((DEPLOY / "flink.yaml").read_text())
    assert (cluster["apiVersion"], cluster["kind"]) == (
        "flink.apache.org/v1beta1",
        "FlinkDeployment",
    )
    spec = cluster["spec"]
    pod = spec["taskManager"]["podTemplate"]["spec"]
    main, pool = pod["containers"]
    assert main["name"] == "flink-main-container"  # the operator's own
    assert pool["args"] == ["--worker_pool"]
    (launcher,) = job["spec"]["template"]["spec"]["containers"]
    assert launcher["image"] == pool["image"]
    assert launcher["command"] == ["copydetect", "dedup"]
    parser = CommandParser("dedup", "", True)
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--output")
    arguments, engine = parser.parse(launcher["args"])
    assert (arguments.photos, arguments.output) == (["gs://bucket/photos"], "gs://bucket/out")
    flags = PipelineOptions(list(engine.flags))
    refuse_unknown_flags(engine.flags, flags.get_all_options())
    flink = flags.view_as(FlinkRunnerOptions)
    assert f"v{flink.flink_version}".replace(".", "_") == spec["flinkVersion"]
    assert flink.flink_master == f"{cluster['metadata']['name']}-rest:8081"
    portable = flags.view_as(PortableOptions)
    (port,) = pool["ports"]
    assert portable.environment_config == f"localhost:{port['containerPort']}"


def test_the_flex_template_says_what_its_program_takes(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the whole job is built and checked, though not run."""
    metadata = json.loads((DEPLOY / "flex-template.json").read_text())
    values = {"input": str(planted.folder), "output": str(tmp_path), "effort": "fast", "parts": "3"}
    told = {one["name"]: one for one in metadata["parameters"]}
    assert told.keys() == values.keys()
    examples = {**values, "input": "gs://bucket/photos", "output": "gs://bucket/out"}
    for name, one in told.items():
        assert {"label", "helpText", "regexes", "paramType"} <= one.keys()
        assert all(re.search(pattern, examples[name]) for pattern in one["regexes"])
    seen: list[beam.Pipeline] = []
    monkeypatch.setattr(beam.Pipeline, "run", lambda pipeline: seen.append(pipeline))
    flex_template.main([f"--{name}={value}" for name, value in values.items()])
    (pipeline,) = seen
    labels = {one.unique_name for one in _transforms(pipeline.to_runner_api())}
    assert {"DedupImages", "write groups", "write matches", "write failures"} <= labels


def test_a_job_of_dataflow_asks_for_the_workers_that_it_is_told_of(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole graph is translated offline, as a dry run does."""
    pytest.importorskip("apitools", reason="the extra gcp is missing")
    apiclient = pytest.importorskip("apache_beam.runners.dataflow.internal.apiclient")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    accelerator = "type:nvidia-tesla-t4;count:1;install-nvidia-driver"
    result = flex_template.main(
        [
            f"--input={planted.folder}",
            f"--output={tmp_path}",
            "--runner=DataflowRunner",
            "--dry_run=True",
            "--no_auth",
            "--project=project",
            "--region=europe-west1",
            "--temp_location=gs://bucket/temp",
            "--sdk_location=container",
            "--sdk_container_image=registry/copydetect:1",
            "--worker_machine_type=n1-standard-8",
            "--disk_size_gb=300",
            f"--dataflow_service_option=worker_accelerator={accelerator}",
        ]
    )
    job = result.job
    environments = job.proto_pipeline.components.environments.values()
    assert any(b"registry/copydetect:1" in one.payload for one in environments)
    labels = {one.unique_name for one in _transforms(job.proto_pipeline)}
    assert {"DedupImages", "write groups"} <= labels
    environment = apiclient.Environment(
        packages=[],
        options=job.options,
        environment_version="1",
        proto_pipeline_staged_url="gs://bucket/pipeline",
        proto_pipeline=job.proto_pipeline,
    ).proto
    (pool,) = environment.worker_pools
    assert (pool.machine_type, pool.disk_size_gb) == ("n1-standard-8", 300)
    assert f"worker_accelerator={accelerator}" in environment.service_options


def _transforms(pipeline: Any) -> Any:
    return pipeline.components.transforms.values()
