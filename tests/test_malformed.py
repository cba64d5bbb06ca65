"""Files that break decoders: each ends in `images` or `failures`, and the run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from copydetect.inputs.extensions import IMAGE_EXTENSIONS
from tests.conftest import dedup_run

MALFORMED = Path(__file__).parents[2] / "shared" / "bench" / "malformed"


@pytest.mark.skipif(not MALFORMED.is_dir(), reason="the collection of malformed files is not here")
def test_every_malformed_file_is_an_image_or_a_failure(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ["--channels=local", "--effort=fast", "--max_failed_fraction=1", "--min_score=99"]
    run = dedup_run(MALFORMED, tmp_path / "out", *flags)
    images = {str(row["image_id"]): row["status"] for row in run.rows("images")}
    failures = {str(row["image_id"]) for row in run.rows("failures")}
    files = [
        file
        for file in MALFORMED.rglob("*")
        if file.is_file()
        and file.suffix.lower() in IMAGE_EXTENSIONS
        and not any(part.startswith(".") for part in file.relative_to(MALFORMED).parts)
    ]
    assert len(images) == len(files)
    assert {name for name, status in images.items() if status == "failed"} == failures
    assert capfd.readouterr().err == ""
