"""Edits: the geometry is where the pixels went, the seed decides, nothing breaks them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydetect.edits import (
    KINDS,
    MIXES,
    Edit,
    Edited,
    EditMix,
    apply,
    make_copy,
    mix_named,
    rng_of,
    sample_edits,
    unedited,
)
from copydetect.edits.colour import Brightness, Grey, Hue, Opacity
from copydetect.edits.drawn import Censor
from copydetect.edits.edit import within_limits
from copydetect.edits.geometry import (
    Crop,
    FlipHorizontal,
    FlipVertical,
    Pad,
    QuarterTurn,
    Rotate,
    Scale,
    inner_size,
)
from copydetect.edits.pasted import Collage, Onto
from copydetect.edits.screenshots import Layout, Screenshot
from copydetect.errors import OptionError
from copydetect.homographies import area, intersection, outline, project
from copydetect.types import Pixels

BENCH = Path(__file__).parents[2] / "shared" / "bench"
NAMES_THERE = {
    "bright": "brightness",
    "gray": "grey",
    "onto_bg": "onto",
    "persp": "perspective",
    "pixelize": "pixelate",
}
GEOMETRIC = (
    "crop",
    "scale",
    "aspect",
    "hflip",
    "vflip",
    "rot90",
    "rotate",
    "perspective",
    "skew",
    "pad",
    "meme",
    "screenshot",
    "onto",
    "collage",
)


def smooth(height: int = 150, width: int = 190, seed: int = 0) -> Pixels:
    """A picture without fine detail, so that resampling changes little of it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


OTHERS = [smooth(120, 90, 7), smooth(60, 140, 8)]


def drawn(kind: str, seed: int, strength: float) -> Edit:
    return KINDS[kind].sample(np.random.default_rng(seed), strength)


def difference_inside(pixels: Pixels, edited: Edited) -> float:
    """Mean difference of the edited pixels from the original warped there, off the borders."""
    height, width = edited.pixels.shape[:2]
    warped = cv2.warpPerspective(pixels, edited.transform, (width, height))
    # Two pixels at the border mix with what is beside, and the frame's own border counts as well.
    inside = cv2.erode(
        edited.mask().astype(np.uint8),
        np.ones((7, 7), np.uint8),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    ).astype(bool)
    assert inside.sum() > 50
    return float(np.abs(warped.astype(float) - edited.pixels)[inside].mean())


@pytest.mark.parametrize("kind", GEOMETRIC)
@pytest.mark.parametrize("seed", range(6))
def test_pixels_are_where_the_transform_says(kind: str, seed: int) -> None:
    pixels = smooth()
    edit = drawn(kind, seed, seed / 5)
    if isinstance(edit, Onto):
        edit = Onto(edit.other, edit.x, edit.y, edit.size, 1.0)
    assert difference_inside(pixels, edit(pixels, OTHERS)) < 3


@pytest.mark.parametrize("kind", GEOMETRIC)
def test_planted_markers_are_found_at_the_projected_points(kind: str) -> None:
    pixels = np.full((240, 320, 3), 128, np.uint8)
    marks = np.array([[80.0, 60], [240, 60], [240, 180], [80, 180], [160, 120]])
    for x, y in marks.astype(int):
        cv2.circle(pixels, (x, y), 5, (255, 0, 255), -1)
    edited = drawn(kind, 3, 0.3)(pixels, [np.full((80, 90, 3), 60, np.uint8)])
    targets = project(edited.transform, marks)
    red, green, blue = (edited.pixels[..., channel].astype(int) for channel in range(3))
    _, _, _, centres = cv2.connectedComponentsWithStats(
        ((np.minimum(red, blue) - green) > 100).astype(np.uint8)
    )
    contour = edited.region.astype(np.float32)
    shown = [t for t in targets if cv2.pointPolygonTest(contour, tuple(t), True) > 8]
    assert shown
    for target in shown:
        assert np.linalg.norm(centres[1:] - target, axis=1).min() < 1.0


@pytest.mark.parametrize(
    ("edit", "oracle"),
    [
        (FlipHorizontal(), lambda p: p[:, ::-1]),
        (FlipVertical(), lambda p: p[::-1]),
        (QuarterTurn(1), lambda p: np.rot90(p, 1)),
        (QuarterTurn(2), lambda p: np.rot90(p, 2)),
        (QuarterTurn(3), lambda p: np.rot90(p, 3)),
        (Crop(0.25, 0.5, 0.5, 0.25), lambda p: p[20:30, 15:45]),
        (Pad(0.5, 0.1, 0, 0, (1, 2, 3)), lambda p: np.pad(p, ((4, 0), (30, 0), (0, 0)))),
    ],
)
def test_exact_edits_move_every_pixel_exactly(edit: Edit, oracle) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    edited = edit(pixels)
    expected = oracle(pixels)
    mask = edited.mask()
    assert np.array_equal(edited.pixels[mask], expected[mask])
    rows, columns = np.nonzero(mask)
    points = np.stack([columns, rows], axis=1).astype(float)
    back = project(np.linalg.inv(edited.transform), points).round().astype(int)
    assert np.array_equal(pixels[back[:, 1], back[:, 0]], edited.pixels[mask])


