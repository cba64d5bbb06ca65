"""What short codes propose, ranked again by finer ones.

Each shard ranks again what its own lists propose, and keeps the score that it was proposed by: a
query's proposals of all shards are cut to the best before the finer scores count, so that the
answer does not depend on shards.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from copydetect.index.partitions import Floats, Integers
from copydetect.index.shards import FinerVectors
from copydetect.index.spills import Records
from copydetect.search.list_join import Found, exact_scores
from copydetect.search.queries import SearchOptions

REFINED = np.dtype([("query", "<i8"), ("id", "<i8"), ("score", "<f4"), ("proposed", "<f4")])


def proposing(options: SearchOptions) -> SearchOptions:
    """How the lists are searched for proposals."""
    return replace(options, k=options.k * options.k_factor, min_score=-np.inf, connect_score=np.inf)


def refined(
    queries: Integers,
    vectors: Floats,
    found: Found,
    finer: FinerVectors,
    l2: bool,
) -> tuple[Integers, Records]:
    """Rows of the queries, and `REFINED` records of what was proposed for them."""
    rows, ids, proposed = found
    results = np.empty(len(rows), dtype=REFINED)
    results["query"], results["id"], results["proposed"] = queries[rows], ids, proposed
    results["score"] = exact_scores(vectors, rows, finer.of, ids, l2)
    return rows, results


def as_proposed(results: Records) -> Records:
    """The same results, by the score that they were proposed by."""
    proposals: Records = results.copy()
    proposals["score"] = results["proposed"]
    return proposals
