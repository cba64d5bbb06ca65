"""Groups: planted families, and bridges between strangers."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydetect import tables
from copydetect.errors import InputError, OptionError
from copydetect.evaluation import metrics
from copydetect.grouping.groups import (
    GroupOptions,
    group_copies,
    images_to_look_at,
    pairs_to_connect,
)
from copydetect.grouping.keepers import KeepOptions
from copydetect.types import Candidate
from tests.group_tables import grouped, images_table, kept_by, matches_table, star


def test_a_picture_made_from_another_is_not_kept_for_its_size():
    table = matches_table([("photo", "poster", 0.99), ("crop", "photo", 0.98)])
    directions = pa.array(["reference_is_copy", "query_is_copy"])
    matches = table.set_column(table.schema.get_field_index("direction"), "direction", directions)
    sizes = {"poster": (900, 900, 9000), "crop": (50, 50, 500)}
    images = images_table(["photo", "poster", "crop"], sizes=sizes)
    (kept,) = [member for member in group_copies(images, matches) if member.keep]
    assert kept.image_id == "photo"
    assert "others were made from it" in kept.reason
    by_name = group_copies(images, matches, kept_by("first"))
    assert [member.image_id for member in by_name if member.keep] == ["crop"]


def test_nothing_matched():
    assert grouped("ab", []) == []
    assert grouped("ab", [("a", "b", 0.3)]) == []
    assert grouped("", []) == []


def test_a_pair():
    members = group_copies(images_table("abc"), matches_table([("b", "a", 0.9)]))
    assert [(m.image_id, m.keep, m.similarity_to_kept) for m in members] == [
        ("a", True, 1.0),
        ("b", False, pytest.approx(0.45)),
    ]
    assert members[1].reason == "an edited copy of the kept image (confidence 0.90)"


def test_an_original_and_nine_edits_stay_together():
    """Edits that don't match each other are no evidence against their common original."""
    assert grouped("o123456789", star("o", "123456789")) == [sorted("o123456789")]


def test_one_wrong_pair_does_not_join_two_families():
    cross = [(a, b, 0.02) for a in "o123" for b in "p456" if (a, b) != ("2", "5")]
    pairs = [*star("o", "123"), *star("p", "456"), ("2", "5", 0.9), *cross]
    assert grouped("o123p456", pairs) == [list("123o"), list("456p")]


def test_a_wrong_pair_of_two_originals_does_not_join_their_families():
    cross = [(a, b, 0.02) for a in "o123" for b in "p456" if (a, b) != ("o", "p")]
    pairs = [*star("o", "123", 0.98), *star("p", "456", 0.98), ("o", "p", 0.9), *cross]
    assert grouped("o123p456", pairs) == [list("123o"), list("456p")]


def test_a_chain_ends_where_it_is_no_longer_sure():
    """.95 each: two steps are .90, three .86."""
    ids = "abcdefghijkl"
    chain = [(a, b, 0.95) for a, b in pairwise(ids)]
    members = group_copies(images_table(ids), matches_table(chain))
    assert len({member.group_id for member in members}) > 1
    for member in members:
        assert member.keep or "confidence" in member.reason


def test_a_member_of_many_weak_pairs_belongs_to_the_group():
    """Each path is worth .74, and there are eight: the kept image was proposed to few of them."""
    ids = "abcdefghij"
    pairs = [(a, b, 0.86) for a in ids[1:] for b in ids[1:] if a < b]
    pairs += [("a", b, 0.86) for b in "bcdef"]
    assert grouped(ids, pairs) == [list(ids)]


def test_weak_paths_alone_do_not_hold():
    pairs = [("a", "b", 0.6), ("b", "c", 0.6)]
    members = group_copies(images_table("abc"), matches_table(pairs))
    assert [m.image_id for m in members if m.keep] == ["b"], "only b is matched with both"
    assert "comes first" in members[0].reason


def test_the_preferred_image_is_kept_where_another_one_matches_more():
    pairs = [("a", "b", 0.85), ("b", "c", 0.9), ("b", "d", 0.9)]
    members = group_copies(images_table("abcd"), matches_table(pairs), kept_by("first"))
    assert [m.image_id for m in members if m.keep] == ["a"]
    assert members[2].reason.endswith("through b (confidence 0.77)")
    assert not members[2].suggested


