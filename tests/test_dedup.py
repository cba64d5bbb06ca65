"""`copydetect dedup` from the command line; the direct composition of its parts is its oracle."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from copydetect import runs, tables
from copydetect.errors import InputError
from copydetect.pipelines.commands import dedup
from copydetect.runs import Manifest
from copydetect.storage.files import Storage
from copydetect.types import Failure, ImageRef
from tests.composition import Composition, Described, StageOptions
from tests.conftest import (
    BROKEN,
    EDITS,
    EMPTY,
    ONE_WORKER,
    STORAGE,
    TWIN,
    Planted,
    Run,
    dedup_run,
)

Patch = pytest.MonkeyPatch


def in_parts(monkeypatch: Patch, parts: int = 4) -> None:
    """Cut the small collection into parts, as a large one is."""
    monkeypatch.setattr("copydetect.pipelines.stages.part_count", lambda images: parts)


def files_of(output: Path) -> list[str]:
    return sorted(str(f.relative_to(output)) for f in output.rglob("*") if f.is_file())


def test_planted_copies_are_candidates_matches_and_groups(planted: Planted, run: Run) -> None:
    for level in ("candidates", "matches"):
        found = {frozenset((row["query_id"], row["reference_id"])) for row in run.rows(level)}
        assert {frozenset((name, original)) for name, (original, _) in EDITS.items()} <= found
    verdicts = {
        frozenset((row["query_id"], row["reference_id"])): row["is_copy"]
        for row in run.rows("matches")
    }
    same = {pair: any(pair <= group for group in planted.groups) for pair in verdicts}
    assert verdicts == same
    assert run.groups() == planted.groups


def test_one_image_of_a_group_is_kept_the_largest(run: Run) -> None:
    kept = {row["image_id"] for row in run.rows("groups") if row["keep"]}
    assert {"0.jpg", "1.jpg"} <= kept
    assert len(kept) == 4


def test_each_pair_is_a_candidate_once_and_none_with_itself(run: Run) -> None:
    pairs = [(row["query_id"], row["reference_id"]) for row in run.rows("candidates")]
    assert all(query != reference for query, reference in pairs)
    assert len(set(map(frozenset, pairs))) == len(pairs)


def test_byte_identical_files_are_described_once(planted: Planted, run: Run) -> None:
    images = {row["image_id"]: row for row in run.rows("images")}
    assert (images[TWIN]["status"], images[TWIN]["duplicate_of"]) == ("duplicate", "3.jpg")
    assert images[TWIN]["sha256"] == images["3.jpg"]["sha256"]
    uris = run.manifest.table_uris(str(run.output), "descriptors")
    described = [i for uri in uris for i in tables.read_table(STORAGE, uri)["image_id"].to_pylist()]
    assert sorted(described) == sorted(set(planted.names) - planted.failures - {TWIN})


def test_what_fails_is_named_with_its_reason(planted: Planted, run: Run) -> None:
    failures = {row["image_id"]: row for row in run.rows("failures")}
    assert set(failures) == {BROKEN, EMPTY}
    assert all(row["stage"] == "decode" and row["message"] for row in failures.values())
    images = {row["image_id"]: row["status"] for row in run.rows("images")}
    assert set(images) == set(planted.names)
    assert {name for name, status in images.items() if status == "failed"} == {BROKEN, EMPTY}


def test_the_manifest_counts_what_the_tables_hold(run: Run) -> None:
    manifest = run.manifest
    assert manifest.counts["images"] == 13
    assert set(manifest.settings["models"]) == {"descriptor", "background", "local"}
    for name, uris in manifest.tables.items():
        rows = [parquet.read_metadata(run.output / uri).num_rows for uri in uris]
        assert manifest.counts[name] == sum(rows)
    assert not [name for name in files_of(run.output) if "search" in name or "listing" in name]


def test_the_pipeline_is_the_composition_of_the_pure_functions(
    planted: Planted, run: Run, tmp_path: Path
) -> None:
    options = StageOptions("dedup")
    describer = options.setup.load()
    described = Described.of("image", planted.folder, tmp_path, describer)
    for name in ("images", "descriptors", "keypoints", "failures"):
        (uri,) = run.manifest.table_uris(str(run.output), name)[:1]
        assert tables.read_table(STORAGE, uri).equals(described.table(name)), name
    assert describer.embedder is not None
    expected = Composition(described, described, tmp_path).run(options, describer.embedder.identity)
    for name, table in expected.items():
        assert run.table(name).equals(table), name


def test_a_second_run_has_nothing_to_do(
    planted: Planted, run: Run, tmp_path: Path, monkeypatch: Patch, capsys
) -> None:
    output = tmp_path / "out"
    shutil.copytree(run.output, output)
    before = {f: f.stat().st_mtime_ns for f in output.glob("run-*/*/*")}
    monkeypatch.setattr("copydetect.pipelines.stages.describe", None)
    flags = ["--max_failed_fraction=1", ONE_WORKER[0]]
    assert dedup.main([str(planted.folder), "--output", str(output), *flags]) == 0
    assert "as in the run before" in capsys.readouterr().out
    assert {f: f.stat().st_mtime_ns for f in output.glob("run-*/*/*")} == before


def test_a_second_run_mends_what_is_gone_and_leaves_nothing_stale(
    planted: Planted, run: Run, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(run.output, output)
    next(output.glob("run-*/matches/*")).unlink()
    again = dedup_run(planted.folder, output)
    first, second = (
        json.loads((folder / runs.MANIFEST).read_text()) for folder in (run.output, output)
    )
    assert first | {"seconds": 0} == second | {"seconds": 0}
    assert files_of(output) == files_of(run.output)
    assert again.results() == run.results()


def damage(file: Path, how: int) -> None:
    """Remove, empty, cut or change a file."""
    data = file.read_bytes()
    if how == 0:
        file.unlink()
    else:
        middle = len(data) // 2
        file.write_bytes([b"", data[:middle], data[:middle] + b"?" + data[middle + 1 :]][how - 1])


@pytest.mark.parametrize("finished", [True, False])
def test_damaged_parts_are_made_again(
    finished: bool, planted: Planted, run: Run, tmp_path: Path, monkeypatch: Patch
) -> None:
    in_parts(monkeypatch, 3)
    output = tmp_path / "out"
    if finished:
        dedup_run(planted.folder, output)
    else:
        with monkeypatch.context() as patch:
            patch.setattr("copydetect.grouping.group_job.group_copies", None)
            with pytest.raises(InputError, match="no finished run"):
                dedup_run(planted.folder, output, expected=1)
    files = sorted(file for file in output.glob("run-*/**/*") if file.is_file())
    assert len(files) > 20
    for number, file in enumerate(files):
        if number % 3:
            damage(file, number // 3 % 4)
    again = dedup_run(planted.folder, output)
    assert again.results() == run.results()
    assert again.rows("images") == run.rows("images")


def test_other_content_replaces_a_run_only_where_it_may(
    planted: Planted, run: Run, tmp_path: Path
) -> None:
    output, photos = tmp_path / "out", tmp_path / "photos"
    shutil.copytree(run.output, output)
    shutil.copytree(planted.folder, photos)
    (photos / TWIN).unlink()
    (photos / "2.jpg").unlink()
    dedup_run(photos, output, expected=2)
    assert Run(output, Manifest.load(STORAGE, str(output))).results() == run.results()
    again = dedup_run(photos, output, "--overwrite")
    assert [f.name for f in output.glob("run-*")] == [again.manifest.folder]
    assert again.manifest.folder != run.manifest.folder
    assert again.groups() == {group for group in planted.groups if not {TWIN, "2.jpg"} & group}


def test_other_settings_replace_a_run_only_where_they_may(
    planted: Planted, run: Run, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(run.output, output)
    dedup_run(planted.folder, output, "--channels=local", "--k=3", expected=2)
    again = dedup_run(planted.folder, output, "--channels=local", "--k=3", "--overwrite")
    assert [f.name for f in output.glob("run-*")] == [again.manifest.folder]
    assert all(row["similarity"] is None for row in again.rows("candidates"))
    assert again.groups() == planted.groups


@pytest.mark.parametrize(
    ("stage", "place"),
    [
        ("describe", "copydetect.transforms.refs_to_descriptions.describe_part"),
        ("verify", "copydetect.transforms.candidates_to_matches.verify_part"),
    ],
)
def test_an_interrupted_run_continues(
    stage: str, place: str, planted: Planted, run: Run, tmp_path: Path, monkeypatch: Patch, capsys
) -> None:
    in_parts(monkeypatch)
    output = tmp_path / "out"
    module, name = place.rsplit(".", 1)
    function = getattr(__import__(module, fromlist=[name]), name)
    calls = []

    def fail_third(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", "out")
        return function(*arguments)

    flags = [str(planted.folder), "--output", str(output), "--max_failed_fraction=1", *ONE_WORKER]
    with monkeypatch.context() as patch:
        patch.setattr(place, fail_third)
        assert dedup.main(flags) == 1
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert f"stage {stage}" in message
    assert "No space left on device" in message
    assert not (output / runs.MANIFEST).exists()
    table = {"describe": "images", "verify": "matches"}[stage]
    before = {f: f.stat().st_mtime_ns for f in output.glob(f"run-*/{table}/*")}
    assert len(before) == 2
    again = dedup_run(planted.folder, output)
    assert {f: f.stat().st_mtime_ns for f in before} == before
    assert again.results() == run.results()


def test_what_could_not_be_read_for_a_while_is_read_by_the_next_run(
    planted: Planted, tmp_path: Path, monkeypatch: Patch
) -> None:
    def unreadable(storage: Storage, refs: Iterable[ImageRef]) -> Iterator[object]:
        for ref in refs:
            reason = Failure(
                ref.image_id, ref.uri, "read", "OSError", "host is down", retryable=True
            )
            yield ref, reason

    flags = ["--channels=local", "--max_failed_fraction=1"]
    with monkeypatch.context() as patch:
        patch.setattr("copydetect.inputs.listing.read_refs", unreadable)
        assert dedup_run(planted.folder, tmp_path, *flags).manifest.counts["failures"] == 13
    again = dedup_run(planted.folder, tmp_path, *flags)
    assert again.manifest.counts["failures"] == len(planted.failures)
    assert again.groups() == planted.groups


def as_csv(planted: Planted, folder: Path) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["image_id", "uri"])
    writer.writerows((name, str(planted.folder / name)) for name in reversed(planted.names))
    (folder / "photos.csv").write_text(text.getvalue())
    return str(folder / "photos.csv")


def as_tars(planted: Planted, folder: Path) -> str:
    for shard in range(2):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for name in planted.names[shard::2]:
                tar.add(planted.folder / name, name)
    return str(folder)


def as_parquet(planted: Planted, folder: Path) -> str:
    content = [(planted.folder / name).read_bytes() for name in planted.names]
    table = pa.table({"image_id": planted.names, "image": content})
    parquet.write_table(table, folder / "photos.parquet", row_group_size=4)
    return str(folder / "photos.parquet")


@pytest.mark.parametrize(
    ("kind", "workers", "parts"), [(as_csv, 3, 1), (as_tars, 1, 4), (as_parquet, 2, 5)]
)
def test_results_depend_on_neither_kind_nor_order_nor_workers_nor_parts(
    kind: Callable[[Planted, Path], str],
    workers: int,
    parts: int,
    planted: Planted,
    run: Run,
    tmp_path: Path,
    monkeypatch: Patch,
) -> None:
    in_parts(monkeypatch, parts)
    (tmp_path / "input").mkdir()
    photos = kind(planted, tmp_path / "input")
    other = dedup_run(photos, tmp_path / "out", f"--direct_num_workers={workers}")
    assert other.results() == run.results()
    without_place = [
        [{**row, "uri": "", "member": ""} for row in one.rows("images")] for one in (other, run)
    ]
    assert without_place[0] == without_place[1]
