"""Calibration: maps that keep order, honest probabilities, thresholds that hold on other pairs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydetect.errors import InputError, OptionError
from copydetect.evaluation.metrics import reliability
from copydetect.inputs.listing import ListedImage
from copydetect.storage.files import LocalStorage
from copydetect.training.calibration_fit import (
    LabelledPairs,
    fit_calibration,
    operating_points,
    out_of_fold,
    regressed,
)
from copydetect.training.calibration_pairs import (
    MadeCopy,
    StudyOptions,
    choose_images,
    label_pairs,
)
from copydetect.verification.calibration import (
    IDENTITY,
    Calibration,
    ProbabilityMap,
    Task,
    are_copies,
    bundled_calibration,
    bundled_name,
    decision_digest,
    pairs_to_show,
)

STEPPED = ProbabilityMap(0.5, 0.3, -2.0, ((-4.0, -6.0), (0.0, -1.0), (3.0, 5.0)))
probabilities = st.floats(0.0, 1.0)


def planted(count: int, seed: int = 0, strangers: float = 0.9) -> LabelledPairs:
    """Pairs whose truth follows from confidence and score by a known law, too bold by far."""
    rng = np.random.default_rng(seed)
    hard = np.where(rng.random(count) < strangers, -4.0, 4.0) + rng.normal(0, 2.0, count)
    scores = rng.normal(0, 2, count)
    truth = rng.random(count) < 1 / (1 + np.exp(-(hard + 0.5 * scores)))
    confidences = 1 / (1 + np.exp(-2.0 * hard))
    kinds = tuple(("crop",) if i % 2 else ("blur", "text") for i in range(count))
    return LabelledPairs(
        confidences,
        np.zeros(count),
        scores,
        truth,
        np.arange(count) // 3,
        np.ones(count, bool),
        truth | (np.arange(count) % 2 == 0),
        kinds,
    )


@settings(max_examples=60, deadline=None)
@given(probabilities, probabilities, st.floats(-30, 30))
def test_the_map_never_falls_where_confidence_rises(a: float, b: float, score: float) -> None:
    low, high = STEPPED.apply(sorted([a, b]), [score, score])
    assert 0 <= low <= high <= 1


def test_proof_stays_proof_and_identity_changes_nothing() -> None:
    assert STEPPED.apply(1.0, -20.0) == 1.0
    confidences = np.array([0.001, 0.2, 0.5, 0.97])
    assert IDENTITY.apply(confidences, np.zeros(4)) == pytest.approx(confidences)


def test_a_law_is_found_again_and_its_probabilities_are_honest() -> None:
    fitted = fit_calibration(planted(6000), ("descriptor", "local"))
    assert fitted.map.confidence == pytest.approx(0.5, rel=0.2)
    assert fitted.map.score == pytest.approx(0.5, rel=0.2)
    others = planted(6000, seed=1)
    calibrated = fitted.apply(others.confidences, others.scores)
    assert reliability(calibrated, others.labels).expected_calibration_error < 0.02
    assert reliability(others.confidences, others.labels).expected_calibration_error > 0.03


@pytest.mark.parametrize("precision", [0.8, 0.9, 0.95])
def test_a_threshold_holds_on_other_pairs(precision: float) -> None:
    threshold = fit_calibration(planted(8000)).threshold_for(precision)
    fitted = fit_calibration(planted(8000))
    others = planted(8000, seed=2)
    reported = fitted.apply(others.confidences, others.scores) >= threshold
    assert others.labels[reported].mean() == pytest.approx(precision, abs=0.03)


def test_thresholds_tell_their_intervals_and_the_recall_by_kind() -> None:
    point = fit_calibration(planted(6000)).thresholds["0.9"]
    assert point["threshold_low"] <= point["threshold"] <= point["threshold_high"]
    assert point["precision_low"] < point["precision"] < point["precision_high"]
    assert set(point["recall_by_kind"]) == {"crop", "blur", "text"}
    assert point["recall_by_kind"]["blur"] == point["recall_by_kind"]["text"]
    total = sum(point["recall_by_kind"][kind]["copies"] for kind in ("crop", "blur"))
    assert total == planted(6000).labels.sum()


def test_out_of_fold_probabilities_come_from_other_originals() -> None:
    pairs = planted(900)
    unseen = out_of_fold(pairs, fit_calibration(pairs))
    flipped = replace(pairs, labels=np.where(pairs.origins == 7, ~pairs.labels, pairs.labels))
    again = out_of_fold(flipped, fit_calibration(pairs))
    mine = pairs.origins == 7
    assert np.array_equal(unseen[mine], again[mine])
    assert not np.array_equal(unseen, again)


def test_in_a_match_half_of_the_queries_have_no_copy_and_originals_do_not_meet() -> None:
    pairs = planted(3000)
    met = pairs.of("match")
    assert pairs.of("dedup") is pairs
    assert met.across.all()
    assert not (met.labels & (met.origins % 2 == 1)).any()
    kept = pairs.across & (~pairs.labels | (pairs.origins % 2 == 0))
    assert np.array_equal(met.confidences, pairs.confidences[kept])
    assert len(met.kinds) == kept.sum()


def test_copies_that_were_not_found_count_against_recall_only() -> None:
    pairs = planted(3000)
    lost = pairs.labels & (np.arange(3000) % 2 == 0)
    half = replace(pairs, found=~lost, confidences=np.where(lost, 0.0, pairs.confidences))
    whole, less = (fit_calibration(one).thresholds["0.8"] for one in (pairs, half))
    assert less["recall"] < 0.7 * whole["recall"]
    assert less["precision"] >= 0.8


def test_pages_that_pixels_tell_apart_are_measured_so() -> None:
    pairs = planted(3000)
    told = np.where(pairs.labels, 0.0, 1 - pairs.confidences)
    blind, seeing = (
        fit_calibration(one).thresholds["0.95"]
        for one in (pairs, replace(pairs, other_content=told))
    )
    assert seeing["precision"] >= 0.95
    assert seeing["recall"] > blind["recall"] + 0.01


def test_pairs_without_a_transform_are_never_reported() -> None:
    pairs = planted(3000)
    unproved = pairs.labels & (np.arange(3000) % 2 == 0)
    fitted = fit_calibration(replace(pairs, confidences=np.where(unproved, 0.0, pairs.confidences)))
    assert max(point.recall for point in fitted.points) <= 1 - unproved.sum() / pairs.labels.sum()


def test_two_copies_of_one_image_tell_only_how_many_pairs_are_copies() -> None:
    pairs = planted(3000)
    rows = np.concatenate([np.arange(3000), np.flatnonzero(pairs.labels)[:200]])
    more = {name: values[rows] for name, values in vars(pairs).items() if name != "kinds"}
    more["across"][3000:] = False
    more["confidences"][3000:] = 0.01
    kinds = [pairs.kinds[row] for row in rows.tolist()]
    alone, both = fit_calibration(pairs), fit_calibration(LabelledPairs(**more, kinds=kinds))
    weights = [(one.map.confidence, one.map.score) for one in (alone, both)]
    assert weights[0] == weights[1]
    assert both.map.intercept > alone.map.intercept


def test_pairs_that_surely_say_something_else_are_never_reported() -> None:
    pairs = planted(3000)
    other = pairs.labels & (np.arange(3000) % 2 == 0)
    fitted = fit_calibration(replace(pairs, other_content=np.where(other, 0.9, 0.0)))
    assert max(point.recall for point in fitted.points) <= 1 - other.sum() / pairs.labels.sum()


def test_regression_is_that_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(5)
    values = rng.normal(size=(400, 2)) * [3, 1]
    labels = rng.random(400) < 1 / (1 + np.exp(-values @ [0.8, -0.3] - 0.5))
    model = linear_model.LogisticRegression(C=100, tol=1e-10, max_iter=1000).fit(values, labels)
    expected = [*model.coef_[0], model.intercept_[0]]
    np.testing.assert_allclose(regressed(values, labels), expected, rtol=1e-4)


def test_operating_points_against_counting() -> None:
    values = np.array([0.9, 0.8, 0.8, 0.6, 0.5, -1.0])
    labels = np.array([True, True, False, True, False, True])
    points = operating_points(values, labels)
    found = [(p.threshold, p.precision, p.recall, p.pairs) for p in points]
    assert found == [(0.5, 0.6, 0.75, 5), (0.6, 0.75, 0.75, 4), (0.9, 1.0, 0.25, 1)]


def test_a_precision_that_cannot_be_had_says_what_can() -> None:
    fitted = fit_calibration(planted(600))
    with pytest.raises(OptionError, match=r"0\.999 cannot be reached: the most .* recall of"):
        fitted.threshold_for(0.999)
    with pytest.raises(OptionError, match="above 0 and below 1"):
        fitted.threshold_for(1.5)
    assert fitted.thresholds["0.995"] == {"reached": False}
    assert pairs_to_show(0.99) == 100


def test_too_few_copies_or_strangers_are_refused() -> None:
    pairs = planted(300)
    with pytest.raises(OptionError, match="made copies; a calibration needs 20"):
        fit_calibration(replace(pairs, found=~pairs.labels))
    with pytest.raises(OptionError, match="certainly strangers"):
        fit_calibration(replace(pairs, labels=np.ones(300, bool)))


def test_a_calibration_is_saved_as_plain_numbers(tmp_path: Path) -> None:
    fitted = fit_calibration(planted(2000), ("local",))
    fitted.save(LocalStorage(), str(tmp_path / "calibration.json"))
    loaded = Calibration.load(LocalStorage(), str(tmp_path))
    assert Calibration.load(LocalStorage(), str(tmp_path), "match") == loaded
    replace(fitted, channels=()).save(LocalStorage(), str(tmp_path / "calibration-match.json"))
    assert Calibration.load(LocalStorage(), str(tmp_path), "match").channels == ()
    assert loaded.identity == fitted.identity
    assert loaded.point_for(0.9) == fitted.point_for(0.9)
    confidences, scores = np.linspace(0, 1, 50), np.linspace(-5, 9, 50)
    assert np.array_equal(loaded.apply(confidences, scores), fitted.apply(confidences, scores))
    (tmp_path / "calibration.json").write_text('{"map": 3}')
    with pytest.raises(InputError, match=r"calibration\.json is not a calibration"):
        Calibration.load(LocalStorage(), str(tmp_path))


@pytest.mark.parametrize("task", ["dedup", "match"])
@pytest.mark.parametrize("effort", ["standard", "thorough"])
@pytest.mark.parametrize("channels", [("descriptor", "local"), ("local",), ("descriptor",)])
def test_the_bundled_calibration_fits_the_bundled_decision(
    channels: tuple[str, ...], effort: str, task: Task
) -> None:
    bundled = bundled_calibration(channels, task, effort)
    assert bundled.decision == decision_digest()
    assert bundled.channels in ((), channels)
    assert 0 < bundled.threshold_for(0.9) <= bundled.threshold_for(0.95) < 1


def listed(name: str, content: str, error: str = "") -> ListedImage:
    return ListedImage(name, "image", f"/photos/{name}", "", content, 10, error)


def test_the_study_is_chosen_whatever_the_order_and_holds_no_image_twice() -> None:
    images = [listed(f"{n}.jpg", f"{n:064x}") for n in range(50)]
    images += [listed("again.jpg", f"{3:064x}"), listed("broken.jpg", "f" * 64, "ImageError")]
    options = StudyOptions(sample=5, collection=20)
    chosen = choose_images(images, options)
    assert choose_images(images[::-1], options) == chosen
    assert len({image.sha256 for image in chosen.collection}) == 20
    assert chosen != choose_images(images, replace(options, seed=1))
    everything = choose_images(images, replace(options, collection=100))
    assert everything.collection[:20] == chosen.collection
    assert len({image.sha256 for image in everything.collection + everything.pasted}) == 50


def test_some_images_have_a_copy_by_every_mix_and_some_by_one() -> None:
    images = [listed(f"{n}.jpg", f"{n:064x}") for n in range(40)]
    study = choose_images(images, StudyOptions(sample=18, collection=30))
    copies = [image.image_id for mix in range(3) for image in study.edited_by(mix, 3)]
    assert set(copies) == {image.image_id for image in study.collection[:18]}
    assert sorted(Counter(copies).values()) == [1] * 6 + [2] * 6 + [3] * 6
    by_mix = [len(study.edited_by(mix, 3)) for mix in range(3)]
    assert by_mix == [12, 12, 12]
    assert study.edited_by(0, 1) == study.collection[:18]


@pytest.mark.parametrize(
    "wrong",
    [{"sample": 0}, {"mixes": ("gentle",)}, {"mixes": ("mild", "mild")}, {"collection": 10}],
)
def test_impossible_studies_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        StudyOptions(**wrong)


def matches_of(*rows: tuple[str, str, float]) -> pa.Table:
    a, b, confidences = zip(*rows, strict=True)
    others = {"other_content": [0.1] * len(rows), "score": [1.0] * len(rows)}
    return pa.table({"query_id": a, "reference_id": b, "confidence": confidences, **others})


def test_pairs_are_labelled_by_what_was_made_of_what() -> None:
    made = [
        MadeCopy("mild/a.0", "a", ("crop",)),
        MadeCopy("mild/a.1", "a", ("blur",)),
        MadeCopy("mild/b.0", "b", ("text",)),
    ]
    matches = matches_of(
        ("a", "mild/a.0", 0.9),
        ("mild/a.0", "mild/a.1", 0.8),
        ("b", "mild/a.0", 0.3),
        ("a", "b", 0.2),
        ("b", "c", 0.95),
        ("c", "mild/b.0", 0.97),
    )
    pairs, left_out = label_pairs(matches, made)
    assert left_out == {"originals that may be copies": 2}
    assert pairs.confidences.tolist() == [0.9, 0.8, 0.3, 0.2, 0.0, 0.0]
    assert pairs.labels.tolist() == [True, True, False, False, True, True]
    assert pairs.found.tolist() == [True, True, True, True, False, False]
    assert pairs.across.tolist() == [True, False, True, False, True, True]
    assert pairs.kinds[:2] == (("crop",), ())
    distinct, left_out = label_pairs(matches, made, distinct=True)
    assert not left_out
    assert (~distinct.labels).sum() == 4


def test_of_pairs_of_two_copies_that_may_share_a_pasted_picture_a_third_counts() -> None:
    names = [f"{number}" for number in range(40)]
    made = [MadeCopy(f"mild/{name}.0", name, ("overlay",)) for name in names]
    crossed = [(f"mild/{a}.0", f"mild/{b}.0", 0.3) for a in names for b in names if a < b]
    pairs, left_out = label_pairs(matches_of(*crossed), made)
    ((_, count),) = left_out.items()
    assert count + int(pairs.found.sum()) == len(crossed)
    assert abs(count / len(crossed) - 2 / 3) < 0.06


def test_where_everything_may_be_a_copy_of_everything_nothing_can_be_learnt() -> None:
    names = [f"{number}" for number in range(30)]
    made = [MadeCopy(f"mild/{name}.0", name, ("crop",)) for name in names]
    alike = [(a, b, 0.99) for a in names for b in names if a < b]
    found = [(copy.original_id, copy.copy_id, 0.98) for copy in made]
    crossed = [("1", "mild/2.0", 0.97), ("mild/3.0", "mild/4.0", 0.96)]
    pairs, left_out = label_pairs(matches_of(*alike, *found, *crossed), made)
    assert left_out == {"originals that may be copies": len(alike) + 2}
    with pytest.raises(OptionError, match="not everything is a copy of everything"):
        fit_calibration(pairs)


def test_an_effort_without_a_calibration_of_its_own_takes_the_usual_one() -> None:
    channels = ("descriptor", "local")
    assert bundled_name(channels, "match") == "calibration-match-descriptor-local.json"
    assert bundled_name(channels, "match", "slow") == "calibration-match-descriptor-local-slow.json"
    usual = bundled_calibration(channels, "match")
    assert bundled_calibration(channels, "match", "slow").identity == usual.identity


def test_a_page_with_other_words_is_no_copy_however_low_the_threshold() -> None:
    confidences = np.array([0.12, 0.12, 0.12, 0.04, 1.0])
    other_content = np.array([0.88, 0.5, 0.0, 0.0, np.nan])
    assert are_copies(confidences, other_content, 0.1).tolist() == [False, True, True, False, True]
