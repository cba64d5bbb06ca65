"""Which image of a group is kept, with its reason, and which others may go."""

from __future__ import annotations

import pyarrow as pa
import pytest

from copydetect import tables
from copydetect.grouping.groups import group_copies, pairs_to_compare
from tests.group_tables import images_table, kept_by, matches_table, same_picture


class TestKeep:
    PAIRS = (("a", "b", 0.99), ("b", "c", 0.99), ("a", "c", 0.99))
    SIZES = {"a": (10, 10, 500), "b": (20, 20, 300), "c": (20, 20, 900)}  # noqa: RUF012

    def kept(self, rules, captured=None, sizes=None, ids="abc", pairs=PAIRS, **keywords):
        images = images_table(ids, sizes=sizes or self.SIZES, captured=captured)
        members = group_copies(images, matches_table(pairs), kept_by(rules, **keywords))
        (kept,) = (member for member in members if member.keep)
        return kept.image_id, kept.reason

    def test_largest(self):
        assert self.kept("largest") == ("c", "as large as others (20 × 20 px)")
        sizes = {"a": (30, 20, 1), "b": (20, 20, 300), "c": (20, 20, 900)}
        assert self.kept("largest", sizes=sizes) == ("a", "most pixels of 3 (30 × 20 px)")

    def test_first(self):
        assert self.kept("first") == ("a", "first by name of 3")

    def test_oldest_and_newest(self):
        captured = {"b": 1_000_000_000, "a": 1_200_000_000}
        assert self.kept("oldest", captured) == ("b", "oldest of 3 (taken 2001-09-09 01:46:40)")
        assert self.kept("newest", captured)[0] == "a"

    def test_without_any_time_the_next_rule_decides(self):
        assert self.kept("oldest,first")[0] == "a"
        assert self.kept("oldest,largest")[0] == "c"

    def test_raw_and_shortest_path(self):
        ids = ["long/name.jpg", "x.CR2", "y.jpg"]
        pairs = [(a, b, 0.99) for a in ids for b in ids if a < b]
        assert self.kept("raw", ids=ids, pairs=pairs)[0] == "x.CR2"
        assert self.kept("shortest-path,first", ids=ids, pairs=pairs)[0] == "x.CR2"

    def test_preferred_files_come_before_all_rules(self):
        ids = ["album/a.jpg", "b.jpg", "old/c.jpg"]
        pairs = [(a, b, 0.99) for a in ids for b in ids if a < b]
        for pattern in ("old/*", "*c.jpg", "old/?.jpg"):
            kept = self.kept("first", ids=ids, pairs=pairs, prefer=[pattern])
            assert kept == ("old/c.jpg", "preferred by --prefer")

    def test_images_of_unknown_size_come_last(self):
        sizes = {"a": (None, None, None), "b": (2, 2, 5), "c": (1, 1, 5)}
        assert self.kept("largest", sizes=sizes)[0] == "b"


class TestSuggested:
    """What may go; all images are 100 × 100 px, and the kept one is `a`."""

    def members(self, relation="same_picture", suggest="same_picture", **row):
        rows = matches_table([("a", "b", 0.99)]).to_pylist()
        whole = {"relation": relation, "transform": [1.0, 0, 0, 0, 1, 0, 0, 0, 1]}
        matches = pa.Table.from_pylist([{**rows[0], **whole, **row}], schema=tables.MATCHES)
        options = kept_by("first", suggest=suggest, protect=["protected*"])
        return group_copies(images_table("ab"), matches, options)

    def goes(self, *arguments, **keywords):
        kept, other = self.members(*arguments, **keywords)
        assert (kept.image_id, kept.suggested) == ("a", False)
        assert other.kept_id == "a"
        return other.suggested

    def test_the_same_picture_goes_and_an_edit_does_not(self):
        assert self.goes("identical")
        assert self.goes("same_picture")
        assert not self.goes("edited")

    def test_what_is_asked_for(self):
        assert self.goes("edited", suggest="edited")
        assert not self.goes("same_picture", suggest="identical")
        assert not self.goes("identical", suggest="nothing")
        assert not self.goes("changed_content", suggest="edited")

    @pytest.mark.parametrize("edit", ["drawn or written over", "pasted or framed: it fills 40%"])
    def test_what_may_show_something_of_its_own_stays(self, edit):
        assert not self.goes("edited", suggest="edited", edits=[edit])

    def test_what_shows_more_than_the_kept_image_stays(self):
        """b → a doubles: only a quarter of b lies in a."""
        half = [0.5, 0, 0, 0, 0.5, 0, 0, 0, 1]
        assert not self.goes("edited", suggest="edited", transform=half)
        assert self.goes("edited", suggest="edited", transform=[2.0, 0, 0, 0, 2, 0, 0, 0, 1])
        assert not self.goes("edited", suggest="edited", transform=[])

    def test_what_is_transparent_stays_beside_a_picture_on_a_ground(self):
        images = images_table("ab").drop_columns("transparent")
        row = matches_table([("a", "b", 0.99)]).to_pylist()[0]
        row |= {"relation": "same_picture", "transform": [1.0, 0, 0, 0, 1, 0, 0, 0, 1]}
        matches = pa.Table.from_pylist([row], schema=tables.MATCHES)
        for see_through, goes in (([False, True], False), ([True, True], True)):
            told = images.append_column("transparent", pa.array(see_through))
            _, other = group_copies(told, matches, kept_by("first"))
            assert other.suggested == goes
            assert goes or other.reason.endswith("stays: transparent, and the kept image is not")

    def test_protected_files_stay(self):
        ids = ["a", "protected_b"]
        row = matches_table([("a", "protected_b", 0.99)]).to_pylist()[0]
        row |= {"relation": "same_picture", "transform": [1.0, 0, 0, 0, 1, 0, 0, 0, 1]}
        matches = pa.Table.from_pylist([row], schema=tables.MATCHES)
        members = group_copies(images_table(ids), matches, kept_by("first", protect=["prot*"]))
        assert [m.suggested for m in members] == [False, False]
        assert members[1].reason.endswith("protected")


