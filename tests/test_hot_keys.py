"""Much that goes to one place: copies of one file, and an image that everything resembles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from copydetect import tables
from copydetect.candidates import candidate_job, pair_spills
from copydetect.candidates.merging import capped_pairs
from copydetect.candidates.pair_spills import FOUND, receive
from copydetect.candidates.ranks import ranks_of
from copydetect.description import describing
from copydetect.description.describing import Describer, DescriberOptions, describe_part
from copydetect.description.keypoints import load_quantiser
from copydetect.index.spills import stable_order
from copydetect.inputs.listed_parts import PartSorter, unpacked
from copydetect.inputs.listing import LISTING, ListedImage, list_images
from copydetect.search.neighbors import Neighbors
from copydetect.search.votes import Votes
from copydetect.types import ImageRef
from tests.conftest import STORAGE, encoded
from tests.scenes import scene
from tests.steps_in_turn import write_candidates
from tests.test_merging import Found, job_of, together

COPIES, IMAGES, PARTS = 20_000, 2_000, 8


def test_copies_of_one_file_are_packed_for_one_part_and_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(scene(0, 160, 120)))
    (first,) = list_images([(ImageRef("0", str(path), "", "image"), path.read_bytes())])
    copies = [
        ListedImage(f"{number:06d}", "image", str(path), "", first.sha256, first.bytes)
        for number in range(COPIES)
    ]
    sorter = PartSorter(64, frozenset(range(64)))
    packets = [*sorter.add(tables.rows_to_table(copies, LISTING)), *sorter.sorted()]
    assert len({part for part, _ in packets}) == 1
    assert sum(len(rows) for _, rows in packets) < 20 * COPIES
    decoded, real = [], describing.decode

    def counted(*given: object, **options: object) -> object:
        decoded.append(given)
        return real(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(describing, "decode", counted)
    nothing = np.empty((0, 0), np.float32)
    describer = Describer(DescriberOptions(), None, nothing, load_quantiser())
    described = describe_part(STORAGE, unpacked(rows for _, rows in packets), describer)
    assert len(decoded) == 1
    status = described.images["status"].value_counts().to_pylist()
    assert {one["values"]: one["counts"] for one in status} == {"ok": 1, "duplicate": COPIES - 1}
    assert described.keypoints is not None
    assert described.keypoints.num_rows == 1


def resembled_by_all() -> Found:
    """Each image has the one beside it as its nearest, and the first image behind that."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(IMAGES, 8)).astype(np.float16)
    images = np.arange(2, IMAGES)
    query = np.concatenate([np.zeros(4, np.int64), np.repeat(images, 2)])
    reference = np.stack([images ^ 1, np.zeros(len(images), np.int64)], 1).ravel()
    likeness = np.linspace(0.4, 0.7, len(images))
    near = np.concatenate([images[::-1][:4], reference])
    scores = np.concatenate(
        [likeness[::-1][:4], np.stack([0 * likeness + 0.9, likeness], 1).ravel()]
    )
    neighbors = Neighbors(query << 32, near << 32, scores.astype(np.float32))
    none = np.empty(0, np.int64)
    floats = np.empty(0, np.float32)
    votes = Votes(
        none,
        none,
        floats,
        none.astype(bool),
        none.astype(np.int32),
        np.zeros(1, np.int64),
        np.empty((0, 4), np.float32),
    )
    return Found(vectors, np.ones(IMAGES, np.float32), neighbors, votes)


def test_an_image_that_everything_resembles_is_sent_the_best_of_each_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_job, "_LEAST_BLOCKS", 4)
    monkeypatch.setattr(candidate_job, "_LEAST_BLOCK_IMAGES", 1)
    found = resembled_by_all()
    whole = job_of(tmp_path / "whole", found, PARTS, True)
    monkeypatch.setattr(pair_spills, "MOST_AWAY", IMAGES)
    wanted, _ = together(whole, write_candidates(whole))
    assert capped_pairs(STORAGE, whole.scratch, PARTS + 1) == 0
    monkeypatch.setattr(pair_spills, "MOST_AWAY", 20)
    job = job_of(tmp_path / "capped", found, PARTS, True)
    made, _ = together(job, write_candidates(job))
    assert made.equals(wanted), (
        "of its pairs the best are known, and all others where they are from"
    )
    home = int(job.block_of(0))
    away = [part for part in range(PARTS) if job.block_of(part) != home]
    sent = receive(STORAGE, job.found_for("found", home), home, FOUND).records
    outside = np.isin(job.proposals.queries.parts_of(sent["query"]), away)
    assert np.count_nonzero(outside & (sent["reference"] == 0)) == 20 * len(away)
    left_out = sum(job.proposals.queries.image_counts[part] - 20 for part in away)
    assert capped_pairs(STORAGE, job.scratch, PARTS + 1) == left_out


def test_only_what_has_many_pairs_is_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    reference = np.where(random.random(900) < 0.3, 7, random.integers(10, 80, 900))
    query, values = random.permutation(900), random.random(900, np.float32).round(1)
    monkeypatch.setattr(pair_spills, "MOST_AWAY", 12)
    expected = ranks_of(reference, query, values) <= 12
    asked = list[int]()
    monkeypatch.setattr(
        pair_spills,
        "ranks_of",
        lambda *columns: asked.append(len(columns[0])) or ranks_of(*columns),
    )
    np.testing.assert_array_equal(pair_spills._best_of_each(reference, query, values), expected)
    assert (reference == 7).sum() <= asked[0] < 900


@pytest.mark.parametrize(("lowest", "highest"), [(-1, 9), (0, 1 << 15), (-5, 1 << 17)])
def test_numbers_of_any_size_are_ordered_and_equal_ones_stay(lowest: int, highest: int) -> None:
    numbers = np.random.default_rng(4).integers(lowest, highest, 5000)
    order = np.argsort(numbers, kind="stable")
    np.testing.assert_array_equal(stable_order(numbers), order)