def test_a_member_through_another_says_so():
    pairs = [("a", "b", 0.95), ("b", "c", 0.95)]
    members = group_copies(images_table("abc"), matches_table(pairs), kept_by("first"))
    assert members[2].reason == "an edited copy of the kept image, through b (confidence 0.90)"
    assert members[2].similarity_to_kept == pytest.approx(0.475)


def test_two_halves_of_a_panorama_are_no_copies_of_each_other():
    """Through what overlaps with both; each shows the middle half of its neighbours, 100 px on."""
    rows = matches_table([(a, b, 0.99) for a, b in ("ab", "bc", "cd", "de")]).to_pylist()
    for row in rows:
        row["transform"] = [1, 0, -50, 0, 1, 0, 0, 0, 1]
    matches = pa.Table.from_pylist(rows, schema=tables.MATCHES)
    members = group_copies(images_table("abcde"), matches)
    groups = {member.image_id: member.group_id for member in members}
    assert groups["a"] != groups["d"] == groups["e"] != groups["b"]


def test_a_pair_verified_both_ways_counts_once_and_the_acceptance_wins():
    assert grouped("ab", [("a", "b", 0.1), ("b", "a", 0.9)]) == [["a", "b"]]


class TestByteIdentical:
    def test_are_members_without_any_match(self):
        images = images_table("abc", duplicates={"b": "a"})
        members = group_copies(images, matches_table([]))
        assert [(m.image_id, m.keep, m.similarity_to_kept) for m in members] == [
            ("a", True, 1.0),
            ("b", False, 1.0),
        ]
        assert members[1].reason == "same bytes as the kept image"

    def test_follow_the_image_that_they_repeat(self):
        images = images_table(
            "abcd", duplicates={"d": "b", "c": "a"}, sizes={"a": (9, 9, 9), "c": (9, 9, 9)}
        )
        members = group_copies(images, matches_table([("a", "b", 0.9)]))
        assert [m.image_id for m in members] == ["b", "a", "c", "d"]
        assert {m.image_id: m.reason for m in members} == {
            "b": "the original is uncertain: most pixels of 2 (100 × 100 px)",
            "d": "same bytes as the kept image",
            "a": "an edited copy of the kept image (confidence 0.90)",
            "c": "same bytes as a, an edited copy of the kept image (confidence 0.90)",
        }
        stays = {m.image_id: (m.suggested, m.kept_id) for m in members}
        assert stays == {"b": (False, "b"), "d": (True, "b"), "a": (False, "b"), "c": (True, "a")}

    def test_a_repeat_may_be_the_one_to_keep(self):
        images = images_table("ab", duplicates={"a": "b"})
        members = group_copies(images, matches_table([]), kept_by("first"))
        assert [(m.image_id, m.keep) for m in members] == [("a", True), ("b", False)]


def test_only_images_of_copies_are_looked_at():
    images = images_table("abcdef", duplicates={"f": "e"})
    matches = matches_table([("a", "b", 0.9), ("c", "d", 0.1)])
    assert [ref.image_id for ref in images_to_look_at(images, matches)] == ["a", "b", "e"]


class TestBadInput:
    def test_a_match_with_a_stranger(self):
        with pytest.raises(InputError, match="'x' is named by a match"):
            group_copies(images_table("ab"), matches_table([("a", "x", 0.9)]))

    def test_an_image_twice(self):
        with pytest.raises(InputError, match="image_id twice"):
            group_copies(images_table("aa"), matches_table([]))

    def test_options(self):
        with pytest.raises(OptionError, match="'smallest'; it is one or more of original, largest"):
            KeepOptions(("largest", "smallest"))
        with pytest.raises(OptionError, match="suggest is 'all'; it is one of nothing"):
            KeepOptions(suggest="all")
        with pytest.raises(OptionError, match="min_path_confidence is 2"):
            GroupOptions(min_path_confidence=2)
        text = "keep=original suggest=same_picture min_path_confidence=0.8"
        assert str(GroupOptions()) == text


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from([0.1, 0.6, 0.9, 0.99])),
        max_size=30,
    ),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_any_order_gives_the_same_sound_groups(pairs, rng):
    ids = [f"i{number}" for number in range(10)]
    named = [(ids[a], ids[b], confidence) for a, b, confidence in pairs if a != b]
    members = group_copies(images_table(ids), matches_table(named))
    shuffled = rng.sample(named, len(named))
    turned = [(b, a, c) if rng.random() < 0.5 else (a, b, c) for a, b, c in shuffled]
    again = group_copies(images_table(rng.sample(ids, 10)), matches_table(turned))
    assert members == again

    names = [member.image_id for member in members]
    assert len(set(names)) == len(names), "nobody is in two groups"
    for group_id in {member.group_id for member in members}:
        group = [member for member in members if member.group_id == group_id]
        assert len(group) >= 2
        assert [member.keep for member in group] == [True] + [False] * (len(group) - 1)
        kept = group[0].image_id
        assert all(member.kept_id == kept for member in group)
        reached, accepted = {kept}, [set(pair[:2]) for pair in named if pair[2] >= 0.5]
        for _ in group:
            reached |= {image for pair in accepted if pair & reached for image in pair}
        assert {member.image_id for member in group} <= reached


