"""Designs with other content are told from edited copies, however heavily they are edited."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from copydetect import compare
from copydetect.errors import ModelError
from copydetect.training import relation_pairs
from copydetect.training.relation_decision import Labelled, fit_designs
from copydetect.training.relation_pairs import of_edited_designs
from copydetect.types import Pixels
from copydetect.verification.filled_designs import load_designs
from copydetect.verification.relations import NAMES
from tests.scenes import scene


def ticket(row: str, seat: str, date: str, number: str) -> Pixels:
    """A ticket of one theatre."""
    canvas = Image.new("RGB", (760, 320), (255, 252, 240))
    draw = ImageDraw.Draw(canvas)

    def write(x: int, y: int, text: str, size: int, colour: tuple[int, int, int]) -> None:
        draw.text((x, y), text, font=ImageFont.load_default(size), fill=colour)

    draw.rectangle((0, 0, 180, 320), fill=(150, 20, 60))
    write(30, 120, "ADMIT", 36, (255, 255, 255))
    write(40, 160, "ONE", 36, (255, 255, 255))
    write(210, 30, "GRAND THEATRE", 52, (60, 10, 20))
    for place, (name, value) in enumerate(
        (("ROW", row), ("SEAT", seat), ("DATE", date), ("NO", number))
    ):
        write(210 + place * 130, 150, name, 22, (120, 90, 90))
        write(210 + place * 130, 180, value, 42, (0, 0, 0))
    return np.asarray(canvas, np.uint8)


def test_another_ticket_is_no_copy_of_one_with_bars_and_a_caption() -> None:
    one, other = ticket("D", "38", "27.8.", "249624"), ticket("F", "18", "21.9.", "711479")
    framed = Image.new("RGB", (504, 403))
    framed.paste(Image.fromarray(one).resize((500, 210), Image.Resampling.BICUBIC), (2, 96))
    caption = ImageFont.load_default(40)
    ImageDraw.Draw(framed).text((22, 280), "Shipping if you our", (200, 30, 90), caption)
    written = io.BytesIO()
    framed.save(written, "JPEG", quality=75)
    assert compare(written.getvalue(), one).is_copy
    found = compare(written.getvalue(), other)
    assert not found.is_copy
    assert found.relation in ("changed_content", "same_layout")


def test_look_alikes_are_edited_as_copies_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relation_pairs, "_pages_alike", lambda *_: [])
    photos = [scene(number, 300, 200) for number in range(4)]
    pairs = list(of_edited_designs(np.random.default_rng(0), photos, "chromium"))
    copies = [pair for pair in pairs if pair.relation == "edited"]
    others = [pair for pair in pairs if pair.relation == "same_layout"]
    assert len(others) > 0.9 * len(copies)
    edited = {pair.first.tobytes() for pair in copies}
    assert all(pair.first.tobytes() in edited for pair in others)
    assert {pair.source for pair in pairs} == {
        f"made {name}" for name in ("boards", "codes", "patterns", "icons")
    }


def test_what_tells_designs_is_learnt_and_read_as_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    copies = rng.random(600) < 0.6
    values = rng.normal(size=(600, len(NAMES))).astype(np.float32)
    values[:, NAMES.index("full_middle_p2")] = copies + rng.normal(0, 0.1, 600)
    for name in ("full_plain", "full_plain_reference"):
        values[:, NAMES.index(name)] = rng.uniform(0.1, 1, 600)
    relations = np.where(copies, "edited", "same_layout")
    sources = np.array([f"source {number % 9}" for number in range(600)])
    made = fit_designs(Labelled(values, relations, sources))
    assert made["unseen"]["pairs"] < 600
    assert made["unseen"]["others told"] > 0.9 > 0.1 > made["unseen"]["copies told"]
    path = tmp_path / "designs.json"
    path.write_text(json.dumps(made), encoding="utf-8")
    told = load_designs(path).sums(values[:, 2:]) < 0
    assert (told != copies).mean() > 0.95
    path.write_text("{}", encoding="utf-8")
    load_designs.cache_clear()
    with pytest.raises(ModelError, match="is not a decision on designs"):
        load_designs(path)
