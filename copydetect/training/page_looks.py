"""Looks of pages: the font, size, colours and measures of one design."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FONTS = ("DejaVu Sans", "DejaVu Serif", "Liberation Sans", "Liberation Serif", "Liberation Mono",
          "Noto Sans")  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How the pages of one design look: its font, size, colours and measures."""

    font: str
    size: float
    ink: str
    ground: str
    accent: str
    soft: str
    width: int
    height: int
    rows: int
    seed: int

    @staticmethod
    def drawn(rng: np.random.Generator) -> Look:
        """Light or dark, any of a few fonts."""
        dark = rng.random() < 0.2
        hue, size = int(rng.integers(360)), float(rng.uniform(11, 20))
        tint = int(rng.integers(0, 12))
        return Look(
            font=str(rng.choice(_FONTS)),
            size=size,
            ink="#e8e8e8" if dark else str(rng.choice(["#111", "#222", "#334", "#000", "#444"])),
            ground=f"hsl({hue} {tint}% 12%)" if dark else f"hsl({hue} {tint}% {99 - tint}%)",
            accent=f"hsl({hue} {int(rng.integers(20, 90))}% {int(rng.integers(30, 60))}%)",
            soft=f"hsl({hue} 15% {25 if dark else 88}%)",
            width=int(rng.integers(380, 980)),
            height=int(rng.integers(420, 1000)),
            rows=int(rng.integers(4, 16)),
            seed=int(rng.integers(2**31)),
        )


_COLUMNS = (
    ("name", "date", "amount"),
    ("words", "number", "amount"),
    ("word", "number", "number", "number", "number"),
    ("date", "words", "name", "amount"),
    ("name", "word", "number", "date", "amount"),
)


def columns_of(look: Look) -> tuple[str, ...]:
    """Kinds of `page_contents.cells`, one for each column of a table."""
    return _COLUMNS[look.seed % len(_COLUMNS)]
