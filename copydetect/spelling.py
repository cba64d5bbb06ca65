"""The nearest right spelling of a wrong word, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the known word that is spelt most like `word`, else nothing."""
    nearest = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.7)
    return f"; did you mean {nearest[0]}?" if nearest else ""
