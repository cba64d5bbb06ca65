"""The summary of a night: its figures, and the lines that the command prints at its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from copydetect.summary import counted, duration

WORTH_A_REBUILD = 4.0
"""When a catalogue has grown this many times, its lists have become so long that a new era is
proposed."""


DRIFT_WORTH_A_REBUILD = 1.5
"""So is one when its lists are this many times as crowded as they were."""


@dataclass(frozen=True)
class NightSummary:
    """A night in figures; `str` gives the lines for a person, `as_dict` the values for a program.

    generation: the present generation of the catalogue; committed: whether this night made it.
    added, changed, moved, removed: images; known: files that were read again and are what they
    were; failed: new files that could not be used; renamed: (image_id, what it is called now) of
    images whose image_id another one has; unknown: image_ids to remove that the catalogue does not
    have. images, groups: of the whole catalogue; copies: pairs of new images with any, that are
    copies; verified: pairs that were looked at; events: how many; grown: how many times as many
    contents there are as when the partitions of the indexes were trained; drift: how many times as
    crowded their lists are as then, see `catalog.drift`. output: folder of the tables of the night,
    if any.
    """

    catalog: str
    generation: int
    committed: bool
    added: int
    changed: int
    moved: int
    removed: int
    known: int
    failed: int
    first_failures: tuple[tuple[str, str], ...]
    renamed: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...]
    images: int
    groups: int
    copies: int
    verified: int
    events: int
    seconds: float
    grown: float = 1.0
    drift: float = 1.0
    output: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON values, by the names of the fields."""
        return asdict(self)

    def __str__(self) -> str:
        whole = f"the catalogue has {counted(self.images, 'image')} in generation {self.generation}"
        if not self.committed:
            lines = [f"nothing is new: {whole}, as before"]
        else:
            shares = (
                (self.added, "added"),
                (self.changed, "changed"),
                (self.moved, "moved"),
                (self.removed, "removed"),
            )
            said = ", ".join(f"{count:,} {what}" for count, what in shares if count) or "no image"
            lines = [
                f"{said} in {duration(self.seconds)}: {whole}",
                f"{counted(self.copies, 'pair')} of copies with what is new, of "
                f"{counted(self.verified, 'pair')} looked at; {counted(self.groups, 'group')}",
            ]
        lines += self._notes()
        if self.output:
            lines.append(f"tables  {self.output}")
        return "\n".join(lines)

    def _notes(self) -> list[str]:
        """What the user should know beside the counts."""
        lines = []
        if self.failed:
            lines.append(f"{counted(self.failed, 'image')} could not be used:")
            lines += [f"  {image_id}: {reason}" for image_id, reason in self.first_failures]
        if self.renamed:
            old, new = self.renamed[0]
            lines.append(
                f"{counted(len(self.renamed), 'image')} had the image_id of another one, "
                f"as {old}, which is {new} now"
            )
        if self.unknown:
            lines.append(
                f"{counted(len(self.unknown), 'image_id')} to remove that the catalogue "
                f"does not have, such as {self.unknown[0]}"
            )
        if self.grown >= WORTH_A_REBUILD:
            lines.append(
                f"the catalogue has grown {self.grown:.1f} times since its indexes were trained: "
                f"`copydetect catalog rebuild {self.catalog}` begins a new era"
            )
        elif self.drift >= DRIFT_WORTH_A_REBUILD:
            lines.append(
                "what comes is unlike what the indexes were trained on: their lists are "
                f"{self.drift:.1f} times as crowded; `copydetect catalog rebuild {self.catalog}` "
                "begins a new era"
            )
        return lines
