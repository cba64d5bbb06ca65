"""The Python front: what it gives is what the command line gives."""

from __future__ import annotations

import doctest
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import copydetect
from copydetect import api
from copydetect.errors import ImageError, InputError, OptionError, TooManyFailuresError
from copydetect.index.channels import read_vectors
from copydetect.options import EngineOptions, RunChanges, RunOptions
from copydetect.pipelines.commands import dedup as command
from copydetect.pipelines.commands import export as export_command
from copydetect.runs import Manifest
from copydetect.types import Pixels
from tests.conftest import BROKEN, EMPTY, ONE_WORKER, TWIN, Planted, Run, encoded
from tests.scenes import scene

ROOT = Path(__file__).parents[1]
ALONE = EngineOptions(workers=1)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, copydetect; assert not {'torch', 'apache_beam', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_public_name_is_there() -> None:
    for name in copydetect.__all__:
        assert getattr(copydetect, name) is not None
    with pytest.raises(AttributeError, match="dedupe"):
        copydetect.dedupe  # noqa: B018


def test_keywords_are_the_options() -> None:
    assert set(RunChanges.__annotations__) == set(RunOptions.__dataclass_fields__)


def test_the_examples_of_the_docstrings_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    monkeypatch.chdir(tmp_path)
    examples = {test.name.rsplit(".")[-1]: test for test in doctest.DocTestFinder().find(api)}
    runner = doctest.DocTestRunner()
    # The later ones open what the first one leaves.
    for name in ("dedup", "match", "open_run", "compare", "describe", "export"):
        assert examples[name].examples, name
        runner.run(examples[name])
    assert runner.summarize(verbose=False).failed == 0


def test_pairs_of_ids_and_bytes_give_the_same_tables(
    planted: Planted, run: Run, tmp_path: Path
) -> None:
    pairs = [(name, (planted.folder / name).read_bytes()) for name in planted.names]
    options = RunOptions(max_failed_fraction=0.5, report=False)
    result = copydetect.dedup(pairs, tmp_path / "out", options, engine=ALONE)
    assert Run(tmp_path / "out", result.manifest).results() == run.results()
    assert result.report is None
    assert [file.suffix for file in (tmp_path / "out" / "inputs").iterdir()] == [".parquet"]


def test_a_result_has_the_tables_and_figures_of_the_run(planted: Planted, run: Run) -> None:
    result = copydetect.open(run.output)
    assert result.images.num_rows == len(planted.names)
    assert set(result.failures["image_id"].to_pylist()) == planted.failures
    assert list(result.to_pandas("groups").columns) == result.groups.column_names
    uris = {row["image_id"]: row["uri"] for row in result.images.to_pylist()}
    for row in result.groups.to_pylist():
        assert row["uri"] == uris[row["image_id"]]
        assert row["kept_uri"] == uris[row["kept_id"]]
    for row in result.matches.to_pylist():
        places = (row["query_uri"], row["reference_uri"])
        assert places == (uris[row["query_id"]], uris[row["reference_id"]])
    summary = result.summary
    assert (summary.groups, summary.copies) == (len(planted.groups), 5)
    assert summary.removable == 1
    assert summary.failed == 2
    assert BROKEN in str(summary)
    with pytest.raises(OptionError, match=r"no table 'image'; did you mean images\?"):
        result.table("image")


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no finished run"):
        copydetect.open(tmp_path)


def test_the_summary_is_one_json_object(
    planted: Planted, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.output, tmp_path / "out")
    arguments = [str(planted.folder), "-o", str(tmp_path / "out"), "--max_failed_fraction=50%"]
    assert command.main([*arguments, "--json", "--no-report", *ONE_WORKER]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["images"], summary["failed"], summary["made_before"]) == (13, 2, True)


def test_a_night_of_unreadable_files_replaces_nothing(
    planted: Planted, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, photos = tmp_path / "out", tmp_path / "photos"
    shutil.copytree(run.output, output)
    shutil.copytree(planted.folder, photos)
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        (photos / name).write_bytes(b"")
    arguments = [str(photos), "-o", str(output), "--overwrite", "--no_report", *ONE_WORKER]
    assert command.main([*arguments]) == 3
    said = capsys.readouterr().err
    assert "5 of 13 images failed, more than max_failed_fraction 0.1 allows" in said
    assert "The earlier result" in said
    assert copydetect.open(output).manifest == run.manifest
    assert Run(output, run.manifest).results() == run.results()
    options = RunOptions(overwrite=True, report=False)
    with pytest.raises(TooManyFailuresError) as refused:
        copydetect.dedup(photos, output, options, engine=ALONE)
    assert refused.value.result is not None
    assert refused.value.result.summary.failed == 5
    assert command.main([*arguments, "--max_failed_fraction=0.5"]) == 0
    assert copydetect.open(output).summary.failed == 5


def test_failures_of_queries_are_not_hidden_among_references(
    planted: Planted, tmp_path: Path
) -> None:
    references = [planted.folder / f"{number}.jpg" for number in range(6)]
    queries = [("good", (planted.folder / "0.jpg").read_bytes()), ("bad", b"")]
    with pytest.raises(TooManyFailuresError, match=r"^1 of 2 queries failed") as refused:
        copydetect.match(queries, references, tmp_path / "out", report=False, engine=ALONE)
    result = refused.value.result
    assert result is not None
    assert not result.manifest.accepted
    assert result.summary.copied_queries == 1


def test_ids_that_repeat_across_shards_are_told_apart(tmp_path: Path) -> None:
    for shard in ("s-000", "s-001"):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for seed in (1, 2):
                file = tmp_path / "file.jpg"
                file.write_bytes(
                    encoded(scene(seed + 7 * (shard == "s-001" and seed == 2), 96, 64))
                )
                tar.add(file, f"{seed}.jpg")
    spec = str(tmp_path / "s-{000..001}.tar")
    result = copydetect.dedup(spec, tmp_path / "out", effort="fast", engine=ALONE, report=False)
    names = {"s-000/1.jpg", "s-000/2.jpg", "s-001/1.jpg", "s-001/2.jpg"}
    assert set(result.images["image_id"].to_pylist()) == names
    assert "4 images had the image_id of another one" in str(result.summary)
    dropped = copydetect.export(tmp_path / "out").splitlines()
    assert dropped == [f"{tmp_path}/s-001.tar#s-001/1.jpg"]
    copydetect.export(tmp_path / "out", "drop", "shards", tmp_path / "filtered")
    with tarfile.open(tmp_path / "filtered" / "s-001.tar") as tar:
        assert tar.getnames() == ["2.jpg"]
    with tarfile.open(tmp_path / "filtered" / "s-000.tar") as tar:
        assert tar.getnames() == ["1.jpg", "2.jpg"]


def test_lists_for_scripts_agree_with_the_tables(
    planted: Planted, run: Run, tmp_path: Path
) -> None:
    dropped = set(copydetect.export(run.output, "drop").splitlines())
    kept = set(copydetect.export(run.output, "keep").splitlines())
    assert dropped == {str(planted.folder / TWIN)}
    readable = set(planted.names) - planted.failures
    assert dropped | kept == {str(planted.folder / name) for name in readable}
    assert not dropped & kept
    rows = [json.loads(row) for row in copydetect.export(run.output, "drop", "jsonl").splitlines()]
    assert {row["uri"] for row in rows} == dropped
    assert {row["kept_uri"] for row in rows} <= kept
    header = copydetect.export(run.output, "pairs", "csv").splitlines()[0].split(",")
    assert {"query_uri", "reference_uri", "confidence"} <= set(header)
    written = copydetect.export(
        run.output, "groups", "parquet", tmp_path / "new" / "groups.parquet"
    )
    assert parquet.read_table(written).equals(copydetect.open(run.output).groups)


def test_lists_for_scripts_hold_no_table(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {name: copydetect.open(run.output).table(name) for name in ("images", "matches")}
    monkeypatch.setattr(Manifest, "table", None)
    for what, name in (("images", "images"), ("pairs", "matches")):
        written = copydetect.export(run.output, what, "parquet", tmp_path / what)
        rows = wanted[name].filter(wanted[name]["is_copy"]) if what == "pairs" else wanted[name]
        assert parquet.read_table(written).equals(rows)
    assert copydetect.export(run.output, "drop").count("\n") == 1


def test_parquet_shards_are_written_without_what_could_go(tmp_path: Path) -> None:
    images = [encoded(scene(seed, 96, 64)) for seed in (1, 2, 1)]
    table = pa.table({"image": images, "label": [7, 8, 9]})
    parquet.write_table(table, tmp_path / "shard.parquet", row_group_size=2)
    spec = tmp_path / "shard.parquet"
    copydetect.dedup(spec, tmp_path / "out", effort="fast", engine=ALONE, report=False)
    folder = copydetect.export(tmp_path / "out", "drop", "shards", tmp_path / "new")
    left = parquet.read_table(Path(folder) / "shard.parquet")
    assert left["label"].to_pylist() == [7, 8]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--what", "dropped"], "did you mean drop"),
        (["--format", "parquet"], "format parquet needs --output"),
        (["--format", "shards", "-o", "new"], "was not in shards"),
    ],
)
def test_what_cannot_be_exported_is_said(
    arguments: list[str], named: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_command.main([str(run.output), *arguments]) == 2
    assert named in capsys.readouterr().err


def test_two_pictures_are_compared_in_any_form(planted: Planted) -> None:
    original, copy = planted.folder / "0.jpg", planted.folder / "copies" / "cropped.jpg"
    forms = [original, original.read_bytes(), Image.open(original), np.array(Image.open(original))]
    for form in forms:
        found = copydetect.compare(form, copy)
        assert found.is_copy
        assert found.confidence > 0.97
    assert found.direction == "reference_is_copy"
    assert found.transform is not None
    assert found.transform.shape == (3, 3)
    ((ours, theirs),) = found.regions
    assert ours.shape == theirs.shape
    assert found.edits[0].startswith("cropped")
    assert not copydetect.compare(original, planted.folder / "1.jpg").is_copy
    twins = copydetect.compare(planted.folder / "3.jpg", planted.folder / TWIN)
    assert (twins.confidence, twins.relation) == (1.0, "identical")


def test_two_large_pages_are_compared_with_all_of_their_pixels() -> None:
    """A digit that differs is gone at the size at which pairs are first compared."""
    page = page_of_numbers(total="184")
    reduced = [
        cv2.resize(one, (900, 1200), interpolation=cv2.INTER_AREA)
        for one in (page, page_of_numbers(total="134"))
    ]
    same, other = (copydetect.compare(page, one) for one in reduced)
    assert (same.is_copy, same.relation) == (True, "same_picture")
    assert (other.is_copy, other.relation) == (False, "changed_content")


def page_of_numbers(total: str) -> Pixels:
    page = np.full((1600, 1200, 3), 255, np.uint8)
    numbers = np.random.default_rng(0).integers(100, 99999, (30, 7)).tolist()
    lines = [" ".join(map(str, line)) for line in numbers]
    for row, line in enumerate([*lines, f"total {total}"]):
        place = (40, 60 + 50 * row)
        cv2.putText(page, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (20, 20, 20), 1, cv2.LINE_AA)
    return page


@pytest.mark.parametrize("bad", [b"no image", np.zeros((3, 4, 2), np.uint8), np.zeros((3, 3)), 7])
def test_what_is_no_image_is_named(bad: object, planted: Planted) -> None:
    with pytest.raises(ImageError, match="image 2"):
        copydetect.compare(planted.folder / "0.jpg", bad)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=EMPTY):
        copydetect.compare(planted.folder / EMPTY, planted.folder / "0.jpg")


def test_descriptors_are_those_of_a_run(planted: Planted, run: Run) -> None:
    (table,) = [
        parquet.read_table(uri) for uri in run.manifest.table_uris(str(run.output), "descriptors")
    ]
    names = table["image_id"].to_pylist()
    vectors, weights = copydetect.describe([planted.folder / name for name in names])
    assert np.allclose(vectors, read_vectors(table), atol=1e-3)
    assert np.allclose(weights, table["weight"].to_numpy(), atol=1e-5)
    assert copydetect.describe(planted.folder / "0.jpg")[0].shape == (1, vectors.shape[1])
