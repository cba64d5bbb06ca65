"""How a run set its threshold, and what precision and recall to expect, in figures and
sentences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SelfCheck:
    """What a run learnt about its own result from copies that it planted among its queries.

    wanted: the wanted precision; threshold: the confidence from which pairs are reported; expected,
    expected_low, expected_high: the precision to expect there, with a 95 % interval; reached:
    whether the wanted precision is reached; if not, it is the highest that is possible.

    planted: how many copies were planted, 0 where nothing was checked; recall, recall_low,
    recall_high: the share of them that was found; weakest_kind: the kind of edit that was found
    least, "" where too few were planted to tell; weakest_recall: the share of it; strangers: how
    many pairs of a planted copy and an image that it was not made of would be reported;
    look_alikes: some of them, the image that the copy was made of and the other; met: how many such
    pairs were looked at; left_out: how many further ones are not counted, because the two images
    are copies of each other anyway; share: of the queries of a search that seem to have a copy, 0
    for a pile.

    unchecked: why nothing was planted, a sentence; the threshold is that of the bundled calibration
    then. reused: whether the copies were planted by an earlier run over nearly the same collection.
    """

    wanted: float
    threshold: float
    expected: float = 0.0
    expected_low: float = 0.0
    expected_high: float = 1.0
    reached: bool = True
    planted: int = 0
    recall: float = 0.0
    recall_low: float = 0.0
    recall_high: float = 1.0
    weakest_kind: str = ""
    weakest_recall: float = 0.0
    strangers: int = 0
    look_alikes: tuple[tuple[str, str], ...] = ()
    met: int = 0
    left_out: int = 0
    share: float = 0.0
    unchecked: str = ""
    reused: bool = False

    def sentences(self) -> list[str]:
        """What a person should know, a sentence each."""
        if self.unchecked:
            return [f"precision not checked: {self.unchecked}"]
        interval = f"({self.expected_low:.3f} … {self.expected_high:.3f})"
        if self.reached:
            first = (
                f"wanted precision {self.wanted:g}: expected here {self.expected:.3f} {interval}"
            )
        else:
            first = (
                f"a precision of {self.wanted:g} cannot be reached here: the most is "
                f"{self.expected:.3f} {interval}"
            )
        earlier = " by an earlier run" if self.reused else ""
        second = (
            f"of {self.planted:,} copies planted{earlier} {self.recall:.2f} were found "
            f"({self.recall_low:.2f} … {self.recall_high:.2f})"
        )
        if self.weakest_kind:
            second += f"; weakest kind of edit: {self.weakest_kind}, {self.weakest_recall:.2f}"
        third = [f"about {self.share:.2f} of the queries seem to have a copy"] if self.share else []
        return [first, second, *third, *self._held_back()]

    def _held_back(self) -> list[str]:
        if not self.met:
            return [
                "they met no other picture, so that these figures are those of most collections"
            ]
        if self.reached or not self.look_alikes:
            return []
        pairs = ", ".join(f"{one} and {other}" for one, other in self.look_alikes)
        return [f"what holds it back are pictures that look alike, such as {pairs}"]
