"""The groups of a night → groups with lasting ids, and the events that changed them.

A group_id is given once. Where groups merge, the oldest id lives; where one splits, the side of
the image that was kept keeps it. What happened is told as events, one row each:

    image_added, image_removed, image_changed, image_moved   image_id
    group_made        group_id; other: the kept image
    group_grown       group_id, image_id: the image belongs to this group now, and to no other
    group_shrunk      group_id, image_id: the image belongs to no group any more
    kept_changed      group_id; image_id: now kept; other: kept before
    group_merged      group_id: of a group that ended; other: the one that lives on
    group_split       group_id: of a new group; other: the one that it came from
    group_ended       group_id

A reader that follows `group_grown`, `group_shrunk` and `kept_changed` knows all groups at any time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from copydetect.types import GroupMember, Ints


@dataclass(frozen=True)
class Event:
    """A row of `events`, without its number and generation."""

    kind: str
    image_id: str = ""
    group_id: str = ""
    other: str = ""


@dataclass(frozen=True)
class LastingGroup:
    """A group of the catalogue: the numbers of its images, and of the one that is kept."""

    group_id: str
    numbers: frozenset[int]
    kept: int


def group_id_of(serial: int) -> str:
    """The id of the n-th group that a catalogue ever had; ids sort by age."""
    return f"g{serial:012d}"


def touched_contents(contents: int, edges: Sequence[Ints], touched: Ints) -> Ints:
    """The contents of every component that holds a touched one.

    edges: arrays (n, 2) of contents that are or were copies of each other; contents: how many
    numbers there are.
    """
    ends = np.concatenate([np.empty((0, 2), np.int64), *edges])
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(contents,) * 2)
    component = connected_components(graph, directed=False)[1]
    wanted = np.isin(component, component[touched])
    return np.flatnonzero(wanted).astype(np.int64)


def with_lasting_ids(
    found: Sequence[Sequence[GroupMember]],
    numbers: Mapping[str, int],
    before: Sequence[LastingGroup],
    given: int,
) -> tuple[list[list[GroupMember]], list[LastingGroup], int]:
    """Groups with the ids of the groups that they continue, and new ids for the others.

    found: members of each group; numbers: of their image_ids; before: the groups that these images
    were in; given: how many ids were given ever. Returns the groups, the same as numbers, and how
    many ids are given now.
    """
    order = sorted(range(len(found)), key=lambda at: min(numbers[m.image_id] for m in found[at]))
    holds = {numbers[m.image_id]: at for at in order for m in found[at]}
    heirs: dict[int, str] = {}
    for group in sorted(before, key=lambda group: group.group_id):
        heir = _heir(group, holds)
        if heir is not None:
            heirs.setdefault(heir, group.group_id)
    named: list[list[GroupMember]] = []
    lasting: list[LastingGroup] = []
    for at in order:
        if at not in heirs:
            given += 1
            heirs[at] = group_id_of(given)
        members = [replace(member, group_id=heirs[at]) for member in found[at]]
        kept = next(numbers[member.image_id] for member in members if member.keep)
        own = frozenset(numbers[member.image_id] for member in members)
        named.append(members)
        lasting.append(LastingGroup(heirs[at], own, kept))
    return named, lasting, given


def _heir(group: LastingGroup, holds: Mapping[int, int]) -> int | None:
    """The found group that continues an old one: that of its kept image, else of most of it."""
    if group.kept in holds:
        return holds[group.kept]
    shares = Counter(holds[number] for number in group.numbers if number in holds)
    return max(shares, key=lambda at: (shares[at], -at), default=None)


def group_events(
    before: Sequence[LastingGroup], after: Sequence[LastingGroup], names: Mapping[int, str]
) -> list[Event]:
    """What happened to groups, in an order that a reader can follow.

    names: image_id of every number, of those that are gone too.
    """
    old = {group.group_id: group for group in before}
    new = {group.group_id: group for group in after}
    was = {number: group for group in before for number in group.numbers}
    belongs = {number: group.group_id for group in after for number in group.numbers}
    events: list[Event] = []
    for group_id, group in sorted(new.items()):
        events += _of_group(group, old.get(group_id), was, names)
    for group_id, group in sorted(old.items()):
        events += [
            Event("group_shrunk", names[number], group_id)
            for number in sorted(group.numbers)
            if number not in belongs
        ]
        if group_id not in new:
            heirs = Counter(belongs[n] for n in sorted(group.numbers) if n in belongs)
            if heirs:
                # Counted in the order of numbers, so that ties are broken the same way every time.
                events.append(Event("group_merged", "", group_id, heirs.most_common(1)[0][0]))
            else:
                events.append(Event("group_ended", group_id=group_id))
    return events


def _of_group(
    group: LastingGroup,
    before: LastingGroup | None,
    was: Mapping[int, LastingGroup],
    names: Mapping[int, str],
) -> list[Event]:
    group_id, kept = group.group_id, names[group.kept]
    events = []
    if before is None:
        events.append(Event("group_made", group_id=group_id, other=kept))
        origins = {was[n].group_id for n in group.numbers if n in was}
        events += [Event("group_split", group_id=group_id, other=one) for one in sorted(origins)]
    known = before.numbers if before else frozenset()
    events += [
        Event("group_grown", names[number], group_id) for number in sorted(group.numbers - known)
    ]
    if before and before.kept != group.kept:
        events.append(Event("kept_changed", kept, group_id, names[before.kept]))
    return events
