"""Contents of drawn pages: words, names, amounts and dates, and small changes of them.

Names and words are invented or everyday ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_WORDS_TEXT = """
water river garden window market paper copper silver engine winter summer bridge station
letter number school doctor kitchen button coffee planet camera signal forest island harbour
ticket driver record report budget annual review meeting update version release morning
evening weekend friday project payment account balance invoice order delivery address street
north south open closed urgent done later tomorrow yesterday thanks please call me the a and
of to in is on with for as was at by an be this that from or are it not have new more red blue
"""
_NAMES_TEXT = """
Ada Bruno Carla Dimitri Elena Farid Greta Hugo Ines Jonas Kaori Lena Milan Nora Oskar Petra
Quentin Rosa Stefan Tomas Ulla Viktor Wanda Xenia Yusuf Zoe
"""
_WORDS, _NAMES = _WORDS_TEXT.split(), _NAMES_TEXT.split()

Fields = list[str]
"""What is filled into a page, in the order in which it is read."""


def words(rng: np.random.Generator, least: int, most: int) -> str:
    """A few words, the first one with a capital."""
    return " ".join(rng.choice(_WORDS, int(rng.integers(least, most + 1)))).capitalize()


def amount(rng: np.random.Generator) -> str:
    """A sum of money."""
    return f"{np.exp(rng.uniform(1, 9)):,.2f}"


def name(rng: np.random.Generator) -> str:
    """A first name and an initial."""
    return f"{rng.choice(_NAMES)} {chr(65 + int(rng.integers(26)))}."


def date(rng: np.random.Generator) -> str:
    """A day, as forms have it."""
    return f"{rng.integers(1, 29):02d}.{rng.integers(1, 13):02d}.20{rng.integers(10, 30):02d}"


def cells(rng: np.random.Generator, rows: int, columns: tuple[str, ...]) -> Fields:
    """Rows of texts, each of the kind that its column has."""
    kinds: dict[str, Callable[[], str]] = {
        "word": lambda: words(rng, 1, 2),
        "words": lambda: words(rng, 2, 6),
        "amount": lambda: amount(rng),
        "name": lambda: name(rng),
        "date": lambda: date(rng),
        "number": lambda: str(int(rng.integers(1, 10 ** int(rng.integers(1, 5))))),
    }
    return [kinds[kind]() for _ in range(rows) for kind in columns]


def changed(rng: np.random.Generator, fields: Fields) -> Fields:
    """The same fields with one that says something else: another digit, word or line."""
    order = [int(i) for i in rng.permutation(len(fields)) if fields[i].strip()]
    made = list(fields)
    if "#" in fields[0]:
        return made  # colours that differ a little are one picture
    if set(fields) <= {"0", "1"}:
        for row in order[: int(rng.integers(3, 30))]:
            made[row] = "1" if made[row] == "0" else "0"
        return made
    row = order[0]
    text = made[row]
    digits = [i for i, letter in enumerate(text) if letter.isdigit()]
    if digits:
        at = int(rng.choice(digits))
        other = str((int(text[at]) + int(rng.integers(1, 10))) % 10)
        made[row] = text[:at] + other + text[at + 1 :]
    elif len(text.split()) > 2 and rng.random() < 0.5:
        parts = text.split()
        at = int(rng.integers(len(parts)))
        parts[at] = str(rng.choice([w for w in _WORDS if w != parts[at].lower()]))
        made[row] = " ".join(parts)
    else:
        made[row] = words(rng, 1, max(1, len(text.split()))) if text[:1].isalpha() else amount(rng)
    return made
