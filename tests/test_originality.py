"""The original of a group: by what files, names and matches tell."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from copydetect import tables
from copydetect.grouping.file_history import FileHistory
from copydetect.grouping.originality import CERTAIN, SIGNS, Originality
from tests.group_tables import images_table


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


def judged(*histories: FileHistory, directions: object = None) -> Originality:
    images = images_table([one.image_id for one in histories]).sort_by("image_id")
    table = tables.rows_to_table(histories, tables.HISTORIES)
    known = np.zeros((len(histories), 2)) if directions is None else np.array(directions, float)
    return Originality.of(images, np.arange(len(images)), table, known)


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
        found = judged(history("a.jpg", **{name: value}), history("b.jpg"))
        assert found.scores[0] < found.scores[1], name
        assert found.why(1, [0]), name


def test_names_and_folders() -> None:
    names = ["IMG_1234.jpg", "IMG_1234 (1).jpg", "IMG-20220101-WA0012.jpg", "downloads/x.jpg"]
    found = judged(*(history(name) for name in sorted(names)))
    best = sorted(names)[int(np.argmax(found.scores))]
    assert best == "IMG_1234.jpg"


def test_who_others_were_made_from_is_the_original() -> None:
    found = judged(history("a.jpg"), history("b.jpg"), directions=[[0, 1], [1, 0]])
    assert found.chance(1, [0, 1]) > 0.8


def test_nothing_known_is_uncertain() -> None:
    found = judged(history("a.jpg"), history("b.jpg"))
    assert found.chance(0, [0, 1]) == 0.5
    assert found.why(0, [1]) == []
    alone = Originality.of(
        images_table("ab"), np.arange(2), tables.HISTORIES.empty_table(), np.zeros((2, 2))
    )
    np.testing.assert_array_equal(alone.scores[0], alone.scores[1])


def test_repeated_bytes_share_a_history_and_not_a_name() -> None:
    images: pa.Table = images_table(["a (1).jpg", "a.jpg"]).sort_by("image_id")
    table = tables.rows_to_table([history("a.jpg", camera="Canon")], tables.HISTORIES)
    found = Originality.of(images, np.array([1, 1]), table, np.zeros((2, 2)))
    assert found.sign("camera").tolist() == [1.0, 1.0]
    assert found.scores[1] > found.scores[0]


def test_every_sign_says_something() -> None:
    assert len({sign.name for sign in SIGNS}) == len(SIGNS)
    assert all(sign.kept or sign.other for sign in SIGNS)
