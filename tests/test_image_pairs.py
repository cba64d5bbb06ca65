"""Pairs with transparency or movement: each kind of copy, and what only looks like one."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from copydetect.images.decoding import decode
from copydetect.images.transparency import hidden_share
from copydetect.types import Candidate, Match
from copydetect.verification.image_pairs import prepare_decoded, verify_images
from copydetect.verification.pair_images import PairImage
from copydetect.verification.transparent_pairs import verify_relaid
from tests.media import animated, drawing, encode, flattened, pan, symbol, title_card
from tests.scenes import scene

CANDIDATE = Candidate("q", "r", 0.5, 0.5, math.nan, math.nan, 0.0, "whole", "whole", 1)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def verdict(query: bytes, reference: bytes) -> Match:
    images = [
        prepare_decoded(name, decode(data, 896, in_pieces=True, moments=12))
        for name, data in (("q", query), ("r", reference))
    ]
    return verify_images(images[0], images[1], CANDIDATE)


@pytest.fixture(scope="module")
def clips() -> list[list[Image.Image]]:
    return [pan(scene(seed, 620, 180), 6) for seed in (21, 22, 23)]


@pytest.mark.parametrize(
    ("ground", "name"),
    [(WHITE, "white"), (BLACK, "black"), ((128, 128, 128), "grey"), ((30, 60, 140), "#1e3c8c")],
)
def test_a_flattened_picture_is_the_copy_of_the_transparent_one(
    ground: tuple[int, int, int], name: str
) -> None:
    picture = drawing(11)
    flat = encode(flattened(picture, ground).resize((180, 135)), "JPEG", quality=88)
    match = verdict(encode(picture, "PNG"), flat)
    assert match.is_copy
    assert match.direction == "reference_is_copy"
    assert any(edit.startswith("flattened onto ") for edit in match.edits)
    assert match.relation == ("same_picture" if name == "white" else "edited")
    if name in ("white", "black"):
        assert f"flattened onto {name}" in match.edits
    assert verdict(flat, encode(picture, "PNG")).direction == "query_is_copy"


def test_a_picture_flattened_twice_is_found_on_its_other_ground() -> None:
    picture = drawing(12)
    one, other = (encode(flattened(picture, g), "JPEG", quality=90) for g in (WHITE, BLACK))
    match = verdict(one, other)
    assert match.is_copy
    assert match.direction == "unknown"


def test_a_picture_on_another_ground_is_found_with_other_margins() -> None:
    picture = drawing(12)
    wide = Image.new("RGB", (picture.width + 60, picture.height + 60), BLACK)
    wide.paste(flattened(picture, BLACK), (30, 25))
    one = encode(flattened(picture, WHITE), "JPEG", quality=90)
    assert verdict(one, encode(wide, "JPEG", quality=90)).is_copy


def test_drawings_of_other_outlines_are_not_compared_on_each_others_grounds() -> None:
    one, other = (
        prepare_decoded(name, decode(encode(picture, "PNG"), 896))
        for name, picture in (
            ("q", flattened(drawing(13), WHITE)),
            ("r", flattened(symbol(WHITE), BLACK)),
        )
    )
    refused = verify_images(one, other, CANDIDATE)

    def compared(query: PairImage, reference: PairImage) -> Match:
        raise AssertionError("compared again")

    assert verify_relaid(one, other, [], refused, compared) is refused
    with pytest.raises(AssertionError, match="compared again"):
        verify_relaid(one, one, [], refused, compared)


@pytest.mark.parametrize(
    ("other_content", "proof", "is_copy"),
    [(0.9, 0.9, False), (0.9, 0.97, True), (0.2, 0.9, True), (0.6, 0.24, False)],
)
def test_other_content_is_outweighed_by_nothing_less_than_sure_proof(
    other_content: float, proof: float, is_copy: bool
) -> None:
    one = prepare_decoded("q", decode(encode(flattened(drawing(13), WHITE), "PNG"), 896))
    refused = replace(Match.of_strangers("q", "r", 0.5, 0.0, ""), other_content=other_content)
    unmoved = np.eye(3).ravel().tolist()
    found = replace(refused, is_copy=True, proof=proof, transform=unmoved)
    assert verify_relaid(one, one, [], refused, lambda *_: found).is_copy == is_copy


@pytest.mark.parametrize(("inliers", "times"), [(5, 1), (0, 3)])
def test_only_what_has_no_features_is_laid_on_the_other_ground(inliers: int, times: int) -> None:
    one, other = (
        prepare_decoded(name, decode(encode(flattened(drawing(13), ground), "PNG"), 896))
        for name, ground in (("q", WHITE), ("r", BLACK))
    )
    refused = Match.of_strangers("q", "r", 0.5, 0.5, "")
    compared: list[Match] = []

    def verify(query: PairImage, reference: PairImage) -> Match:
        compared.append(replace(refused, inliers=inliers))
        return compared[-1]

    assert verify_relaid(one, other, [], refused, verify) is refused
    assert len(compared) == times


def test_another_drawing_is_no_copy_on_any_ground() -> None:
    for ground in (WHITE, BLACK):
        flat = encode(flattened(drawing(13), ground), "PNG")
        assert not verdict(encode(drawing(14), "PNG"), flat).is_copy
    assert not verdict(encode(drawing(13), "PNG"), encode(drawing(14), "PNG")).is_copy


def labelled(word: str, ink: tuple[int, int, int]) -> bytes:
    """A sign with a word beneath it, all of it drawn on a transparent ground."""
    picture = Image.new("RGBA", (180, 210))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((10, 10, 170, 160), fill=(250, 150, 0, 255), outline=(*ink, 255), width=8)
    draw.line((40, 40, 140, 130), fill=(*ink, 255), width=16)
    draw.line((40, 130, 140, 40), fill=(*ink, 255), width=16)
    draw.text((20, 168), word, fill=(*ink, 255), font=ImageFont.load_default(30))
    return encode(picture, "PNG")


@pytest.mark.parametrize("ink", [WHITE, BLACK])
def test_a_word_that_one_ground_hides_counts(ink: tuple[int, int, int]) -> None:
    """On a black ground two signs with other words in black are equal."""
    sign = labelled("harmful", ink)
    assert not verdict(sign, labelled("irritant", ink)).is_copy
    smaller = Image.open(io.BytesIO(sign)).resize((135, 158))
    assert verdict(sign, encode(smaller, "PNG")).is_copy


def test_the_colour_of_an_outline_is_hidden_by_a_ground_like_it() -> None:
    pixels, opacity = np.full((40, 40, 3), 255, np.uint8), np.zeros((40, 40), np.uint8)
    opacity[10:30, 10:30] = 255
    assert hidden_share(pixels, opacity, WHITE) == 1
    assert hidden_share(pixels, opacity, BLACK) == 0
    pixels[10:20, 10:30] = 0
    for ground in (WHITE, BLACK):
        assert hidden_share(pixels, opacity, ground) == pytest.approx(0.5, abs=0.05)
    # White inside of something black is seen on white.
    pixels[10:30, 10:30] = 0
    pixels[15:25, 15:25] = 255
    assert hidden_share(pixels, opacity, WHITE) == 0


def test_transparent_pictures_are_identical_where_all_that_is_seen_is() -> None:
    picture = np.array(drawing(15))
    hidden = picture.copy()
    hidden[hidden[..., 3] == 0] = (1, 200, 3, 0)
    seen, unseen = (encode(Image.fromarray(p), "PNG") for p in (picture, hidden))
    assert verdict(seen, unseen).relation == "identical"
    flat = encode(flattened(Image.fromarray(picture), WHITE), "PNG")
    match = verdict(seen, flat)
    assert match.is_copy
    assert match.relation != "identical"


def test_a_shape_in_another_colour_is_a_copy_and_another_shape_is_none() -> None:
    black, white, red = (encode(symbol(c), "PNG") for c in (BLACK, WHITE, (190, 30, 40)))
    for other in (white, red):
        match = verdict(black, other)
        assert match.is_copy
        assert "recoloured" in match.edits
    assert "recoloured" not in verdict(black, encode(symbol(BLACK), "WEBP", quality=90)).edits
    assert not verdict(black, encode(drawing(16), "PNG")).is_copy
    on_blue = encode(flattened(symbol(WHITE), (20, 40, 110)), "JPEG", quality=90)
    assert verdict(black, on_blue).is_copy


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "AVIF"])
def test_a_clip_in_another_format_is_a_copy(kind: str, clips: list[list[Image.Image]]) -> None:
    match = verdict(animated(clips[0], "GIF"), animated(clips[0], kind))
    assert match.is_copy
    assert not {"one moment of an animation", "other moments added or cut"} & set(match.edits)


def test_clips_are_copies_when_cut_and_when_played_backwards(
    clips: list[list[Image.Image]],
) -> None:
    whole = animated(clips[0], "GIF")
    for part in (clips[0][2:], clips[0][:4], [title_card(), *clips[0]]):
        match = verdict(whole, animated(part, "WEBP"))
        assert match.is_copy
        assert match.relation == "edited"
        assert "other moments added or cut" in match.edits
    backwards = verdict(whole, animated(clips[0][::-1], "GIF"))
    assert backwards.is_copy
    assert "played backwards" in backwards.edits


def test_a_shared_title_card_or_black_frame_makes_no_copies(
    clips: list[list[Image.Image]],
) -> None:
    black = Image.new("RGB", clips[0][0].size)
    for first, relation in ((title_card(), "changed_content"), (black, "none")):
        one, other = (animated([first, *clip], "GIF") for clip in clips[:2])
        match = verdict(one, other)
        assert not match.is_copy
        assert match.relation == relation
        assert match.confidence < 0.5
    cards = [animated([title_card(), clip[0]], "PNG") for clip in clips[:2]]
    assert not verdict(*cards).is_copy


def test_any_moment_of_a_clip_is_a_copy_of_it(clips: list[list[Image.Image]]) -> None:
    whole = animated([title_card(), *clips[0]], "GIF")
    for number in (0, 2, 5):
        still = encode(clips[0][number], "JPEG", quality=90)
        match = verdict(whole, still)
        assert match.is_copy
        assert match.direction == "reference_is_copy"
        assert match.relation == "edited"
        assert match.edits[0] == "one moment of an animation"
    cropped = encode(clips[0][3].crop((30, 20, 220, 160)), "JPEG", quality=90)
    assert verdict(cropped, whole).is_copy
    assert not verdict(whole, encode(clips[1][2], "JPEG")).is_copy


def test_the_first_frame_as_a_file_of_its_own_is_not_the_animation(
    clips: list[list[Image.Image]],
) -> None:
    match = verdict(animated(clips[2], "PNG"), encode(clips[2][0], "PNG"))
    assert match.is_copy
    assert match.relation != "identical"


def test_animations_are_identical_where_every_moment_is(clips: list[list[Image.Image]]) -> None:
    one = animated(clips[1], "PNG")
    assert verdict(one, animated(clips[1], "PNG")).relation == "identical"
    changed = [*clips[1][:-1], clips[1][-1].rotate(180)]
    match = verdict(one, animated(changed, "PNG"))
    assert match.relation != "identical"


def test_a_slice_is_a_copy_of_its_strip_and_the_small_strip_of_the_large_one() -> None:
    strip = np.concatenate([scene(seed, 300, 400) for seed in range(31, 40)])
    whole = encode(Image.fromarray(strip), "JPEG", quality=90)
    part = encode(Image.fromarray(strip[1300:1900]), "JPEG", quality=85)
    small = encode(Image.fromarray(strip).resize((100, 1200)), "JPEG", quality=85)
    other = np.concatenate([scene(seed, 300, 400) for seed in range(41, 50)])
    assert verdict(whole, part).is_copy
    assert verdict(whole, small).is_copy
    assert verdict(part, small).is_copy
    assert not verdict(whole, encode(Image.fromarray(other), "JPEG")).is_copy
