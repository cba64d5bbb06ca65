"""The nearest right spelling of a wrong word, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the known word that begins with `word`, where only one does, or else
    is spelt most like it; nothing where none is."""
    words = list(known)
    begun = [one for one in words if one.startswith(word.lower())]
    if len(begun) != 1:
        begun = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.7)
    return f"; did you mean {begun[0]}?" if begun else ""
