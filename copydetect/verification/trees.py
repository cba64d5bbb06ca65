"""Boosted regression trees as plain numbers: read from JSON, summed with numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from copydetect.verification.lazy import lazy


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """bias + Σ leaf values.

    feature, threshold, left, right, value, unknown_left: (trees, nodes); a node sends what is at
    most its threshold to the left, NaN where `unknown_left` says; a leaf points to itself. depth:
    of the deepest tree.
    """

    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float64]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    unknown_left: npt.NDArray[np.bool_]
    depth: int
    bias: float

    @classmethod
    def parse(cls, stored: Mapping[str, Any], names: Sequence[str]) -> BoostedTrees:
        """From JSON; names: of the values in a vector, of which `stored` names those that it sees.

        KeyError, ValueError, TypeError or IndexError where that is no such thing.
        """
        inputs = np.array([names.index(name) for name in stored["inputs"]], np.int64)
        trees = stored["trees"]
        nodes = max(len(tree["value"]) for tree in trees)
        padded = {
            key: np.array([tree[key] + [0] * (nodes - len(tree["value"])) for tree in trees])
            for key in ("feature", "threshold", "left", "right", "value", "unknown_left")
        }
        return cls(
            feature=inputs[padded["feature"]],
            threshold=padded["threshold"].astype(np.float64),
            left=padded["left"].astype(np.int64),
            right=padded["right"].astype(np.int64),
            value=padded["value"].astype(np.float64),
            unknown_left=padded["unknown_left"].astype(np.bool_),
            depth=int(stored["depth"]),
            bias=float(stored["bias"]),
        )

    @classmethod
    def joined(cls, several: Sequence[BoostedTrees]) -> BoostedTrees:
        """The trees of all, one after the other, so that one walk finds the leaves of each."""
        nodes = max(trees.feature.shape[1] for trees in several)

        def padded(name: str) -> npt.NDArray[Any]:
            arrays = [getattr(trees, name) for trees in several]
            return np.concatenate(
                [np.pad(array, ((0, 0), (0, nodes - array.shape[1]))) for array in arrays]
            )

        return cls(
            feature=padded("feature"),
            threshold=padded("threshold"),
            left=padded("left"),
            right=padded("right"),
            value=padded("value"),
            unknown_left=padded("unknown_left"),
            depth=max(trees.depth for trees in several),
            bias=sum(trees.bias for trees in several),
        )

    @lazy
    def _flat(self) -> tuple[npt.NDArray[Any], ...]:
        """The fields with the nodes of all trees in one row, which is faster to walk."""
        trees, nodes = self.feature.shape
        first = np.arange(trees)[:, None] * nodes
        fields = (self.feature, self.threshold, self.left + first, self.right + first)
        return tuple(one.ravel() for one in (*fields, self.unknown_left, self.value))

    def sums(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """(n,) for vectors (n, names)."""
        return np.asarray(self.bias + self.leaves(values).sum(axis=1), np.float64)

    def leaves(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """(n, trees): the value of each tree's leaf that a vector (n, names) comes to."""
        feature, threshold, left, right, unknown_left, value = self._flat
        first = np.arange(len(self.feature)) * self.feature.shape[1]
        found = np.empty((len(values), len(first)))
        for row, seen_by_name in enumerate(values):
            node = first
            for _ in range(self.depth):
                seen = seen_by_name[feature[node]]
                to_left = (seen <= threshold[node]) | (np.isnan(seen) & unknown_left[node])
                node = np.where(to_left, left[node], right[node])
            found[row] = value[node]
        return found
