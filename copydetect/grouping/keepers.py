"""Which image of a group is kept, and why, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

KeepPolicy = Literal["largest", "oldest", "first"]
"""`largest`: the original by the direction of its matches where they tell, then most pixels, then
most bytes a pixel (the least compressed); `oldest`: the earliest `captured_at`, then as `largest`;
`first`: the first image_id, which settles every tie."""


@dataclass(frozen=True)
class Preference:
    """An order of images by how much they are preferred; rows as in the images table.

    order: (n,) int64 rows, the most preferred first; ranks: (n,) int64, its inverse; widths,
    heights: (n,) int64 px, 0 where unknown; bytes_per_pixel: (n,) float64; captured: n texts,
    empty where unknown; standing: (n,) int64, 1 where its matches show others to be made from it,
    −1 where they show that it is made from another, 0 where they don't tell.
    """

    policy: KeepPolicy
    order: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    image_ids: list[str]
    widths: npt.NDArray[np.int64]
    heights: npt.NDArray[np.int64]
    bytes_per_pixel: npt.NDArray[np.float64]
    captured: list[str]
    standing: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, images: pa.Table, policy: KeepPolicy, standing: npt.NDArray[np.int64]
    ) -> Preference:
        """images: the `images` table sorted by image_id; standing: as the field."""
        widths = pc.fill_null(images["width"], 0).to_numpy().astype(np.int64)
        heights = pc.fill_null(images["height"], 0).to_numpy().astype(np.int64)
        pixels = widths * heights
        density = pc.fill_null(images["bytes"], 0).to_numpy() / np.maximum(pixels, 1)
        captured = pc.fill_null(pc.cast(images["captured_at"], pa.string()), "").to_pylist()
        rows = np.arange(len(images))
        if policy == "first":
            order = rows
        elif policy == "largest":
            order = np.lexsort((rows, -density, -pixels, -standing))
        else:
            _, age = np.unique(np.array(captured, str), return_inverse=True)
            unknown = np.array([not time for time in captured], bool)
            order = np.lexsort((rows, -density, -pixels, -standing, age, unknown))
        ranks = np.empty(len(order), np.int64)
        ranks[order] = rows
        ids = images["image_id"].to_pylist()
        order = order.astype(np.int64)
        return cls(policy, order, ranks, ids, widths, heights, density, captured, standing)

    def why(self, kept: int, group: list[int]) -> str:
        """Why row `kept` is kept among the rows of its group (two or more, itself included)."""
        first = min(group, key=self.ranks.__getitem__)
        others = [row for row in group if row != kept]
        if first != kept:
            return f"matches more of the group than {self.image_ids[first]}, which comes first"
        if self.policy == "first":
            return f"first by name of {len(group)}"
        captured = self.captured[kept]
        if self.policy == "oldest" and captured not in {
            "",
            *(self.captured[row] for row in others),
        }:
            return f"oldest of {len(group)} (taken {captured})"
        return self._why_largest(kept, others)

    def _why_largest(self, kept: int, others: list[int]) -> str:
        size = f"{self.widths[kept]} × {self.heights[kept]} px"
        pixels = self.widths * self.heights
        lower = [row for row in others if self.standing[row] < self.standing[kept]]
        if any(pixels[row] >= pixels[kept] for row in lower):
            return f"the original of {len(others) + 1}, by the direction of its copies ({size})"
        rivals = [row for row in others if pixels[row] == pixels[kept]]
        if not rivals:
            return f"most pixels of {len(others) + 1} ({size})"
        if all(self.bytes_per_pixel[row] < self.bytes_per_pixel[kept] for row in rivals):
            return f"as large as others ({size}) and least compressed"
        return f"as large as others ({size}), first by name"
