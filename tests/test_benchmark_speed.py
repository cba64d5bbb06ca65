"""The figures of a small run, and fastdup beside it."""

import json
import platform

import cv2
import numpy as np

from copydetect.pipelines.benchmarks import speed
from copydetect.pipelines.commands import benchmark


def test_figures_of_a_small_run(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number in range(6):
        small = rng.integers(0, 256, (5, 7, 3), np.uint8)
        picture = cv2.resize(small, (140, 100), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    assert benchmark.main(["speed", str(tmp_path), "--workers=1"]) == 0
    figures = json.loads(capsys.readouterr().out)
    rates = figures["images_per_second"]
    assert figures["images"] == 6
    assert min(rates.values()) > 0
    assert {"describe images", "launcher"} < set(figures["cpu_seconds"])
    assert all(seconds > 0 for seconds in figures["cpu_seconds"].values())
    assert "SSE2" in figures["instruction_sets"] or platform.machine() != "x86_64"


FASTDUP = """#!/bin/sh
echo "Analysis complete."
echo "seconds 2.5"
"""


def test_fastdup_is_told_as_a_ratio(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed, "_figures", lambda *_: {"whole_seconds": 5.0})
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), np.zeros((99, 99, 3), np.uint8))
    stand_in = tmp_path / "python"
    stand_in.write_text(FASTDUP)
    stand_in.chmod(0o755)
    arguments = ["speed", str(tmp_path / "photos"), "--workers=1", "--fastdup"]
    assert benchmark.main([*arguments, str(stand_in)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["fastdup_seconds"], figures["dedup_over_fastdup"]) == (2.5, 0.5)
    assert benchmark.main([*arguments, str(tmp_path / "nowhere")]) == 2
    assert "nowhere does not run fastdup" in capsys.readouterr().err