def planted_families(seed):
    """200 originals, 80 with one to nine edits, and 20 wrong pairs → ids, truth, pairs."""
    rng = np.random.default_rng(seed)
    truth, original, visible = [], [], []
    for family in range(200):
        edits = int(rng.integers(1, 10)) if family < 80 else 0
        truth += [family] * (1 + edits)
        original += [True] + [False] * edits
        visible += [1.0, *rng.beta(6, 1, edits)]
    ids = [f"i{number:04d}" for number in range(len(truth))]
    pairs = {}
    for a in range(len(truth)):
        for b in range(a + 1, len(truth)):
            if truth[a] != truth[b]:
                continue
            chance = visible[a] * visible[b] * (0.97 if original[a] or original[b] else 0.6)
            found = rng.random() < chance
            pairs[a, b] = 0.5 + 0.5 * rng.beta(12, 1) if found else 0.4 * rng.random()
    for _ in range(20):
        a, b = sorted(rng.choice(len(truth), 2, replace=False))
        if truth[a] != truth[b]:
            for x in np.flatnonzero(np.array(truth) == truth[a]):
                for y in np.flatnonzero(np.array(truth) == truth[b]):
                    pairs.setdefault((int(x), int(y)), 0.02)
            pairs[a, b] = 0.6 + 0.35 * rng.random()
    return ids, truth, [(ids[a], ids[b], confidence) for (a, b), confidence in pairs.items()]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_families_come_together_and_strangers_stay_apart(seed):
    ids, truth, pairs = planted_families(seed)
    groups = grouped(ids, pairs)
    predicted = np.arange(len(ids))
    for number, group in enumerate(groups):
        predicted[[ids.index(image_id) for image_id in group]] = len(ids) + number
    result = metrics.b_cubed(predicted, np.array(truth))
    assert result.precision >= 0.985
    assert result.recall >= 0.90


def test_a_thousand_copies_of_one_image():
    """Each was proposed to a few others only, and a part to one that all are near to."""
    rng = random.Random(0)
    ids = [f"i{number:04d}" for number in range(1000)]
    pairs = {tuple(sorted((a, b))): 0.97 for a in ids for b in rng.sample(ids, 12) if a != b}
    pairs.update({tuple(sorted((ids[500], b))): 0.97 for b in ids[::2] if b != ids[500]})
    assert [len(g) for g in grouped(ids, [(*ab, c) for ab, c in pairs.items()])] == [1000]


def test_full_lists_say_nothing_of_the_pairs_that_are_missing():
    """Ten kinds of a picture, each nearest to its own; a few pairs hold the kinds together."""
    ids = [f"{kind}{number:02d}" for kind in "abcdefghij" for number in range(12)]
    pairs = [(a, b, 0.97) for a in ids for b in ids if a < b and a[0] == b[0]]
    pairs += [("a00", b, 0.97) for b in ids if b[0] != "a" and int(b[1:]) < 3]
    assert [len(group) for group in grouped(ids, pairs)] == [120]