def test_a_chain_composes_transforms_and_regions() -> None:
    pixels = smooth()
    chain = [Crop(0.1, 0.2, 0.7, 0.6), Rotate(20, "grow"), Pad(0.2, 0.2, 0.2, 0.2), Scale(0.8)]
    edited = apply(chain, pixels)
    assert edited.kinds == ("crop", "rotate", "pad", "scale")
    assert difference_inside(pixels, edited) < 3
    # What the crop took away does not come back, though the transform has room for it.
    original = edited.original_region()
    assert area(original) == pytest.approx(0.7 * 190 * 0.6 * 150, rel=0.02)
    assert original.min(axis=0) == pytest.approx([18.5, 29.5], abs=0.6)


def test_what_covers_the_original_moves_with_it() -> None:
    edited = apply(
        [Censor(0.5, 0.0, 0.5, 1.0, "black"), FlipHorizontal(), QuarterTurn(1)], smooth()
    )
    assert edited.covered is not None
    assert np.array_equal(edited.covered, (edited.pixels == 0).all(axis=2))
    assert edited.mask().mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("layout", get_args(Layout))
def test_a_screenshot_shows_the_picture_in_its_place(layout: Layout) -> None:
    pixels = smooth()
    for seed in range(8):
        shot = Screenshot(layout, 1.5, 1.8, dark=bool(seed % 2), cut=False, seed=seed)
        edited = apply([shot], pixels)
        shown = area(edited.region) / (edited.pixels.shape[0] * edited.pixels.shape[1])
        assert 0.05 < shown < 0.9
        assert difference_inside(pixels, edited) < 6


@given(
    st.integers(1, 90), st.integers(1, 90), st.sampled_from(sorted(KINDS)), st.integers(0, 2**20)
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_size_and_seed_gives_an_image(height: int, width: int, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    kept = pixels.copy()
    edit = KINDS[kind].sample(rng, float(rng.random()))
    edited = edit(pixels, OTHERS if seed % 2 else ())
    assert edited.pixels.dtype == np.uint8
    assert edited.pixels.ndim == 3
    assert edited.pixels.shape[2] == 3
    assert edited.pixels.size > 0
    assert edited.mask().shape == edited.pixels.shape[:2]
    assert np.isfinite(edited.transform).all()
    assert edited.transform.dtype == np.float64
    assert edited.edits == (edit,)
    assert np.array_equal(pixels, kept)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (2, 900)])
@pytest.mark.parametrize("kind", KINDS)
def test_extreme_shapes_stay_within_the_limits(kind: str, size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 77, np.uint8)
    edited = drawn(kind, 1, 1.0)(pixels, OTHERS)
    height, width = edited.pixels.shape[:2]
    assert 1 <= height <= 16_000
    assert 1 <= width <= 16_000
    assert height * width <= 64_000_000
    assert within_limits(width, height) == (width, height)


def test_a_side_beyond_the_limit_is_scaled_and_the_transform_knows() -> None:
    pixels = np.repeat(np.arange(32_000)[None, :, None] // 128, 3, axis=2).astype(np.uint8)
    edited = FlipHorizontal()(pixels)
    assert edited.pixels.shape == (1, 16_000, 3)
    x = np.array([[1000.0, 0], [30_000.0, 0]])
    values = edited.pixels[0, project(edited.transform, x)[:, 0].round().astype(int), 0]
    assert np.abs(values.astype(int) - x[:, 0] // 128).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_pixels(kind: str) -> None:
    pixels = smooth()
    first, second = (drawn(kind, 5, 0.7) for _ in range(2))
    assert first == second
    assert np.array_equal(first(pixels, OTHERS).pixels, second(pixels, OTHERS).pixels)
    if kind not in ("hflip", "vflip", "grey"):
        assert len({drawn(kind, seed, 0.7) for seed in range(30)}) > 1


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"hflip", "vflip"}))
def test_every_kind_really_edits(kind: str) -> None:
    """At both ends of its range, on a picture that any edit changes."""
    pixels = np.random.default_rng(1).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    for strength in (0.0, 1.0):
        results = [drawn(kind, seed, strength)(pixels, OTHERS).pixels for seed in range(8)]
        changed = [r.shape != pixels.shape or bool((r != pixels).any()) for r in results]
        assert sum(changed) >= 7


def test_colours_by_hand() -> None:
    pixels = np.array([[[100, 50, 200]]], np.uint8)
    assert Brightness(1.5).edit(pixels, ()).pixels.tolist() == [[[150, 75, 255]]]
    assert Opacity(0.5, (255, 255, 255)).edit(pixels, ()).pixels.tolist() == [[[178, 152, 228]]]
    grey = round(0.299 * 100 + 0.587 * 50 + 0.114 * 200)
    assert Grey().edit(pixels, ()).pixels.tolist() == [[[grey] * 3]]
    red = np.array([[[255, 0, 0]]], np.uint8)
    third = Hue(1 / 3).edit(red, ()).pixels[0, 0].astype(int)
    assert np.abs(third - (0, 255, 0)).max() <= 6


