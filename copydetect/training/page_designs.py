"""Designs of pages and windows as HTML: one look, filled with one content or another.

A design draws its look once from a generator; what is filled in is a list of texts and numbers, so
that one of them can be changed alone (`page_contents`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from copydetect.training import page_bodies
from copydetect.training.page_contents import Fields, amount, cells, date, name, words
from copydetect.training.page_looks import Look, columns_of
from copydetect.types import Relation


@dataclass(frozen=True)
class Design:
    """fill: draws the fields of a page of this look; body: the HTML inside the page; paper: whether
    it is printed and scanned; size: in px where the look has none; refilled: what two pages of one
    look with other fields are to each other; plain: whether edits leave too little to prove."""

    fill: Callable[[np.random.Generator, Look], Fields]
    body: Callable[[Look, Fields], str]
    paper: bool = False
    size: tuple[int, int] | None = None
    refilled: Relation = "same_layout"
    plain: bool = False

    def page(self, look: Look, fields: Fields) -> tuple[str, int, int]:
        """The page as an HTML block, its width and its height in px."""
        width, height = self.size or (look.width, look.height)
        style = (
            f"width:{width}px;height:{height}px;overflow:hidden;position:relative;"
            f"font:{look.size:.1f}px '{look.font}';color:{look.ink};background:{look.ground}"
        )
        return f'<div style="{style}">{self.body(look, fields)}</div>', width, height


def _spots(rng: np.random.Generator) -> Fields:
    return [
        f"{rng.integers(-20, 80)} {rng.integers(-20, 80)} #{rng.integers(0x1000000):06x}"
        for _ in range(5)
    ]


def _bits(rng: np.random.Generator, look: Look) -> Fields:
    side = 17 + look.seed % 16
    fixed = np.random.default_rng(look.seed).random(side * side) < 0.5
    free = rng.random(side * side) < 0.5
    shared = 0.3 * (look.seed % 3)
    return ["1" if bit else "0" for bit in np.where(rng.random(side * side) < shared, fixed, free)]


DESIGNS: dict[str, Design] = {
    "table": Design(
        lambda rng, look: cells(rng, look.rows, columns_of(look)), page_bodies.table, True
    ),
    "chat": Design(
        lambda rng, look: [words(rng, 1, 12) for _ in range(look.rows)], page_bodies.chat
    ),
    "bank": Design(
        lambda rng, look: [amount(rng), *cells(rng, look.rows, ("words", "date", "amount"))],
        page_bodies.bank,
    ),
    "slide": Design(
        lambda rng, look: [
            words(rng, 1, 4),
            *[words(rng, 2, 7) for _ in range(look.rows // 2 + 1)],
        ],
        page_bodies.slide,
    ),
    "invoice": Design(
        lambda rng, look: [
            *(name(rng), words(rng, 2, 3), str(rng.integers(10**5)), date(rng), amount(rng)),
            *cells(rng, look.rows, ("words", "number", "amount")),
        ],
        page_bodies.invoice,
        True,
    ),
    "receipt": Design(
        lambda rng, look: [
            *(date(rng), amount(rng), str(rng.integers(10**9))),
            *cells(rng, look.rows, ("word", "amount")),
        ],
        page_bodies.receipt,
        True,
    ),
    "form": Design(
        lambda rng, look: cells(rng, look.rows, ("name",) if look.seed % 2 else ("words",)),
        page_bodies.form,
        True,
    ),
    "chart": Design(
        lambda rng, look: [
            words(rng, 2, 5),
            *[f"{rng.uniform(8, 95):.1f}" for _ in range(look.rows)],
        ],
        page_bodies.chart,
        True,
    ),
    "calendar": Design(
        lambda rng, look: [
            words(rng, 1, 1),
            *[words(rng, 1, 3) if rng.random() < 0.4 else " " for _ in range(36)],
        ],
        page_bodies.calendar,
    ),
    "article": Design(
        lambda rng, look: [
            words(rng, 3, 7),
            *[words(rng, 25, 80) for _ in range(look.rows // 2 + 1)],
        ],
        page_bodies.article,
        True,
    ),
    "mail": Design(
        lambda rng, look: cells(rng, look.rows, ("name", "words", "date")), page_bodies.mail
    ),
    "quote": Design(lambda rng, look: [words(rng, 5, 14), name(rng)], page_bodies.quote),
    "identity": Design(
        lambda rng, look: [name(rng), date(rng), str(rng.integers(10**7)), date(rng)],
        page_bodies.identity,
        False,
        (430, 260),
    ),
    "code": Design(
        lambda rng, look: [words(rng, 1, 8) for _ in range(2 * look.rows)], page_bodies.code
    ),
    "grid": Design(_bits, page_bodies.grid, False, (520, 520)),
    "soft": Design(
        lambda rng, look: _spots(rng), page_bodies.soft, False, (440, 440), "none", True
    ),
    "sign": Design(
        lambda rng, look: [words(rng, 1, 1)],
        page_bodies.word,
        False,
        (600, 400),
        "changed_content",
        True,
    ),
    "stripes": Design(
        lambda rng, look: _spots(rng), page_bodies.halves, False, (440, 440), plain=True
    ),
    "icon": Design(lambda rng, look: [words(rng, 2, 4)], page_bodies.icon, False, (200, 200)),
}
"""Every design by its name."""
