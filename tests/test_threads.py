"""How many threads there may be is found out before a library needs one."""

from __future__ import annotations

import threading

import pytest

from copydetect.workers.threads import startable_threads


def test_as_many_as_are_wanted() -> None:
    before = threading.active_count()
    assert startable_threads(8) == 8
    assert threading.active_count() == before


def test_a_limit_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert startable_threads(8) == 3
    assert not any(thread.is_alive() for thread in started)