def test_collage_shows_every_picture_once() -> None:
    plain: list[Pixels] = [np.full((50, 50, 3), value, np.uint8) for value in (10, 20, 30, 40)]
    edited = Collage(2, 2, 3, 0.05, (255, 255, 255), 0)(plain[3], plain[:3])
    assert set(np.unique(edited.pixels)) == {10, 20, 30, 40, 255}
    inside = cv2.erode(edited.mask().astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    assert (edited.pixels[inside] == 40).all()


@pytest.mark.parametrize("degrees", [0.0, 3.0, 30.0, 45.0, 89.0, -60.0])
@pytest.mark.parametrize("size", [(100, 100), (200, 50), (50, 200)])
def test_rotation_inside_shows_no_border(degrees: float, size: tuple[int, int]) -> None:
    width, height = inner_size(*size, np.deg2rad(degrees))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (width / 2, height / 2)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inside = np.abs(corners @ turn.T) <= np.array(size) / 2 + 1e-6
    assert inside.all()


def random_convex(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    points = rng.uniform(0, 100, (8, 2)).astype(np.float32)
    return cv2.convexHull(points)[:, 0].astype(np.float64)


@pytest.mark.parametrize("seed", range(20))
def test_intersection_equals_opencvs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = random_convex(rng), random_convex(rng)[:: rng.choice([1, -1])]
    expected, _ = cv2.intersectConvexConvex(first.astype(np.float32), second.astype(np.float32))
    assert area(intersection(first, second)) == pytest.approx(expected, rel=1e-3, abs=0.1)


def test_intersection_of_strangers_is_empty() -> None:
    assert intersection(outline(5, 5), outline(5, 5) + 100).shape == (0, 2)
    assert unedited(smooth()).mask().all()


@pytest.mark.parametrize("name", MIXES)
def test_copies_show_something_of_the_original(name: str) -> None:
    pixels = smooth()
    for copy in range(25):
        edited = make_copy(pixels, rng_of(1, "a.jpg", copy), mix_named(name), OTHERS)
        assert 1 <= len(edited.edits) <= 5
        assert len(set(edited.kinds)) == len(edited.kinds)
        assert area(edited.original_region()) >= 0.04 * 150 * 190


def test_drawing_depends_on_seed_image_and_copy_alone() -> None:
    mix = mix_named("default")
    drawn_once = [
        sample_edits(rng_of(*key), mix) for key in ((1, "a", 0), (1, "a", 1), (1, "b", 0))
    ]
    again = [sample_edits(rng_of(*key), mix) for key in ((1, "a", 0), (1, "a", 1), (1, "b", 0))]
    assert drawn_once == again
    assert drawn_once[0] != drawn_once[1] != drawn_once[2] != drawn_once[0]


def test_a_mix_draws_in_its_proportions() -> None:
    mix = EditMix({"crop": 3.0, "grey": 1.0, "blur": 0.0}, (0.75, 0.25), (0.5, 0.5))
    rng = np.random.default_rng(0)
    chains = [sample_edits(rng, mix) for _ in range(2000)]
    single = [chain[0].kind for chain in chains if len(chain) == 1]
    assert len(single) / len(chains) == pytest.approx(0.75, abs=0.04)
    assert single.count("crop") / len(single) == pytest.approx(0.75, abs=0.04)
    assert not any(edit.kind == "blur" for chain in chains for edit in chain)


@pytest.mark.parametrize(
    ("weights", "lengths", "strength", "message"),
    [
        ({"crap": 1.0}, (1.0,), (0, 1), "crap"),
        ({}, (1.0,), (0, 1), "weights"),
        ({"crop": -1.0}, (1.0,), (0, 1), "weights"),
        ({"crop": 1.0}, (0.5, 0.4), (0, 1), "lengths"),
        ({"crop": 1.0}, (1.0,), (0.5, 1.5), "strength"),
        ({"crop": 1.0}, (1.0,), (0.9, 0.1), "strength"),
    ],
)
def test_wrong_mixes_are_refused(weights, lengths, strength, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        EditMix(weights, lengths, strength)


def test_an_unknown_mix_is_refused() -> None:
    with pytest.raises(OptionError, match="mild, default, framed, severe"):
        mix_named("wild")


@pytest.mark.skipif(not BENCH.is_dir(), reason="the dev benchmarks are not at ../shared/bench")
def test_every_edit_of_the_benchmarks_has_a_counterpart() -> None:
    there = set()
    for name in ("dev/edits.csv", "dev-dedup/groups.csv"):
        with open(BENCH / name, newline="") as file:
            there |= {kind for row in csv.DictReader(file) for kind in row["edits"].split("+")}
    assert {NAMES_THERE.get(kind, kind) for kind in there - {""}} <= set(KINDS)