class TestOnlyWhatWasComparedMayGo:
    """A small picture between two may show less than both: they may differ where it shows nothing.
    So the kept image is compared with every member that could go."""

    IDS = ("a", "b", "c", "d")
    STAR = (("a", "b", 0.99), ("b", "c", 0.98), ("b", "d", 0.97))

    def suggested(self, pairs):
        members = group_copies(images_table(self.IDS), same_picture(pairs), kept_by("first"))
        return {member.image_id for member in members if member.suggested}

    def to_compare(self, pairs, **keywords):
        keep = kept_by("first", **keywords)
        found = pairs_to_compare(images_table(self.IDS), same_picture(pairs), keep)
        return [(pair.query_id, pair.reference_id, round(pair.score, 1)) for pair in found]

    def test_what_only_others_connect_stays(self):
        assert self.suggested(self.STAR) == {"b"}
        members = group_copies(images_table(self.IDS), same_picture(self.STAR), kept_by("first"))
        assert [m.reason.split("; stays: ")[1] for m in members if m.image_id in "cd"] == [
            "not compared with the kept image"
        ] * 2

    def test_these_pairs_are_asked_for_with_the_odds_of_their_group(self):
        assert self.to_compare(self.STAR) == [("a", "c", 3.5), ("a", "d", 3.2)]
        assert self.to_compare(self.STAR, suggest="identical") == []
        assert self.to_compare(self.STAR[:1]) == []

    def test_once_they_are_compared_they_may_go(self):
        compared = [*self.STAR, ("a", "c", 0.9)]
        assert self.suggested(compared) == {"b", "c"}
        assert self.to_compare([*compared, ("a", "d", 0.9)]) == []

    def test_what_was_compared_does_not_change_which_image_is_kept(self):
        """Whatever these pairs say of directions: nothing was compared with another one."""

        def told(pairs, direction):
            rows = [row | {"direction": direction} for row in same_picture(pairs).to_pylist()]
            return pa.Table.from_pylist(rows, schema=tables.MATCHES)

        matches = pa.concat_tables(
            [told(self.STAR[:1], "reference_is_copy"), same_picture(self.STAR[1:])]
        )
        compared = told([("a", "c", 0.99), ("a", "d", 0.99)], "query_is_copy")
        members = group_copies(images_table(self.IDS), matches, compared=compared)
        assert [member.image_id for member in members if member.keep] == ["a"]
        assert {member.image_id for member in members if member.suggested} == {"b", "c", "d"}

    def test_what_is_no_copy_of_the_kept_image_after_all_stays(self):
        assert self.suggested([*self.STAR, ("a", "d", 0.1)]) == {"b"}

    def test_a_pair_that_was_refused_is_not_verified_a_second_time(self):
        refused = [*self.STAR, ("d", "a", 0.1)]
        assert self.to_compare(refused) == [("a", "c", 3.5)]
        members = group_copies(images_table(self.IDS), same_picture(refused), kept_by("first"))
        assert {m.image_id: m.reason.split("; stays: ")[-1] for m in members}["d"] == (
            "compared with the kept image, and not proved to be a copy of it"
        )


@pytest.mark.parametrize(
    ("direction", "going"),
    [("query_is_copy", set()), ("unknown", {"b"}), ("reference_is_copy", {"b"})],
)
def test_what_the_kept_image_was_enlarged_from_stays(direction, going):
    half = {"transform": [0.5, 0, -0.25, 0, 0.5, -0.25, 0, 0, 1], "direction": direction}
    rows = [row | half for row in same_picture([("a", "b", 0.99)]).to_pylist()]
    images = images_table("ab", sizes={"a": (200, 200, 2000)})
    matches = pa.Table.from_pylist(rows, schema=tables.MATCHES)
    members = group_copies(images, matches, kept_by("largest"))
    assert [member.image_id for member in members if member.keep] == ["a"]
    assert {member.image_id for member in members if member.suggested} == going
    assert ("enlarged copy of it" in members[1].reason) is not bool(going)


@pytest.mark.parametrize(
    ("relation", "direction", "rule", "goes"),
    [
        ("same_picture", "unknown", "original", False),
        ("same_picture", "reference_is_copy", "original", True),
        ("identical", "unknown", "original", True),
        ("same_picture", "unknown", "largest", True),
    ],
)
def test_what_may_be_the_original_as_well_stays(relation, direction, rule, goes):
    """Unless another rule is asked for than to keep originals."""
    told = {"relation": relation, "direction": direction}
    rows = [row | told for row in same_picture([("a", "b", 0.99)]).to_pylist()]
    matches = pa.Table.from_pylist(rows, schema=tables.MATCHES)
    kept, other = group_copies(images_table("ab"), matches, kept_by(rule))
    assert (kept.image_id, other.suggested) == ("a", goes)
    assert other.reason.endswith("stays: may be the original as well") is not goes
    preferred = group_copies(images_table("ab"), matches, kept_by(rule, prefer=["a"]))
    assert preferred[1].suggested
