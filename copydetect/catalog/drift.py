"""How well the lists of an index, trained on a young collection, still fit the grown one.

A pile that becomes another pile fills few of its lists: searches then compare more and more
vectors. A new era, whose lists are trained on what is there by then, mends it.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from copydetect.index.shards import load_index, shard_uri
from copydetect.storage.files import Storage
from copydetect.types import Ints


def list_sizes(storage: Storage, folder: str) -> Ints:
    """(lists,) int64: how many vectors each list of an index holds."""
    index = load_index(storage, folder)
    sizes = np.zeros(index.lists, np.int64)
    for shard in index.shards:
        path = storage.local_path(shard_uri(folder, shard.name))
        # FAISS's lists are only as long in memory as their index.
        held: Any = faiss.read_index(path, faiss.IO_FLAG_MMAP)
        lists = range(shard.first_list, shard.last_list + 1)
        sizes[lists.start : lists.stop] += [held.invlists.list_size(one) for one in lists]
    return sizes


def crowding(sizes: Ints) -> float:
    """How many times as many vectors a search compares as it would in lists of one length: 1 or
    more (the imbalance factor of Jégou et al., "Product quantization for nearest neighbor search",
    2011)."""
    total = float(sizes.sum())
    return len(sizes) * float(np.square(sizes, dtype=np.float64).sum()) / total**2 if total else 1.0
