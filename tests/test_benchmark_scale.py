"""`copydetect benchmark scale`: a run takes no more where it is started, however large it is."""

from __future__ import annotations

import json

import pytest

from copydetect.pipelines.benchmarks import scale
from copydetect.pipelines.benchmarks.scale import MOST_RATIO, LauncherCost, measured
from copydetect.pipelines.commands import benchmark
from copydetect.pipelines.exit_codes import BAD_ARGUMENTS


def test_the_peak_where_a_run_is_started_stays_flat() -> None:
    small, large = measured(4_000), measured(60_000)
    assert large.peak_bytes < MOST_RATIO * small.peak_bytes
    assert large.parts < 1.1 * small.parts
    assert large.pipeline_bytes < 1.1 * small.pipeline_bytes
    assert large.jobs == small.jobs == 3
    # Footers of parts are read on workers; what is left are rows for the report.
    assert sum(large.asked.values()) / large.parts < 1.2 * sum(small.asked.values()) / small.parts


def test_the_table_compares_with_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cost(images: int) -> LauncherCost:
        return LauncherCost(
            images, 9, 10**6 * (2 if images > 3000 else 1), 500, 3, {"open": 7}, 1.5
        )

    monkeypatch.setattr(scale, "measured", cost)
    assert benchmark.main(["scale", "--sizes=3000,1e4"]) == 0
    said = capsys.readouterr().out
    assert "| 10,000 | 9 | 2 MB | 2.00 |" in said
    assert [one["images"] for one in json.loads(said[said.index("[\n") :])] == [3000, 10000]


@pytest.mark.parametrize("sizes", ["ten", "100"])
def test_sizes_are_numbers(sizes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["scale", f"--sizes={sizes}"]) == BAD_ARGUMENTS
    assert "size" in capsys.readouterr().err
