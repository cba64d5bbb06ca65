"""A run takes no more where it is started, however large it is."""

from __future__ import annotations

from tests.launcher import measured


def test_the_peak_where_a_run_is_started_stays_flat() -> None:
    small, large = measured(4_000), measured(60_000)
    assert large.peak_bytes < 1.2 * small.peak_bytes
    assert large.parts < 1.1 * small.parts
    assert large.pipeline_bytes < 1.1 * small.pipeline_bytes
    assert large.jobs == small.jobs == 3
    # Footers of parts are read on workers; what is left are rows for the report.
    assert sum(large.asked.values()) / large.parts < 1.2 * sum(small.asked.values()) / small.parts