class TestSparePairs:
    """Of large families only some pairs are verified at first."""

    IDS = tuple(f"{kind}{number}" for kind in "ab" for number in range(6))
    HUBS = tuple((f"{kind}0", f"{kind}{number}", 0.97) for kind in "ab" for number in range(1, 6))

    def spare(self, pairs):
        no = math.nan
        rows = [Candidate(a, b, no, no, no, no, -6.0, "", "", n, True, True) for a, b, n in pairs]
        return tables.rows_to_table(rows, tables.CANDIDATES)

    def to_connect(self, pairs, spare, **options):
        tables_ = images_table(self.IDS), matches_table(pairs), self.spare(spare)
        found = pairs_to_connect(*tables_, GroupOptions(**options))
        assert not any(pair.spare for pair in found)
        return [(pair.query_id, pair.reference_id) for pair in found]

    def test_inside_a_group_none_is_wanted(self):
        assert self.to_connect(self.HUBS, [("a1", "a2", 1), ("b4", "b5", 1)]) == []

    def test_between_two_groups_the_best_are(self):
        between = [(f"a{n}", f"b{m}", 100 - 10 * n - m) for n in range(6) for m in range(6)]
        assert self.to_connect(self.HUBS, between, neighbors=3) == [
            ("a5", "b5"),
            ("a5", "b4"),
            ("a5", "b3"),
        ]

    def test_one_that_is_in_no_group_is_compared_with_several(self):
        pairs = [pair for pair in self.HUBS if pair[1] != "a5"] + [("a0", "a5", 0.1)]
        spare = [("a5", "a1", 4), ("a2", "a5", 3), ("a5", "b1", 5), ("a3", "a4", 1)]
        assert self.to_connect(pairs, spare) == [("a2", "a5"), ("a5", "a1"), ("a5", "b1")]

    def test_that_they_have_no_verdict_says_nothing(self):
        """Two halves of a family, each around a picture of its own, that one pair connects."""
        pairs = [*self.HUBS, ("a0", "b0", 0.9)]
        assert len(grouped(self.IDS, pairs)) == 2
        between = self.spare([(f"a{n}", f"b{n}", 1.0) for n in range(6)])
        members = group_copies(images_table(self.IDS), matches_table(pairs), spare=between)
        assert len({member.group_id for member in members}) == 1


def test_a_collage_does_not_join_the_families_of_its_pictures():
    """Here nothing was refused: no pair of two families was even proposed."""
    pairs = [*star("o", "1234c", 0.98), *star("p", "567", 0.98), ("c", "p", 0.95)]
    assert grouped("o1234cp567", pairs) == [list("1234co"), list("567p")]


def placed(copy, original, box, confidence=0.99):
    """A match of a copy that shows the original in a box: left, top, right, bottom."""
    left, top, right, bottom = box
    row = matches_table([(copy, original, confidence)]).to_pylist()[0]
    region = [left, top, right, top, right, bottom, left, bottom]
    return row | {"direction": "query_is_copy", "query_region": [region]}


def test_a_collage_goes_with_the_picture_that_fills_most_of_it():
    """Two pictures with a copy each, and a collage of both that matches all four."""
    rows = matches_table([("a", "A", 0.99), ("b", "B", 0.99)]).to_pylist()
    rows += [placed("c", image, (0, 0, 60, 100)) for image in "Aa"]
    rows += [placed("c", image, (62, 0, 100, 100)) for image in "Bb"]
    members = group_copies(images_table("AaBbc"), pa.Table.from_pylist(rows, schema=tables.MATCHES))
    groups = {member.image_id: member.group_id for member in members}
    assert groups["A"] == groups["a"] == groups["c"] != groups["B"] == groups["b"]


def test_crops_of_one_picture_that_lie_apart_stay_with_it():
    rows = [placed("l", "O", (0, 0, 40, 40)), placed("r", "O", (0, 0, 40, 40))]
    for row, box in zip(rows, [[0, 0, 40, 0, 40, 40], [60, 60, 90, 60, 90, 90]], strict=True):
        row["reference_region"] = [box]
    members = group_copies(images_table("Olr"), pa.Table.from_pylist(rows, schema=tables.MATCHES))
    assert len({member.group_id for member in members}) == 1
    assert len(members) == 3


def test_a_heavy_edit_that_matches_one_of_many_copies_is_one_of_them():
    """The others are all copies of each other; the edit was recognised in one of them only."""
    copies = "oabcdefgh"
    pairs = [(a, b, 0.99) for a in copies for b in copies if a < b]
    heavy = [("o", "x", 0.8), *((copy, "x", 0.02) for copy in copies[1:])]
    assert grouped(f"{copies}x", pairs + heavy) == [sorted(f"{copies}x")]
    doubtful = [("o", "x", 0.6), *heavy[1:]]
    assert grouped(f"{copies}x", pairs + doubtful) == [sorted(copies)]
