"""Pictures → a set of look-alikes to measure with, of kinds that nothing is trained on.

    python -m copydetect.pipelines.recipes look_alikes SET PICTURES… --each 4
    copydetect dedup SET/images --output OUT
    copydetect evaluate OUT --truth SET/truth.csv

Charts, tickets and puzzles of one form, rooms seen from two places, and things that pass before a
camera that stands still. Each is beside true copies of itself. Every second picture that is given
stands in a room or passes by, the others lie among the set as strangers: no two may be copies. The
truth names pairs with the first picture of each; what others are to each other is left open.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from copydetect import edits
from copydetect.errors import InputError
from copydetect.images.resizing import limited, resized
from copydetect.types import Doubles, Floats, Pixels, Relation

_FEWEST = 12
_WIDTH, _HEIGHT = 640, 480
_INK, _PAPER = (40.0, 40.0, 48.0), (250.0, 250.0, 246.0)
_NOISE_LEVELS = 3.0
"""Standard deviation of a camera's noise in a room, in grey levels."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX

Rng = np.random.Generator
Alike = tuple[str, Relation, Pixels]
"""What is other in it, what it is to the first picture, and the picture."""


def charts(rng: Rng, _: Sequence[Pixels]) -> tuple[Pixels, list[Alike]]:
    """A bar chart; the same with another height of one bar; the same axes with other bars."""
    bars, title = int(rng.integers(5, 10)), f"Units sold {rng.integers(2001, 2030)}"
    colour = tuple(float(c) for c in rng.uniform(30, 200, 3))
    heights = rng.uniform(0.1, 1, bars)
    one = heights.copy()
    bar = int(rng.integers(bars))
    one[bar] = heights[bar] / 2 if heights[bar] > 0.5 else heights[bar] + 0.35

    def drawn(shares: Doubles) -> Pixels:
        canvas = _blank()
        cv2.putText(canvas, title, (60, 40), _FONT, 0.9, _INK, 2, cv2.LINE_AA)
        for line in range(6):
            y = 430 - 70 * line
            cv2.line(canvas, (60, y), (620, y), (200.0,) * 3, 1)
            cv2.putText(canvas, str(20 * line), (16, y + 5), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
        step = 550 // bars
        for number, share in enumerate(shares.tolist()):
            left = 70 + number * step
            top = 430 - round(350 * share)
            cv2.rectangle(canvas, (left, top), (left + step - 12, 430), colour, -1)
        return canvas

    others = rng.uniform(0.1, 1, bars)
    return drawn(heights), [
        ("bar", "changed_content", drawn(one)),
        ("other", "same_layout", drawn(others)),
    ]


def tickets(rng: Rng, _: Sequence[Pixels]) -> tuple[Pixels, list[Alike]]:
    """A ticket; the same with another digit of the seat; another person's ticket."""
    names = ("FROM", "TO", "DATE", "NAME", "SEAT", "PRICE")
    colour = tuple(float(c) for c in rng.uniform(20, 140, 3))

    def fields() -> list[str]:
        letters = np.array(list("ABCDEGHIKLMNOPRSTUVZ"))
        words = ["".join(rng.choice(letters, int(rng.integers(4, 9)))) for _ in range(3)]
        date, seat = f"{rng.integers(1, 29):02}.{rng.integers(1, 13):02}", rng.integers(100, 999)
        return [*words[:2], date, words[2], str(seat), f"{rng.integers(10, 99)}.50"]

    def drawn(values: Sequence[str]) -> Pixels:
        canvas = _blank()[:300]
        cv2.rectangle(canvas, (0, 0), (_WIDTH, 60), colour, -1)
        cv2.putText(canvas, "LINE 7 - ONE WAY", (20, 42), _FONT, 1.1, _PAPER, 2, cv2.LINE_AA)
        for number, (name, value) in enumerate(zip(names, values, strict=True)):
            left, top = 30 + 210 * (number % 3), 110 + 100 * (number // 3)
            cv2.putText(canvas, name, (left, top), _FONT, 0.5, (120.0,) * 3, 1, cv2.LINE_AA)
            cv2.putText(canvas, value, (left, top + 36), _FONT, 0.9, _INK, 2, cv2.LINE_AA)
        return canvas

    first, other = fields(), fields()
    seat = first[4][:2] + str((int(first[4][2]) + int(rng.integers(2, 8))) % 10)
    return drawn(first), [
        ("seat", "changed_content", drawn([*first[:4], seat, first[5]])),
        ("other", "same_layout", drawn(other)),
    ]


def puzzles(rng: Rng, _: Sequence[Pixels]) -> tuple[Pixels, list[Alike]]:
    """A square of numbers of which some are given, and another one."""

    def drawn() -> Pixels:
        canvas = np.full((480, 480, 3), _PAPER, np.uint8)
        for line in range(10):
            at, thick = 15 + 50 * line, 3 if line % 3 == 0 else 1
            cv2.line(canvas, (at, 15), (at, 465), _INK, thick)
            cv2.line(canvas, (15, at), (465, at), _INK, thick)
        for cell in np.flatnonzero(rng.random(81) < 0.4).tolist():
            corner = 28 + 50 * (cell % 9), 52 + 50 * (cell // 9)
            digit = str(rng.integers(1, 10))
            cv2.putText(canvas, digit, corner, _FONT, 1.1, _INK, 2, cv2.LINE_AA)
        return canvas

    return drawn(), [("other", "same_layout", drawn())]


def rooms(rng: Rng, pictures: Sequence[Pixels]) -> tuple[Pixels, list[Alike]]:
    """Pictures that stand in a room at several distances, seen from two places."""
    chosen = [pictures[int(i)] for i in rng.choice(len(pictures), 5, replace=False)]
    far = np.linspace(9, 3.5, len(chosen)).tolist()
    places = [(float(rng.uniform(-0.4, 0.4)) * z, float(rng.uniform(-0.2, 0.2)) * z) for z in far]
    turns, step = rng.uniform(-0.5, 0.5, len(chosen)).tolist(), float(rng.uniform(0.5, 1.1))
    back = pictures[int(rng.integers(len(pictures)))]

    def seen(camera: float) -> Pixels:
        blurred = cv2.GaussianBlur(resized(back, _WIDTH, _HEIGHT), (0, 0), 9)
        view: Pixels = np.asarray(blurred, np.uint8)
        for picture, z, (x, y), turn in zip(chosen, far, places, turns, strict=True):
            wide, tall = 1.6, 1.6 * picture.shape[0] / picture.shape[1]
            side = np.array([np.cos(turn), 0, np.sin(turn)]) * wide
            centre = np.array([x - camera, y, z])
            signs = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
            corners = centre + signs[:, :1] * side + signs[:, 1:] * [0, tall, 0]
            flat = 560 * corners[:, :2] / corners[:, 2:] + (_WIDTH / 2, _HEIGHT / 2)
            _hang(view, picture, flat.astype(np.float32))
        return view

    return seen(0.0), [("elsewhere", "same_scene", seen(step))]


def passers(rng: Rng, pictures: Sequence[Pixels]) -> tuple[Pixels, list[Alike]]:
    """A picture before which something has moved on, and something else has come, at two moments.

    Each moment is an exposure of its own, with its own noise: two pictures that are equal but for
    what is pasted over them would be edits of one picture.
    """
    ground, *passing = (pictures[int(i)] for i in rng.choice(len(pictures), 4, replace=False))
    ground = resized(ground, _WIDTH, _HEIGHT)

    def moment(shown: Sequence[Pixels]) -> Pixels:
        view: Pixels = ground.copy()
        for one in shown:
            tall = int(rng.integers(110, 200))
            cut = resized(one, tall // 2, tall)
            left = int(rng.integers(20, _WIDTH - tall // 2 - 20))
            top = int(rng.integers(120, _HEIGHT - tall))
            mask = np.zeros((tall, tall // 2, 1), np.uint8)
            cv2.ellipse(mask, (tall // 4, tall // 2), (tall // 4 - 1, tall // 2 - 1), 0, 0, 360,
                        (1.0,), -1)  # fmt: skip
            there = view[top : top + tall, left : left + tall // 2]
            there[:] = np.where(mask > 0, cut, there)
        return np.clip(view + rng.normal(0, _NOISE_LEVELS, view.shape), 0, 255).astype(np.uint8)

    return moment(passing[:2]), [("later", "same_scene", moment(passing[1:]))]


KINDS: dict[str, Callable[[Rng, Sequence[Pixels]], tuple[Pixels, list[Alike]]]] = {
    "charts": charts,
    "tickets": tickets,
    "puzzles": puzzles,
    "rooms": rooms,
    "passers": passers,
}
"""Each makes a picture, and others that look like it and are no copies."""


def write_look_alikes(
    pictures: Sequence[Pixels], folder: Path, each: int = 4, seed: int = 0
) -> int:
    """Write `images/` and `truth.csv`, as `evaluate` reads it; returns how many pairs it has.

    each: pictures of every kind. InputError where there are too few pictures.
    """
    if len(pictures) < _FEWEST:
        raise InputError(f"{len(pictures)} pictures could be read; {_FEWEST} are needed")
    images, shown_in = folder / "images", pictures[::2]
    images.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, Relation]] = []
    for kind, make in KINDS.items():
        for number in range(each):
            rng = edits.rng_of(seed, f"{kind}-{number}")
            first, alikes = make(rng, shown_in)
            name = f"{kind}-{number}.png"
            _write(images / name, first)
            for what, relation, shown in (*alikes, *_copies(rng, first, shown_in)):
                other = f"{kind}-{number}-{what}.jpg"
                _write(images / other, shown)
                rows.append((other, name, relation))
    for number, picture in enumerate(pictures[1::2]):
        _write(images / f"stranger-{number}.jpg", limited(picture, _WIDTH))
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("query_id", "reference_id", "relation"), *rows])
    return len(rows)


def _copies(rng: Rng, first: Pixels, others: Sequence[Pixels]) -> Iterator[Alike]:
    pasted = [others[int(i)] for i in rng.integers(len(others), size=4)]
    yield "small", "same_picture", limited(first, _WIDTH * 2 // 3)
    yield "mild", "edited", edits.make_copy(first, rng, edits.mix_named("mild"), pasted).pixels
    yield "edited", "edited", edits.make_copy(first, rng, edits.mix_named("default"), pasted).pixels


def _blank() -> Pixels:
    return np.full((_HEIGHT, _WIDTH, 3), _PAPER, np.uint8)


def _hang(view: Pixels, picture: Pixels, corners: Floats) -> None:
    """Draw a picture between four corners, in place."""
    height, width = picture.shape[:2]
    own = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    matrix = cv2.getPerspectiveTransform(own, corners)
    size = view.shape[1], view.shape[0]
    there = cv2.warpPerspective(np.full((height, width), 255, np.uint8), matrix, size)
    drawn = cv2.warpPerspective(picture, matrix, size, flags=cv2.INTER_AREA)
    view[:] = np.where(there[..., None] > 127, drawn, view)


def _write(path: Path, picture: Pixels) -> None:
    if not cv2.imwrite(str(path), picture[..., ::-1]):
        raise InputError(f"{path} could not be written")
