"""Ids of groups that last, and events that can be followed."""

from __future__ import annotations

import numpy as np
import pytest

from copydetect.catalog.lasting_groups import (
    Event,
    LastingGroup,
    group_events,
    touched_contents,
    with_lasting_ids,
)
from copydetect.types import GroupMember


def _member(image_id: str, keep: bool) -> GroupMember:
    return GroupMember("", image_id, keep, False, "edited", image_id, False, "", 1.0)


def _found(*groups: str) -> list[list[GroupMember]]:
    """Groups of one-letter images; the first of each is kept."""
    return [[_member(name, at == 0) for at, name in enumerate(group)] for group in groups]


NUMBERS = {letter: ord(letter) for letter in "abcdefghij"}
NAMES = {number: letter for letter, number in NUMBERS.items()}


def _group(group_id: str, members: str) -> LastingGroup:
    return LastingGroup(group_id, frozenset(map(ord, members)), ord(members[0]))


def _now(before: list[LastingGroup], *groups: str) -> tuple[list[LastingGroup], list[Event]]:
    _, after, _ = with_lasting_ids(_found(*groups), NUMBERS, before, 5)
    return after, group_events(before, after, NAMES)


def test_a_group_that_grows_keeps_its_id() -> None:
    after, events = _now([_group("g1", "ab")], "abc")
    assert [group.group_id for group in after] == ["g1"]
    assert events == [Event("group_grown", "c", "g1")]


def test_where_groups_merge_the_older_id_lives() -> None:
    after, events = _now([_group("g2", "ab"), _group("g1", "cd")], "abcd")
    assert [group.group_id for group in after] == ["g1"]
    assert Event("group_merged", "", "g2", "g1") in events
    assert Event("kept_changed", "a", "g1", "c") in events


def test_where_a_group_splits_the_side_of_the_kept_image_keeps_the_id() -> None:
    after, events = _now([_group("g1", "abcd")], "cd", "ab")
    ids = {group.kept: group.group_id for group in after}
    assert ids[ord("a")] == "g1"
    assert ids[ord("c")] == "g000000000006"
    assert Event("group_split", "", "g000000000006", "g1") in events


def test_without_its_kept_image_a_group_lives_on_in_most_of_it() -> None:
    after, _ = _now([_group("g1", "abcde")], "bc", "dei")
    assert {group.group_id: min(group.numbers) for group in after}["g1"] == ord("b")


def test_a_group_that_ends() -> None:
    assert _now([_group("g1", "ab")])[1] == [
        Event("group_shrunk", "a", "g1"),
        Event("group_shrunk", "b", "g1"),
        Event("group_ended", "", "g1"),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_who_follows_the_events_knows_all_groups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    followed: dict[str, str] = {}
    kept: dict[str, str] = {}
    groups: list[LastingGroup] = []
    given = 0
    for _ in range(8):
        cut = rng.integers(0, 5, len(NUMBERS))
        sides = ["".join(n for n, c in zip(NUMBERS, cut, strict=True) if c == k) for k in range(4)]
        found = _found(*(side for side in sides if len(side) > 1))
        _, after, given = with_lasting_ids(found, NUMBERS, groups, given)
        assert len({group.group_id for group in after}) == len(after)
        for event in group_events(groups, after, NAMES):
            if event.kind == "group_grown":
                followed[event.image_id] = event.group_id
            elif event.kind == "group_shrunk":
                del followed[event.image_id]
            elif event.kind == "group_made":
                kept[event.group_id] = event.other
            elif event.kind == "kept_changed":
                kept[event.group_id] = event.image_id
        groups = after
        assert followed == {NAMES[n]: g.group_id for g in groups for n in g.numbers}
        assert all(kept[group.group_id] == NAMES[group.kept] for group in groups)


def test_what_hangs_together_with_something_touched_is_touched() -> None:
    edges = [np.array([[0, 1], [1, 2], [4, 5]]), np.array([[2, 3]])]
    assert touched_contents(7, edges, np.array([3])).tolist() == [0, 1, 2, 3]
    assert touched_contents(7, edges, np.array([6])).tolist() == [6]
    assert touched_contents(7, [], np.array([], np.int64)).tolist() == []
