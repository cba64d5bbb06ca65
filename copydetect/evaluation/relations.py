"""the relations that a run tells, and the true ones → how many of each are right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from copydetect.types import COPY_RELATIONS, Relation

NOT_PROPOSED = "not proposed"

Pair = tuple[str, str]


def relation_figures(
    told: Iterable[tuple[str, str, str]], truth: Mapping[Pair, str]
) -> dict[str, Any]:
    """The share of each true relation that is told right, their mean, and what is told instead.

    told: (query_id, reference_id, relation) of verified pairs, in either order; truth: of pairs
    that are judged. A pair that was not proposed counts as none.
    """
    said = {frozenset((a, b)): relation for a, b, relation in told}
    table: dict[str, Counter[str]] = {}
    for pair, relation in truth.items():
        answer = said.get(frozenset(pair), NOT_PROPOSED)
        table.setdefault(relation, Counter())[answer] += 1
    right = {
        relation: _right(relation, table[relation]) for relation in get_args(Relation)
        if relation in table
    }  # fmt: skip
    others = [relation for relation in table if relation not in COPY_RELATIONS]
    return {
        "right": right,
        "mean": sum(right.values()) / max(len(right), 1),
        "others_called_copies": sum(table[one][copy] for one in others for copy in COPY_RELATIONS),
        "told": {relation: dict(counts.most_common()) for relation, counts in table.items()},
    }


def _right(relation: str, counts: Counter[str]) -> float:
    found = counts[relation] + (counts[NOT_PROPOSED] if relation == "none" else 0)
    return found / sum(counts.values())
