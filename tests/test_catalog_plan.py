"""What a night makes of a listing: new, changed, moved, gone, known."""

from __future__ import annotations

from dataclasses import replace

from copydetect.catalog.files import (
    FILES,
    CatalogFile,
    Ledger,
    files_table,
    plan_night,
    stamps_of,
)
from copydetect.inputs.listing import ListedImage
from copydetect.storage.files import LocalStorage, StoredFile


def _listed(image_id: str, sha256: str, folder: str = "in", error: str = "") -> ListedImage:
    place = (image_id, "image", f"{folder}/{image_id}", "")
    return ListedImage(*place, sha256, 9, error_type=error)  # type: ignore[arg-type]


def _file(number: int, image_id: str, sha256: str, **changes: object) -> CatalogFile:
    file = CatalogFile(
        number, image_id, image_id, f"in/{image_id}", "", "s1", sha256, 9, number, "ok", 1
    )
    return replace(file, **changes)  # type: ignore[arg-type]


LEDGER = Ledger([_file(0, "a.jpg", "aa"), _file(1, "b.jpg", "bb"), _file(2, "c.jpg", "aa")])


def _plan(*listed: ListedImage, ledger: Ledger = LEDGER, removals: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]
    stamps = {image.uri: "s2" for image in listed}
    return plan_night(ledger, listed, stamps, removals, 10, 2)


class _Bucket(LocalStorage):
    """A bucket whose listing tells sizes and times."""

    def __init__(self, *files: StoredFile) -> None:
        super().__init__()
        self.listed = list(files)

    def files_under(self, uri: str) -> list[StoredFile]:
        return [file for file in self.listed if file.uri.startswith(uri)]


def test_stamps_of_a_bucket_come_from_its_listing() -> None:
    names = ["gs://b/old.jpg", "gs://b/recent.jpg", "gs://b/untold.jpg", "gs://b/gone.jpg"]
    old, recent, untold = (
        StoredFile(uri, 9, changed=changed)
        for uri, changed in zip(names, (1000.0, 1999.0, 0.0), strict=False)
    )
    stamps = stamps_of(_Bucket(old, recent, untold), {"gs://b": names}, now=2000.0)
    assert stamps["gs://b/old.jpg"] == "9:1000.0"
    # One that has just changed may change again within the same second.
    assert [stamps[uri] for uri in names[1:]] == ["", "", ""]


def test_a_container_is_known_where_all_its_images_came_from_it_as_it_is() -> None:
    members = [
        _file(number, f"{number}.jpg", f"{number}", uri="in/a.tar", member=f"{number}:9")
        for number in range(2)
    ]
    assert Ledger(members).is_known("in/a.tar", "s1")
    assert not Ledger(members).is_known("in/a.tar", "s2")
    assert not Ledger(members).is_known("in/b.tar", "s1")
    for changed in (replace(members[0], status="again"), replace(members[0], stamp="s0")):
        assert not Ledger([changed, members[1]]).is_known("in/a.tar", "s1")


def test_new_contents_are_numbered_in_the_order_of_their_hash() -> None:
    plan = _plan(_listed("y.jpg", "ff"), _listed("x.jpg", "ee"), _listed("z.jpg", "bb"))
    assert [(file.number, file.image_id) for file in plan.new] == [(10, "x.jpg"), (11, "y.jpg")]
    assert [(file.number, file.content) for file in plan.twins] == [(12, 1)]


def test_a_file_that_was_read_again_and_is_the_same_changes_nothing_but_its_stamp() -> None:
    plan = _plan(_listed("b.jpg", "bb"))
    assert (plan.known, plan.new, plan.removed) == (1, [], [])
    assert [(file.number, file.stamp) for file in plan.stamped] == [(1, "s2")]


def test_other_content_at_the_same_place_is_a_changed_image() -> None:
    plan = _plan(_listed("b.jpg", "dd"))
    assert plan.removed == [1]
    assert [(file.image_id, file.number) for file in plan.new] == [("b.jpg", 10)]
    assert plan.changed == {1: 10}


def test_the_id_of_another_file_with_other_content_gets_its_folder_in_front() -> None:
    plan = _plan(_listed("b.jpg", "dd", "later"), _listed("b.jpg", "ee", "much/later"))
    assert plan.removed == []
    assert {file.image_id for file in plan.new} == {"later/b.jpg", "much/later/b.jpg"} or {
        file.image_id for file in plan.new
    } == {"later/b.jpg", "later/b#2.jpg"}
    assert len({file.image_id for file in plan.new}) == 2
    assert "b.jpg" in plan.renamed


def test_the_same_image_at_another_place_has_moved() -> None:
    plan = _plan(_listed("b.jpg", "bb", "elsewhere"))
    assert plan.new == []
    assert [(file.number, file.uri) for file in plan.moved] == [(1, "elsewhere/b.jpg")]


def test_what_was_removed_stays_removed_while_its_file_is_what_it_was() -> None:
    gone = Ledger([_file(0, "a.jpg", "aa", status="removed", removed=2)])
    assert _plan(_listed("a.jpg", "aa"), ledger=gone).is_empty
    assert [f.number for f in _plan(_listed("a.jpg", "cc"), ledger=gone).new] == [10]


def test_removals_name_images_and_unknown_ones_are_told() -> None:
    plan = _plan(removals=("a.jpg", "nobody.jpg", "a.jpg"))
    assert (plan.removed, plan.unknown) == ([0], ["nobody.jpg"])


def test_content_lives_as_long_as_one_of_its_files() -> None:
    plan = _plan(_listed("new.jpg", "aa"), removals=("a.jpg",))
    assert [(file.image_id, file.content) for file in plan.twins] == [("new.jpg", 2)]
    plan = _plan(_listed("new.jpg", "bb"), removals=("b.jpg",))
    assert [file.image_id for file in plan.new] == ["new.jpg"]


def test_a_file_that_cannot_be_read_is_told_once() -> None:
    broken = _listed("n.jpg", "11", error="InputError")
    plan = _plan(broken)
    assert [file.status for file, _ in plan.failed] == ["failed"]
    known = Ledger([file for file, _ in plan.failed])
    assert _plan(broken, ledger=known).is_empty


def test_a_ledger_survives_its_table() -> None:
    table = files_table(LEDGER.files.values())
    assert table.schema == FILES
    assert Ledger.of(table).files == LEDGER.files
    assert LEDGER.is_known("in/a.jpg", "s1")
    assert not LEDGER.is_known("in/a.jpg", "s2")
    assert not LEDGER.is_known("in/a.jpg", "")
