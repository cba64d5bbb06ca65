"""`copydetect match` from the command line, against planted truth and its pure functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from copydetect.pipelines.commands import match
from copydetect.runs import Manifest
from tests.composition import Composition, Described, StageOptions, default_settings
from tests.conftest import BROKEN, EDITS, ONE_WORKER, STORAGE, Planted, Run, encoded
from tests.scenes import scene


@pytest.fixture(scope="module")
def sides(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of queries and references; both sides have an image called 5.jpg, of two scenes."""
    queries, references = (tmp_path_factory.mktemp(name) for name in ("queries", "references"))
    for name in (*EDITS, BROKEN):
        (queries / Path(name).name).write_bytes((planted.folder / name).read_bytes())
    (queries / "5.jpg").write_bytes(encoded(scene(77, 320, 240)))
    for number in range(6):
        content = (planted.folder / f"{number}.jpg").read_bytes()
        (references / f"{number}.jpg").write_bytes(content)
    return queries, references


@pytest.fixture(scope="module")
def run(sides: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    output = tmp_path_factory.mktemp("match") / "out"
    flags = ["--output", str(output), "--max_failed_fraction=0.5", *ONE_WORKER]
    queries, references = (str(folder) for folder in sides)
    assert match.main(["--queries", queries, "--references", references, *flags]) == 0
    return Run(output, Manifest.load(STORAGE, str(output)))


TRUTH = {(Path(name).name, original) for name, (original, _) in EDITS.items()}


def test_planted_copies_are_found_and_nothing_else(run: Run) -> None:
    candidates = {(row["query_id"], row["reference_id"]) for row in run.rows("candidates")}
    assert candidates >= TRUTH
    copies = {(r["query_id"], r["reference_id"]) for r in run.rows("matches") if r["is_copy"]}
    assert copies == TRUTH


def test_the_best_candidate_of_each_copy_is_its_original(run: Run) -> None:
    best = {(r["query_id"], r["reference_id"]) for r in run.rows("candidates") if r["rank"] == 1}
    assert best >= TRUTH


def test_each_side_keeps_its_role_and_names(run: Run) -> None:
    images = [(row["role"], row["image_id"]) for row in run.rows("images")]
    assert ("query", "5.jpg") in images
    assert ("reference", "5.jpg") in images
    assert len(images) == 12
    (failure,) = run.rows("failures")
    assert (failure["role"], failure["image_id"]) == ("query", BROKEN)


def test_there_are_no_groups_but_a_report(run: Run) -> None:
    assert run.manifest.tables["groups"] == []
    assert (run.output / "report" / "index.html").exists()


def test_the_pipeline_is_the_composition_of_the_pure_functions(
    sides: tuple[Path, Path], run: Run, tmp_path: Path
) -> None:
    options = StageOptions("match")
    describer = options.setup.load()
    queries = Described.of("query", sides[0], tmp_path, describer)
    references = Described.of("reference", sides[1], tmp_path, options.setup.of("reference").load())
    assert describer.embedder is not None
    composed = Composition(queries, references, tmp_path)
    for name, table in composed.run(options, describer.embedder.identity).items():
        assert run.table(name).equals(table), name


def test_queries_are_looked_into_and_piles_are_not_unless_told() -> None:
    assert default_settings("match").views == "whole,frames"
    assert default_settings("dedup").views == "whole"
    assert default_settings("match", views="whole").views == "whole"
    assert default_settings("dedup", views="whole,frames").views == "whole,frames"
