"""What of a run is done: on an engine its workers look."""

from __future__ import annotations

from pathlib import Path

import pytest

from copydetect.options import EngineOptions
from copydetect.parts import PartNames
from copydetect.pipelines import stages, unfinished
from copydetect.pipelines.engine import Engine, engine_of
from copydetect.pipelines.stages import Workplace
from copydetect.storage.remote import RecordedStorage


def test_workers_tell_which_parts_are_to_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "MANY_PARTS", 10)
    monkeypatch.setattr(unfinished, "_TOGETHER", 4)
    storage = RecordedStorage(str(tmp_path))
    engine = engine_of(EngineOptions(flags=("--direct_num_workers=1",)))
    place = Workplace(storage, f"{tmp_path}/run", engine)
    tables = [PartNames(f"{tmp_path}/run/{name}", "image", 11) for name in ("images", "failures")]
    for uri in (*tables[0], *tables[1]):
        storage.write(uri, b"whole")
    Path(tables[0][3]).write_bytes(b"damaged")
    Path(tables[1][10]).unlink()
    wanted = place.unfinished_of(tables)
    assert wanted == {3, 10}
    monkeypatch.setattr(Engine, "is_local", property(lambda _: False))
    asked: list[str] = []
    real = Engine.run_stages
    monkeypatch.setattr(
        Engine,
        "run_stages",
        lambda self, job, some, parts=0: (asked.append(job), real(self, job, some)),
    )
    assert place.unfinished_of(tables) == wanted
    assert asked == ["look for what is done"]
    assert place.unfinished_of([table[:9] for table in tables]) == {3}
    assert len(asked) == 1, "few are looked at from here"
