"""The original of a group: by what files, names and matches tell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa

from copydetect import tables
from copydetect.grouping.file_history import FileHistory
from copydetect.grouping.originality import CERTAIN, SIGNS, Originality
from copydetect.grouping.pairs import VerifiedPairs
from tests.group_tables import images_table, matches_table


def history(image_id: str, **known: object) -> FileHistory:
    nothing = {
        "camera": "",
        "taken": False,
        "located": False,
        "editor": "",
        "changed": False,
        "resized": False,
        "retouched": False,
        "megapixels": 1.0,
        "detail_factor": 1.0,
        "coarseness": 1.0,
        "earlier": 0.0,
        "shifted": False,
        "padding_bytes": 0,
    }
    return FileHistory(image_id, **{**nothing, **known})  # type: ignore[arg-type]


def pairs_of(images: pa.Table, rows: Sequence[dict[str, object]] = ()) -> VerifiedPairs:
    """Accepted pairs; rows: what is known of each, with its two ids."""
    plain = matches_table([(row["query_id"], row["reference_id"], 0.9) for row in rows]).to_pylist()
    matches = [one | dict(row) for one, row in zip(plain, rows, strict=True)]
    table = pa.Table.from_pylist(matches, schema=tables.MATCHES)
    return VerifiedPairs.of(images, np.arange(len(images)), table)


def judged(*histories: FileHistory, pairs: Sequence[dict[str, object]] = ()) -> Originality:
    images = images_table([one.image_id for one in histories]).sort_by("image_id")
    table = tables.rows_to_table(histories, tables.HISTORIES)
    return Originality.of(images, np.arange(len(images)), table, pairs_of(images, pairs))


def test_a_camera_s_file_comes_before_an_enlarged_one_without_data() -> None:
    found = judged(
        history("a.jpg", camera="Canon EOS", taken=True, megapixels=0.1),
        history("b.jpg", megapixels=0.4, detail_factor=2.0),
    )
    assert found.chance(0, [0, 1]) > CERTAIN
    assert found.why(0, [1])[0] in ("it has its camera's data", "the other is enlarged or blurred")


def test_each_sign_alone_tells_young_from_old() -> None:
    signs = {
        "editor": "GIMP",
        "changed": True,
        "resized": True,
        "retouched": True,
        "detail_factor": 2.0,
        "earlier": 3.0,
        "shifted": True,
        "padding_bytes": 9000,
    }
    for name, value in signs.items():
        files = history("a.jpg", **{name: value}), history("b.jpg")
        found = judged(*files, pairs=[{"query_id": "a.jpg", "reference_id": "b.jpg"}])
        assert found.scores[0] < found.scores[1], name
        assert found.why(1, [0]), name


def test_an_earlier_compression_tells_nothing_beside_other_sizes() -> None:
    """Whatever was resized has lost it."""
    files = [history("a.jpg", earlier=3.0), history("b.jpg")]
    pairs = [{"query_id": "a.jpg", "reference_id": "b.jpg"}]
    images = images_table(["a.jpg", "b.jpg"], sizes={"b.jpg": (120, 120, 1000)})
    table = tables.rows_to_table(files, tables.HISTORIES)
    found = Originality.of(images, np.arange(2), table, pairs_of(images, pairs))
    assert found.scores[0] == found.scores[1]


def test_names_and_folders() -> None:
    names = ["IMG_1234.jpg", "IMG_1234 (1).jpg", "IMG-20220101-WA0012.jpg", "downloads/x.jpg"]
    found = judged(*(history(name) for name in sorted(names)))
    best = sorted(names)[int(np.argmax(found.scores))]
    assert best == "IMG_1234.jpg"


def test_who_others_were_made_from_is_the_original() -> None:
    pair = {"query_id": "a.jpg", "reference_id": "b.jpg", "direction": "query_is_copy"}
    found = judged(history("a.jpg"), history("b.jpg"), pairs=[pair])
    assert found.chance(1, [0, 1]) > 0.8


def test_two_edits_are_less_like_each_other_than_like_the_original() -> None:
    ids = "abcd"
    pairs = [
        {"query_id": one, "reference_id": other, "similarity": 0.8 if "c" in one + other else 0.6}
        for one, other in combinations(ids, 2)
    ]
    found = judged(*map(history, ids), pairs=pairs)
    assert int(np.argmax(found.scores)) == 2
    assert found.why(2, [0, 1, 3]) == ["it is the most like all others"]
    assert not judged(history("a"), history("b"), pairs=pairs[:1]).sign("central").any()
    many = [f"{number:02d}" for number in range(30)]
    star = [{"query_id": "00", "reference_id": one} for one in many[1:]]
    assert not judged(*map(history, many), pairs=star).sign("central").any()


def test_the_original_lies_fewest_edits_away_from_the_others() -> None:
    """Of four pictures one is mirrored, one stretched and one darker."""
    own = {"a": ["mirrored"], "b": ["stretched"], "c": [], "d": ["brightness or contrast changed"]}
    pairs = [
        {"query_id": one, "reference_id": other, "similarity": 0.8, "edits": own[one] + own[other]}
        for one, other in combinations(own, 2)
    ]
    found = judged(*map(history, own), pairs=pairs)
    assert int(np.argmax(found.scores)) == 2
    assert found.why(2, [0, 1, 3]) == ["fewest edits lie between it and the others"]
    alone = judged(history("a"), history("c"), pairs=[pairs[1]])
    assert not alone.sign("unedited").any()


def test_nothing_known_is_uncertain() -> None:
    found = judged(history("a.jpg"), history("b.jpg"))
    assert found.chance(0, [0, 1]) == 0.5
    assert found.why(0, [1]) == []
    images = images_table("ab")
    nothing = tables.HISTORIES.empty_table()
    alone = Originality.of(images, np.arange(2), nothing, pairs_of(images))
    np.testing.assert_array_equal(alone.scores[0], alone.scores[1])


def test_repeated_bytes_share_a_history_and_not_a_name() -> None:
    images: pa.Table = images_table(["a (1).jpg", "a.jpg"]).sort_by("image_id")
    table = tables.rows_to_table([history("a.jpg", camera="Canon")], tables.HISTORIES)
    found = Originality.of(images, np.array([1, 1]), table, pairs_of(images))
    assert found.sign("camera").tolist() == [1.0, 1.0]
    assert found.scores[1] > found.scores[0]


def test_every_sign_says_something() -> None:
    assert len({sign.name for sign in SIGNS}) == len(SIGNS)
    assert all(sign.kept or sign.other for sign in SIGNS)
